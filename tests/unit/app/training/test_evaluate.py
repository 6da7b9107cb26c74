"""`python -m app evaluate`: a trained artifact on later transactions."""

import base64
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.metrics import average_precision_score

from app.__main__ import run_command
from app.scoring.artifact import load_artifact
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from tests.unit.app.training.conftest import count_colors, make_frame


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model, later transactions, and all that an evaluation writes."""
    directory = tmp_path_factory.mktemp("evaluated")
    make_frame().to_csv(directory / "earlier.csv", index=False)
    make_frame(seed=4).to_csv(directory / "later.csv", index=False)
    train = ["train", str(directory / "earlier.csv"), "--output", str(directory / "model"), "--neighbors", "9"]
    assert run_command(train) == 0
    written = ["--json", str(directory / "figures.json"), "--html", str(directory / "report.html")]
    evaluate = ["evaluate", str(directory / "model"), str(directory / "later.csv"), "--what-if", "0.5", *written]
    assert run_command([*evaluate, "--pictures", str(directory / "pictures")]) == 0
    return directory


@pytest.fixture(scope="module")
def figures(evaluated: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((evaluated / "figures.json").read_text())
    return answer


@pytest.fixture(scope="module")
def page(evaluated: Path) -> str:
    return (evaluated / "report.html").read_text()


@pytest.fixture(scope="module")
def reference(evaluated: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scikit-learn's own probabilities."""
    artifact = load_artifact(evaluated / "model")
    later = make_frame(seed=4)
    features = later[list(artifact.manifest.feature_names)].to_numpy(dtype=float)
    return later["Class"].to_numpy(), artifact.pipeline.predict_proba(features)[:, 1]


def test_the_figures_are_those_of_the_pipeline(
    figures: dict[str, Any], reference: tuple[np.ndarray, np.ndarray]
) -> None:
    labels, probabilities = reference

    assert figures["metrics"]["average_precision"] == pytest.approx(average_precision_score(labels, probabilities))
    assert figures["metrics"]["true_positives"] == ((probabilities >= 0.8) & (labels == 1)).sum()
    assert (figures["rows"], figures["frauds"]) == (800, 40)


def test_what_if_is_the_difference_between_two_thresholds(
    figures: dict[str, Any], reference: tuple[np.ndarray, np.ndarray]
) -> None:
    labels, probabilities = reference
    between = (probabilities >= 0.5) & (probabilities < 0.8)
    change = figures["what_if"]

    assert change["more_alerts"] == between.sum() > 0
    assert change["more_caught"] == (between & (labels == 1)).sum()
    assert change["more_false_alerts"] == (between & (labels == 0)).sum()
    amounts = make_frame(seed=4)["Amount"].to_numpy()
    saved = amounts[between & (labels == 1)].sum()
    assert change["money_caught_more"] == pytest.approx(saved)
    assert change["cost_more"] == pytest.approx(5 * between.sum() - saved)


def test_the_ladder_has_the_threshold_in_use(figures: dict[str, Any]) -> None:
    step = next(step for step in figures["ladder"] if step["threshold"] == 0.8)

    assert step["recall"] == pytest.approx(figures["metrics"]["recall"])
    assert step["cost"] == pytest.approx(figures["metrics"]["cost"])


def test_every_picture_shows_something(evaluated: Path) -> None:
    pictures = sorted((evaluated / "pictures").iterdir())

    names = [picture.name for picture in pictures]
    assert names == ["curves.png", "decisions.png", "features.png", "money.png", "over_time.png", "scores.png"]
    for picture in pictures:
        assert count_colors(picture) > 50, picture.name


def test_the_report_needs_no_network(page: str) -> None:
    """Nothing in it refers to another file, and its pictures are inside."""
    found: list[str] = []

    class References(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value or "" for name, value in attrs if name in ("src", "href") or tag == "link")

    References().feed(page)

    assert len(found) == 6
    for reference in found:
        assert reference.startswith("data:image/png;base64,")
        assert imread(BytesIO(base64.b64decode(reference.partition(",")[2]))).shape[1] == 1_200
    assert "http" not in re.sub(r"base64,[^\"]+", "", page)


def test_the_report_shows_the_neighbours_of_the_worst_misses(page: str) -> None:
    misses = page[page.index("The worst misses") : page.index("The worst false alerts")]

    rows = re.findall(r"<tr><td>.*?</tr>", misses)
    assert 1 <= len(rows) <= 5
    for row in rows:
        assert len(re.findall(r'class="near', row)) == 9


def test_the_report_says_why_accuracy_says_nothing(page: str) -> None:
    assert "a model that never raises an alert has the accuracy of doing nothing" in page


def test_another_threshold_can_be_asked_for(evaluated: Path, tmp_path: Path) -> None:
    command = ["evaluate", str(evaluated / "model"), str(evaluated / "later.csv"), "--threshold", "0.3"]

    assert run_command([*command, "--json", str(tmp_path / "figures.json")]) == 0

    assert json.loads((tmp_path / "figures.json").read_text())["metrics"]["threshold"] == 0.3


def test_a_missing_feature_is_one_sentence_and_exit_code_2(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_frame().drop(columns="V2").to_csv(tmp_path / "less.csv", index=False)

    assert run_command(["evaluate", str(evaluated / "model"), str(tmp_path / "less.csv")]) == 2

    assert "less.csv has no column V2" in capsys.readouterr().err


def test_a_missing_artifact_is_one_sentence_and_exit_code_1(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["evaluate", str(tmp_path / "absent"), str(csv)]) == 1

    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_place_that_cannot_be_written_is_one_sentence(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = evaluated / "later.csv" / "figures.json"
    command = ["evaluate", str(evaluated / "model"), str(evaluated / "later.csv"), "--json", str(place)]

    assert run_command(command) == 2

    assert "figures.json cannot be written" in capsys.readouterr().err


@pytest.fixture(scope="module")
def boosted(evaluated: Path) -> Path:
    """A directory with the evaluation of a calibrated model without neighbours."""
    directory = evaluated / "boosted"
    train = ["train", str(evaluated / "earlier.csv"), "--output", str(directory / "model")]
    assert run_command([*train, "--model", "gradient-boosting", "--calibrate", "sigmoid"]) == 0
    evaluate = ["evaluate", str(directory / "model"), str(evaluated / "later.csv"), "--threshold", "0.6"]
    written = ["--json", str(directory / "figures.json"), "--html", str(directory / "report.html")]
    assert run_command([*evaluate, *written]) == 0
    return directory


def test_the_figures_of_a_calibrated_model_are_those_of_its_answers(boosted: Path) -> None:
    artifact = load_artifact(boosted / "model")
    later = make_frame(seed=4)
    features = later[list(artifact.manifest.feature_names)].to_numpy(dtype=float)
    answers = Scorer(artifact).score([Transaction(str(i), tuple(row)) for i, row in enumerate(features.tolist())])
    labels = later["Class"].to_numpy()

    figures = json.loads((boosted / "figures.json").read_text())

    errors = np.array([answer.fraud_probability for answer in answers]) - labels
    raw_errors = artifact.pipeline.predict_proba(features)[:, 1] - labels
    assert figures["metrics"]["brier_score"] == pytest.approx(np.square(errors).mean())
    assert figures["calibration"]["kind"] == "sigmoid"
    assert figures["calibration"]["brier_before"] == pytest.approx(np.square(raw_errors).mean())
    assert figures["calibration"]["brier_after"] == pytest.approx(figures["metrics"]["brier_score"])


def test_a_model_without_calibration_says_nothing_of_one(figures: dict[str, Any], page: str) -> None:
    assert figures["calibration"] is None
    assert "Calibration (" not in page


def test_the_report_of_a_model_without_neighbours_shows_what_raised_its_worst_mistakes(boosted: Path) -> None:
    page = (boosted / "report.html").read_text()
    misses = page[page.index("The worst misses") : page.index("The worst false alerts")]

    assert "Neighbours are not available for this model" in misses
    assert "<th>influences</th>" in misses
    assert re.search(r"V[12] -?[\d.]+: 0\.\d{3} with the usual", misses)
    assert 'class="near' not in misses
    assert "Calibration (sigmoid) took the Brier score from" in page


def test_the_probabilities_of_a_model_without_neighbours_do_not_drift_by_themselves(
    boosted: Path, evaluated: Path
) -> None:
    file = boosted / "drift.json"

    assert run_command(["drift", str(boosted / "model"), str(evaluated / "later.csv"), "--json", str(file)]) == 0

    verdicts = {shift["name"]: shift["verdict"] for shift in json.loads(file.read_text())["shifts"]}
    assert verdicts["fraud_probability"] == "same"


@pytest.mark.parametrize("values", [[3.0], [1e200, -1e200], [1e308, 1e307]], ids=["one", "huge", "largest"])
def test_features_that_cannot_be_drawn_do_not_stop_the_evaluation(
    evaluated: Path, tmp_path: Path, values: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    frame = make_frame(seed=4)
    frame.assign(V1=np.resize(values, len(frame))).to_csv(tmp_path / "odd.csv", index=False)

    command = ["evaluate", str(evaluated / "model"), str(tmp_path / "odd.csv"), "--html", str(tmp_path / "report.html")]
    assert run_command(command) == 0

    assert capsys.readouterr().err.strip() == ""
    assert (tmp_path / "report.html").is_file()


def test_nothing_is_written_before_everything_is_made(
    evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.training.evaluate.draw_evaluation", interrupted)
    written = ["--json", str(tmp_path / "figures.json"), "--pictures", str(tmp_path / "pictures")]

    assert run_command(["evaluate", str(evaluated / "model"), str(evaluated / "later.csv"), *written]) == 130

    assert list(tmp_path.iterdir()) == []
