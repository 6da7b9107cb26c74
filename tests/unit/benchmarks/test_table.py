"""The tables of figures in the documents."""

from pathlib import Path

import pytest

from benchmarks import table


@pytest.mark.parametrize("document", [table.README, table.OPERATIONS], ids=lambda document: document.name)
def test_a_document_has_what_the_results_say(document: Path) -> None:
    assert table.block(document.read_text(encoding="utf-8")) == table.expected(document)
