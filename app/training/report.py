"""The report of an evaluation: one HTML file that needs no network."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from app.scoring.manifest import Manifest
from app.training.answer import (
    ACCURACY_SAYS_NOTHING,
    FIGURES,
    STEP_WORDS,
    Answer,
    costs_words,
    shown,
    step_cells,
    what_if_sentence,
)
from app.training.evidence import Case, Mistakes
from app.training.pictures import Picture

_SHOWN_NEIGHBORS = 24  # two lines of them; the others change no picture
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
p.lead { color: #555; margin-top: .2rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 1rem; margin: 1.5rem 0; }
.card { border: 1px solid #ddd; border-radius: 8px; padding: .8rem 1rem; }
.card b { display: block; font-size: 1.5rem; } .card span { color: #666; font-size: .85rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #eee; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 2rem 0; } img { max-width: 100%; border: 1px solid #eee; } figcaption { color: #555; }
.near { display: inline-block; padding: 0 .35rem; margin: 0 .15rem .15rem 0; border-radius: 4px; font-size: .8rem;
  background: #e3eef6; } .near.fraud { background: #f7d9c9; }
td.wide, tr:has(+ tr td.wide) th:last-child { text-align: left; }
"""


@dataclass(frozen=True)
class Report:
    """A model and the answer of its evaluation."""

    manifest: Manifest
    answer: Answer

    def page(self, pictures: list[Picture], mistakes: Mistakes) -> bytes:
        title = f"Model {self.answer.model_version} on {self.answer.file}"
        sections = [
            f"<h1>{escape(title)}</h1>",
            f'<p class="lead">{_lead(self)}</p>',
            _cards(self.answer),
            _figures(self.answer),
            _ladder(self.answer),
            _what_if(self.answer),
            *[_picture(picture) for picture in pictures],
            _cases("The worst misses", "Frauds with the lowest probabilities.", mistakes.missed),
            _cases("The worst false alerts", "Legitimate, with the highest probabilities.", mistakes.false_alerts),
        ]
        body = "\n".join(section for section in sections if section)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
            f"<body>\n{body}\n</body></html>\n"
        ).encode()


def _lead(report: Report) -> str:
    answer = report.answer
    training = report.manifest.training
    trained = f" It was trained on {training['train_rows']:,} others." if "train_rows" in training else ""
    return f"{answer.rows:,} transactions, {answer.frauds:,} of them fraud.{escape(trained)}"


def _cards(answer: Answer) -> str:
    metrics = answer.metrics
    cards = []
    for name in ("average_precision", "precision", "recall", "card_precision_at_100"):
        low, high = (shown(name, end) for end in metrics.intervals[name])
        cards.append((FIGURES[name], shown(name, getattr(metrics, name)), f"{low} to {high}"))
    alerts = metrics.true_positives + metrics.false_positives
    per_1000 = 1000 * alerts / answer.rows
    cards.append((f"alerts at threshold {metrics.threshold:.3g}", f"{alerts:,}", f"{per_1000:.2f} of 1,000"))
    inside = "".join(
        f'<div class="card">{escape(words)}<b>{value}</b><span>{escape(below)}</span></div>'
        for words, value, below in cards
    )
    return f'<div class="cards">{inside}</div>'


def _figures(answer: Answer) -> str:
    rows = []
    for name, words in FIGURES.items():
        value = getattr(answer.metrics, name)
        if value is not None:
            low, high = (shown(name, end) for end in answer.metrics.intervals[name])
            rows.append((words, shown(name, value), f"{low} to {high}"))
    table = _table(("figure", "value", "95 % interval"), rows)
    calibration = "" if answer.calibration is None else f"<p>{escape(answer.calibration.sentence())}</p>"
    return f"<h2>All figures</h2>{table}<p>{ACCURACY_SAYS_NOTHING}</p>{calibration}"


def _ladder(answer: Answer) -> str:
    if answer.costs is None or answer.cheapest_threshold is None:
        return ""
    table = _table(STEP_WORDS, [step_cells(step) for step in answer.ladder])
    return (
        f"<h2>Thresholds and money</h2><p>Assumed: {costs_words(answer.costs)}. The cheapest threshold of these "
        f"transactions is {answer.cheapest_threshold:.3g}.</p>{table}"
    )


def _what_if(answer: Answer) -> str:
    if answer.what_if is None:
        return ""
    return f"<h2>What if</h2><p>{escape(what_if_sentence(answer.metrics.threshold, answer.what_if))}</p>"


def _picture(picture: Picture) -> str:
    source = base64.b64encode(picture.png).decode()
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{source}"><figcaption>{caption}</figcaption></figure>'
    )


def _cases(title: str, words: str, cases: list[Case]) -> str:
    if not cases:
        return f"<h2>{title}</h2><p>None.</p>"
    rows = "".join(
        f"<tr><td>{case.number:,}</td><td>{case.time:,.0f}</td><td>{_amount(case)}</td><td>{case.probability:.3f}</td>"
        f'<td class="wide">{_evidence(case)}</td></tr>'
        for case in cases
    )
    evidence = "neighbours" if any(case.evidence.neighbors for case in cases) else "influences"
    head = "".join(f"<th>{word}</th>" for word in ("transaction", "time, s", "amount", "probability", evidence))
    shown_how = next(
        (case.evidence.not_available for case in cases if case.evidence.not_available),
        "Neighbours with their distances, nearest first; orange ones are fraud.",
    )
    return f"<h2>{title}</h2><p>{words} {escape(shown_how)}</p><table><tr>{head}</tr>{rows}</table>"


def _amount(case: Case) -> str:
    return "" if case.amount is None else f"{case.amount:,.2f}"


def _evidence(case: Case) -> str:
    neighbors = "".join(
        f'<span class="near{" fraud" if neighbor.is_fraud else ""}">{neighbor.distance:.2f}</span>'
        for neighbor in case.evidence.neighbors[:_SHOWN_NEIGHBORS]
    )
    more = case.evidence.neighbors[_SHOWN_NEIGHBORS:]
    if more:
        neighbors += f" and {len(more)} more, {sum(neighbor.is_fraud for neighbor in more)} of them fraud"
    influences = "; ".join(
        f"{escape(one.feature)} {one.transaction:.2f}: {one.probability_if_usual:.3f} with the usual {one.usual:.2f}"
        for one in case.evidence.influences
    )
    return neighbors or influences or "no single feature raises the probability"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{escape(word)}</th>' for word in head)}</tr>{cells}</table>"
