"""`python -m app drift`: what moved is named, and what did not is not."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.__main__ import run_command
from app.scoring.baseline import Baseline, baseline_of
from app.training.drift import Shift, find_shifts, holm
from tests.unit.app.training.conftest import count_colors, make_frame

NAMES = [f"V{number}" for number in range(1, 21)]


def _rows(n_rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_rows, len(NAMES) + 1))


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    rows = _rows(5_000, seed=1)
    return baseline_of("0123456789ab", NAMES, rows[:, :-1], rows[:, -1])


def test_without_a_change_nothing_moves(baseline: Baseline) -> None:
    """Of 10 x 21 comparisons without a change none is called one."""
    for seed in range(2, 12):
        shifts = find_shifts(baseline, _rows(3_000, seed))
        assert {shift.verdict for shift in shifts} == {"same"}
        assert min(shift.p_value for shift in shifts) > 0.01


def test_p_values_without_a_change_are_evenly_spread(baseline: Baseline) -> None:
    p_values = [
        find_shifts(baseline, _rows(3_000, seed), skipped={*NAMES[1:], "fraud_probability"})[0].p_value
        for seed in range(2, 42)
    ]

    assert 0.3 < np.mean(p_values) < 0.7


def test_what_moved_is_named_first(baseline: Baseline) -> None:
    newer = _rows(3_000, seed=2)
    newer[:, 4] += 1.0
    newer[:, 7] += 0.4

    first, second, *rest = find_shifts(baseline, newer)

    assert (first.name, first.verdict) == ("V5", "moved")
    assert (second.name, second.verdict) == ("V8", "watch")
    assert {shift.verdict for shift in rest} == {"same"}


def test_a_few_rows_do_not_prove_a_change(baseline: Baseline) -> None:
    """Ten rows fill ten parts badly: the index is large, and it is chance."""
    largest = find_shifts(baseline, _rows(10, seed=2))[0]

    assert largest.stability_index > 0.25
    assert largest.verdict == "same"


def test_the_same_seed_gives_the_same_p_values(baseline: Baseline) -> None:
    newer = _rows(500, seed=3)

    assert find_shifts(baseline, newer, seed=5) == find_shifts(baseline, newer, seed=5)


def test_holm_multiplies_the_smallest_by_the_number_of_tests() -> None:
    assert holm([0.04, 0.01, 0.5]) == pytest.approx([0.08, 0.03, 0.5])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("drift")
    make_frame(1_500).to_csv(directory / "earlier.csv", index=False)
    train = ["train", str(directory / "earlier.csv"), "--neighbors", "5", "--output", str(directory / "model")]
    assert run_command(train) == 0
    return directory / "model"


def _drift(model: Path, frame: pd.DataFrame, directory: Path) -> list[Shift]:
    frame.drop(columns="Class").to_csv(directory / "newer.csv", index=False)
    written = ["--json", str(directory / "drift.json"), "--picture", str(directory / "drift.png")]
    assert run_command(["drift", str(model), str(directory / "newer.csv"), *written]) == 0
    answer = json.loads((directory / "drift.json").read_text())
    assert answer["rows"] == len(frame)
    return [Shift(**shift) for shift in answer["shifts"]]


def test_a_changed_file_is_told(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = make_frame(seed=5)

    shifts = _drift(model, frame.assign(Amount=frame["Amount"] * 8), tmp_path)

    assert (shifts[0].name, shifts[0].verdict) == ("Amount", "moved")
    assert "Moved: Amount" in capsys.readouterr().out
    assert count_colors(tmp_path / "drift.png") > 50


def test_time_and_labels_are_not_compared(model: Path, tmp_path: Path) -> None:
    names = {shift.name for shift in _drift(model, make_frame(seed=5), tmp_path)}

    assert names == {"V1", "V2", "Amount", "fraud_probability"}


def test_more_fraud_moves_the_score(model: Path, tmp_path: Path) -> None:
    frame = make_frame(seed=5)
    frame["V1"] = np.where(np.arange(len(frame)) % 2 == 0, 2.5, frame["V1"])
    frame["V2"] = np.where(np.arange(len(frame)) % 2 == 0, 2.5, frame["V2"])

    verdicts = {shift.name: shift.verdict for shift in _drift(model, frame, tmp_path)}

    assert verdicts["fraud_probability"] == "moved"


def test_too_few_rows_are_one_sentence(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_frame(60).to_csv(tmp_path / "few.csv", index=False)

    assert run_command(["drift", str(model), str(tmp_path / "few.csv")]) == 2

    assert "few.csv has 60 rows; 100 or more are needed" in capsys.readouterr().err


def test_an_artifact_without_a_baseline_is_one_sentence(
    artifact: Path, csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["drift", str(artifact), str(csv)]) == 1

    assert "train again to have a baseline" in capsys.readouterr().err
