"""Figures, ratios and what they reach."""

import pytest

from benchmarks.figures import Ratio, Recorder, Spread
from benchmarks.peers.answering import sampled_rows


def test_a_ratio_is_taken_round_by_round() -> None:
    recorder = Recorder()
    for ours, theirs in ((10.0, 2.0), (30.0, 3.0), (20.0, 10.0)):
        recorder.add("speed", "ours", ours, "rows/s")
        recorder.add("speed", "theirs", theirs, "rows/s")

    spread = recorder.ratio(("speed", "ours"), ("speed", "theirs"))

    assert spread == Spread(runs=(5.0, 10.0, 2.0), min=2.0, median=5.0, max=10.0)


@pytest.mark.parametrize(
    ("better", "median", "verdict"),
    [
        ("more", 25.0, "aim"),
        ("more", 15.0, "must"),
        ("more", 14.9, "missed"),
        ("less", 4.0, "aim"),
        ("less", 10.0, "must"),
        ("less", 10.1, "missed"),
    ],
)
def test_a_figure_reaches_its_goal_at_the_goal_itself(better: str, median: float, verdict: str) -> None:
    must, aim = (15.0, 25.0) if better == "more" else (10.0, 4.0)
    ratio = Ratio("name", Spread.of([median]), must, aim, "more" if better == "more" else "less", "a / b")

    assert ratio.verdict == verdict


def test_rows_that_are_sampled_are_spread_over_all() -> None:
    assert sampled_rows(101, 3).tolist() == [0, 50, 100]
