"""Which metrics a PromQL query asks for."""

import re

_STRINGS = re.compile(r'"[^"]*"')
_SELECTED_LABELS = re.compile(r"\{[^}]*\}")
_GROUPED_LABELS = re.compile(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)")
_RANGES = re.compile(r"\[[^\]]*\]")
_FUNCTIONS = re.compile(r"\b[a-z_]+\s*(?=\()")
_WORDS = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_OPERATORS = frozenset({"and", "or", "unless", "by", "without", "on", "ignoring"})


def metrics_of(query: str) -> frozenset[str]:
    """What is left of it without strings, labels, ranges, functions and operators."""
    for noise in (_STRINGS, _SELECTED_LABELS, _GROUPED_LABELS, _RANGES, _FUNCTIONS):
        query = noise.sub(" ", query)
    return frozenset(_WORDS.findall(query)) - _OPERATORS
