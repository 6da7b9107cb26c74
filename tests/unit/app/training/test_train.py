"""`python -m app train`: what it saves is what it measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.__main__ import run_command
from app.scoring.artifact import load_artifact
from app.scoring.calibration import Calibration
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from app.training.dataset import Dataset, read_dataset
from app.training.models import MODELS
from tests.unit.app.training.conftest import count_colors


def _train(csv: Path, output: Path, *options: str) -> Path:
    assert run_command(["train", str(csv), "--output", str(output), "--neighbors", "5", *options]) == 0
    return output


def _train_whole(csv: Path, output: Path, model: str, *options: str) -> Path:
    assert run_command(["train", str(csv), "--output", str(output), "--model", model, *options]) == 0
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


@pytest.mark.parametrize("model", MODELS[1:])
def test_every_model_is_saved_as_it_was_measured(model: str, csv: Path, tmp_path: Path) -> None:
    artifact = load_artifact(_train_whole(csv, tmp_path / "model", model, "--threshold", "0.1"))
    _, features, labels = _later_part(csv)

    predictions = Scorer(artifact, 0.1).score([Transaction(str(i), tuple(row)) for i, row in enumerate(features)])
    probabilities = np.array([prediction.fraud_probability for prediction in predictions])

    assert np.allclose(probabilities, artifact.pipeline.predict_proba(features)[:, 1])
    metrics = artifact.manifest.metrics
    assert metrics["true_positives"] == ((probabilities >= 0.1) & (labels == 1)).sum() > 0
    assert artifact.manifest.context_names == ("Time", "Amount")


def test_the_manifest_tells_the_model_and_its_settings(csv: Path, tmp_path: Path) -> None:
    boosted = load_artifact(_train_whole(csv, tmp_path / "boosted", "gradient-boosting", "--seed", "7")).manifest
    nearest = load_artifact(_train(csv, tmp_path / "nearest")).manifest

    assert (boosted.training["model"], nearest.training["model"]) == ("gradient-boosting", "knn")
    assert boosted.training["estimator"] == "HistGradientBoostingClassifier"
    assert boosted.training["parameters"]["learning_rate"] == 0.03
    assert boosted.training["parameters"]["random_state"] == 7
    assert boosted.training["parameters"]["min_samples_leaf"] == 16  # half of the frauds


@pytest.mark.parametrize(
    "options",
    [["--search", "quick"], ["--neighbors", "5"], ["--weights", "uniform"], ["--discriminant", "0"]],
    ids=lambda options: options[0],
)
def test_what_concerns_neighbours_is_refused_with_another_model(
    options: list[str], csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", str(csv), "--output", str(tmp_path / "model"), "--model", "random-forest"]

    assert run_command([*train, *options]) == 2

    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert sentence == f"{options[0]} can be had with --model knn only; leave it out with random-forest."


@pytest.mark.parametrize(("model", "kind"), [("knn", "sigmoid"), ("knn", "isotonic"), ("gradient-boosting", "sigmoid")])
def test_a_calibration_is_part_of_the_artifact_and_of_its_figures(
    model: str, kind: str, csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = load_artifact(_train_whole(csv, tmp_path / "model", model, "--calibrate", kind))
    _, features, labels = _later_part(csv)
    assert artifact.fitted.calibrator is not None
    curve = Calibration(artifact.fitted.calibrator)
    raw = artifact.pipeline.predict_proba(features)[:, 1]

    predictions = Scorer(artifact).score([Transaction(str(i), tuple(row)) for i, row in enumerate(features)])

    assert np.allclose([prediction.fraud_probability for prediction in predictions], curve(raw))
    effect = artifact.manifest.metrics["calibration"]
    assert effect["kind"] == curve.kind == kind
    assert effect["brier_before"] == pytest.approx(np.square(raw - labels).mean())
    assert effect["brier_after"] == pytest.approx(np.square(curve(raw) - labels).mean())
    assert effect["brier_after"] == pytest.approx(artifact.manifest.metrics["brier_score"])
    assert f"Calibration ({kind}) took the Brier score from" in capsys.readouterr().out


def test_a_calibration_never_looks_at_the_later_part(frame: pd.DataFrame, tmp_path: Path) -> None:
    """Other labels in the part that is measured on change neither the model nor its calibration."""
    frame.to_csv(tmp_path / "before.csv", index=False)
    frame.loc[700:, "Class"] = 1 - frame.loc[700:, "Class"]
    frame.to_csv(tmp_path / "after.csv", index=False)

    before, after = (
        load_artifact(_train_whole(tmp_path / f"{name}.csv", tmp_path / name, "knn", "--calibrate", "isotonic"))
        for name in ("before", "after")
    )

    assert before.manifest.sha256 == after.manifest.sha256
    assert before.manifest.metrics != after.manifest.metrics


def test_costs_choose_a_threshold_of_the_calibrated_probabilities(csv: Path, tmp_path: Path) -> None:
    costs = ["--cost-missed", "100", "--cost-alert", "5"]
    raw, calibrated = (
        load_artifact(_train_whole(csv, tmp_path / kind, "knn", "--calibrate", kind, *costs))
        for kind in ("none", "sigmoid")
    )
    # The sigmoid keeps the order, so that the same transactions are alerts, from a threshold on another scale.
    alerts = [
        (one.manifest.metrics["true_positives"], one.manifest.metrics["false_positives"]) for one in (raw, calibrated)
    ]
    assert alerts[0] == alerts[1]
    assert raw.manifest.metrics["threshold"] != calibrated.manifest.metrics["threshold"]


def test_a_model_that_knows_nothing_cannot_be_calibrated(
    frame: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = frame.index >= 500
    frame.loc[later, ["V1", "V2"]] = 2.5 - frame.loc[later, ["V1", "V2"]]  # fraud and the rest have changed places
    frame.to_csv(tmp_path / "turned.csv", index=False)
    train = ["train", str(tmp_path / "turned.csv"), "--output", str(tmp_path / "model"), "--calibrate", "sigmoid"]

    assert run_command([*train, "--model", "gradient-boosting"]) == 2

    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert "nothing to calibrate" in sentence
    assert not (tmp_path / "model").exists()


def test_another_model_takes_the_place_of_neighbours(csv: Path, tmp_path: Path) -> None:
    output = _train(csv, tmp_path / "model")

    _train_whole(csv, output, "gradient-boosting")

    assert load_artifact(output).fitted.reference is None
