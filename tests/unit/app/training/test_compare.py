"""`python -m app compare`: every model on the same split, with the same drawn sets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from app.__main__ import run_command
from app.training.compare import at_budget, less_than_knn
from app.training.models import MODELS
from app.training.outcome import Outcome
from tests.unit.app.training.conftest import count_colors, make_frame


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("compare")
    make_frame(2_000).to_csv(directory / "transactions.csv", index=False)
    compare = ["compare", str(directory / "transactions.csv"), "--neighbors", "9"]
    out = ["--json", str(directory / "compared.json"), "--picture", str(directory / "compared.png")]
    assert run_command([*compare, *out]) == 0
    return directory


@pytest.fixture(scope="module")
def compared(written: Path) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads((written / "compared.json").read_text())}


def test_every_model_is_measured_on_the_same_transactions(compared: dict[str, dict[str, Any]]) -> None:
    assert tuple(compared) == MODELS
    sums = {
        sum(one["metrics"][name] for name in ("true_positives", "false_positives", "false_negatives", "true_negatives"))
        for one in compared.values()
    }
    assert sums == {400}


def test_every_model_is_better_than_guessing(compared: dict[str, dict[str, Any]]) -> None:
    for one in compared.values():
        assert one["metrics"]["average_precision"] > 4 * 0.05, one["name"]


def test_models_that_know_the_labels_are_better_than_those_that_do_not(compared: dict[str, dict[str, Any]]) -> None:
    def precision(name: str) -> float:
        return float(compared[name]["metrics"]["average_precision"])

    assert precision("knn") > precision("isolation-forest")
    assert precision("random-forest") > precision("autoencoder")


def test_each_model_says_what_it_costs(compared: dict[str, dict[str, Any]]) -> None:
    for one in compared.values():
        assert min(one["microseconds"], one["training_seconds"], one["megabytes"]) > 0


def test_the_difference_to_knn_has_an_interval(compared: dict[str, dict[str, Any]]) -> None:
    assert compared["knn"]["less_than_knn"] is None
    for name in MODELS[1:]:
        low, high = compared[name]["less_than_knn"]
        difference = compared["knn"]["metrics"]["average_precision"] - compared[name]["metrics"]["average_precision"]
        assert low <= difference <= high


def test_the_picture_shows_something(written: Path) -> None:
    assert count_colors(written / "compared.png") > 200


def _outcome(probabilities: np.ndarray) -> Outcome:
    labels = (np.arange(1_000) % 100 == 0).astype(np.int64)
    return Outcome(labels, probabilities, np.arange(1_000.0), amounts=np.full(1_000, 10.0))


def test_drawn_sets_are_the_same_for_both_models() -> None:
    """Two models that say the same differ by nothing, whatever is drawn."""
    probabilities = np.random.default_rng(3).random(1_000)

    differences = less_than_knn({"knn": _outcome(probabilities), "twin": _outcome(probabilities)}, seed=1)

    assert differences["twin"] == (0.0, 0.0)


def test_a_better_model_is_better_in_every_drawn_set() -> None:
    noise = np.random.default_rng(3).random(1_000)
    perfect = _outcome(noise + 1.0 * (np.arange(1_000) % 100 == 0))

    low, _ = less_than_knn({"knn": perfect, "guess": _outcome(noise)}, seed=1)["guess"]

    assert low > 0.5
    assert average_precision_score(perfect.labels, perfect.probabilities) == 1


def test_a_budget_is_the_most_suspicious_of_all() -> None:
    probabilities = np.zeros(1_000)
    probabilities[[0, 5]] = 0.9, 0.8  # one fraud and one that is none: 2 alerts for 1,000 transactions

    recall, money = at_budget(_outcome(probabilities))

    assert (recall, money) == (0.1, 0.1)


def test_one_model_can_be_asked_for(csv: Path, tmp_path: Path) -> None:
    command = ["compare", str(csv), "--models", "random-forest", "--json", str(tmp_path / "one.json")]

    assert run_command(command) == 0

    (one,) = json.loads((tmp_path / "one.json").read_text())
    assert (one["name"], one["less_than_knn"]) == ("random-forest", None)


def test_too_few_frauds_for_the_neighbours_are_one_sentence(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", str(csv), "--neighbors", "33"]) == 2

    assert "fewer than the 33 neighbours" in capsys.readouterr().err
