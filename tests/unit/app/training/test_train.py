"""`python -m app train`: what it saves is what it measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.__main__ import run_command
from app.scoring.artifact import load_artifact
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from app.training.dataset import Dataset, read_dataset
from tests.unit.app.training.conftest import count_colors


def _train(csv: Path, output: Path, *options: str) -> Path:
    assert run_command(["train", str(csv), "--output", str(output), "--neighbors", "5", *options]) == 0
    return output


def _later_part(csv: Path) -> tuple[Dataset, np.ndarray, np.ndarray]:
    dataset = read_dataset(csv, "Class", "Time")
    _, test = dataset.split(0.2)
    return dataset, test.features, test.labels


@pytest.mark.parametrize("options", [(), ("--scaler", "classic", "--weights", "uniform"), ("--time-in-distance",)])
def test_the_saved_model_gives_the_probabilities_that_were_measured(
    csv: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    artifact = load_artifact(_train(csv, tmp_path / "model", *options))
    dataset, features, labels = _later_part(csv)

    predictions = Scorer(artifact, 0.8).score([Transaction(str(i), tuple(row)) for i, row in enumerate(features)])
    probabilities = np.array([prediction.fraud_probability for prediction in predictions])

    assert artifact.manifest.feature_names == dataset.feature_names
    assert np.allclose(probabilities, artifact.pipeline.predict_proba(features)[:, 1])
    caught = int(((probabilities >= 0.8) & (labels == 1)).sum())
    assert caught == artifact.manifest.metrics["true_positives"] > 0


def test_the_manifest_tells_the_data_and_the_choices(csv: Path, tmp_path: Path) -> None:
    manifest = load_artifact(_train(csv, tmp_path / "model")).manifest

    assert manifest.context_names == ("Time", "Amount")
    assert manifest.training["file"] == "transactions.csv"
    assert manifest.training["neighbors"] == 5
    assert (manifest.training["train_rows"], manifest.training["test_rows"]) == (640, 160)
    assert len(manifest.training["file_sha256"]) == 64


def test_the_same_data_gives_the_same_model(csv: Path, tmp_path: Path) -> None:
    first, second = _train(csv, tmp_path / "a"), _train(csv, tmp_path / "b")

    assert load_artifact(first).manifest == load_artifact(second).manifest


def test_the_picture_shows_something(csv: Path, tmp_path: Path) -> None:
    picture = _train(csv, tmp_path / "model") / "evaluation.png"

    assert count_colors(picture) > 200


def test_it_prints_average_precision_and_the_accuracy_of_doing_nothing(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(csv, tmp_path / "model")

    printed = capsys.readouterr().out
    assert "average precision" in printed
    assert "accuracy of doing nothing" in printed


def test_bad_data_is_one_sentence_and_exit_code_2(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.read_csv(csv).assign(Class=0).to_csv(csv, index=False)

    assert run_command(["train", str(csv), "--output", str(tmp_path / "model")]) == 2

    errors = capsys.readouterr().err.strip()
    assert "legitimate transactions only" in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_more_neighbours_than_frauds_are_refused(csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["train", str(csv), "--output", str(tmp_path / "model"), "--neighbors", "33"]) == 2

    assert "32 frauds" in capsys.readouterr().err


def test_what_flatters_is_in_the_manifest(frame: pd.DataFrame, tmp_path: Path) -> None:
    values = ["V1", "V2", "Amount", "Class"]
    frame.loc[[700, 701], values] = frame.loc[[27, 28], values].to_numpy()
    frame.drop(columns="card_id").to_csv(tmp_path / "twice.csv", index=False)

    metrics = load_artifact(_train(tmp_path / "twice.csv", tmp_path / "model")).manifest.metrics

    assert metrics["without_duplicates"]["rows_left_out"] == 2  # at other times, which do not count in the distance
    assert metrics["without_duplicates"]["frauds_left_out"] == 1
    assert metrics["without_first_hour"]["rows_left_out"] == 16


def test_an_artifact_that_cannot_be_written_leaves_nothing_behind(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    before = sorted(tmp_path.iterdir())

    assert run_command(["train", str(csv), "--neighbors", "5", "--output", str(tmp_path / "taken")]) == 2

    assert "cannot be written" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_training_into_a_directory_replaces_the_model_and_keeps_other_files(csv: Path, tmp_path: Path) -> None:
    output = _train(csv, tmp_path / "model")
    (output / "notes.txt").write_text("mine")

    _train(csv, output, "--weights", "uniform")

    assert load_artifact(output).manifest.training["weights"] == "uniform"
    assert (output / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "transactions.csv"]


def test_by_default_half_of_the_frauds_may_vote(csv: Path, tmp_path: Path) -> None:
    assert run_command(["train", str(csv), "--output", str(tmp_path / "model")]) == 0

    assert load_artifact(tmp_path / "model").manifest.training["neighbors"] == 16  # of 32 frauds
