"""`python -m app train`: what it saves is what it measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from app.__main__ import run_command
from app.scoring.artifact import load_artifact
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from app.training.dataset import Dataset, read_dataset


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
    picture = imread(_train(csv, tmp_path / "model") / "evaluation.png")

    assert picture.shape[:2] == (540, 1_200)
    for half in (picture[:, :600], picture[:, 600:]):
        assert len(np.unique(half[..., :3].reshape(-1, 3), axis=0)) > 50


def test_it_prints_average_precision_and_the_accuracy_of_doing_nothing(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(csv, tmp_path / "model")

    printed = capsys.readouterr().out
    assert "average precision" in printed
    assert 'accuracy of always saying "legitimate"' in printed


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
