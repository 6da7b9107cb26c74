"""The search on folds in time: what it tries, and that it looks at nothing later."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from app.__main__ import run_command
from app.scoring.artifact import load_artifact
from app.training.dataset import Part
from app.training.errors import TrainingError
from app.training.neighborhoods import find_neighborhoods
from app.training.search import Choice, Search, Wishes, folds_of, predict_fold, search, spaces
from app.training.space import Columns, Space, fit_space
from tests.unit.app.training.conftest import make_frame

COLUMNS = Columns(n_features=4, time=0, amount=3)
FILE = Path("transactions.csv")


def _part(n_rows: int = 1_200) -> Part:
    frame = make_frame(n_rows)
    features = frame[["Time", "V1", "V2", "Amount"]].to_numpy(dtype=float)
    return Part(features, frame["Class"].to_numpy(), features[:, 0])


@pytest.fixture(scope="module")
def folds() -> list[tuple[Part, Part]]:
    return folds_of(FILE, _part())


@pytest.fixture(scope="module")
def found(folds: list[tuple[Part, Part]]) -> Search:
    return search("quick", folds, COLUMNS, Wishes())


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_neighbourhoods_vote_as_scikit_learn_does(weights: str) -> None:
    part = _part()
    features, labels = part.features[:, 1:3], part.labels
    classifier = KNeighborsClassifier(7, weights=weights, algorithm="brute").fit(features[:800], labels[:800])

    found = find_neighborhoods(features[:800], labels[:800], features[800:], 7)

    assert 0 < len(found.rows) < 400
    expected = classifier.predict_proba(features[800:])[:, 1]
    assert np.allclose(found.probabilities(7, weights), expected, atol=1e-4)


def test_each_fold_is_measured_on_what_follows_what_it_trains_on(folds: list[tuple[Part, Part]]) -> None:
    sizes = [(len(earlier), len(later)) for earlier, later in folds]

    assert sizes == [(480, 240), (720, 240), (960, 240)]
    for earlier, later in folds:
        assert earlier.times.max() < later.times.min()


def test_a_fold_without_fraud_is_one_sentence() -> None:
    part = _part()
    labels = part.labels.copy()
    labels[960:] = 0

    with pytest.raises(TrainingError, match=r"later side of fold 3 of 3 has no fraud among its 240 rows; .*--folds"):
        folds_of(FILE, Part(part.features, labels, part.times))


def test_the_best_stands_first(found: Search) -> None:
    means = [tried.mean for tried in found.tried]

    assert means == sorted(means, reverse=True)
    assert found.best == found.tried[0]


def test_a_score_is_scikit_learns_average_precision_of_the_fold(found: Search, folds: list[tuple[Part, Part]]) -> None:
    tried = found.tried[3]
    for (earlier, later), score in zip(folds, tried.folds, strict=True):
        scaling = fit_space(tried.choice.space, COLUMNS, earlier.features, earlier.labels)
        classifier = KNeighborsClassifier(tried.choice.neighbors, weights=tried.choice.votes, algorithm="brute")
        classifier.fit(scaling.transform(earlier.features), earlier.labels)
        probabilities = classifier.predict_proba(scaling.transform(later.features))[:, 1]
        assert score == pytest.approx(average_precision_score(later.labels, probabilities), abs=1e-3)
    assert tried.mean == pytest.approx(np.mean(tried.folds))


def test_the_same_rows_give_the_same_search(found: Search, folds: list[tuple[Part, Part]]) -> None:
    assert search("quick", folds, COLUMNS, Wishes()) == found


def test_what_the_user_decided_is_kept(folds: list[tuple[Part, Part]]) -> None:
    wishes = Wishes(neighbors=6, votes="uniform", scaler="robust", discriminant=2.0)

    tried = search("quick", folds, COLUMNS, wishes).tried

    for one in tried:
        assert (one.choice.neighbors, one.choice.votes, one.choice.space.scaler) == (6, "uniform", "robust")
        assert one.choice.space.discriminant == 2.0
    assert len({one.choice.space for one in tried}) == len(tried) > 1


def test_no_more_neighbours_vote_than_a_fold_has_frauds(found: Search) -> None:
    assert max(tried.choice.neighbors for tried in found.tried) == 15  # the first fold has 24 frauds


def test_a_full_search_tries_more_spaces() -> None:
    assert set(spaces("full", Wishes())) > set(spaces("quick", Wishes()))


def test_a_fold_is_predicted_by_the_choice(folds: list[tuple[Part, Part]], found: Search) -> None:
    best = found.best

    probabilities = predict_fold(best.choice, COLUMNS, folds[1])

    assert average_precision_score(folds[1][1].labels, probabilities) == pytest.approx(best.folds[1])


def test_the_manifest_has_every_choice_and_every_fold_score(tmp_path: Path) -> None:
    make_frame(1_200).to_csv(tmp_path / "transactions.csv", index=False)
    train = ["train", str(tmp_path / "transactions.csv"), "--output", str(tmp_path / "model"), "--search", "quick"]

    assert run_command(train) == 0

    training = load_artifact(tmp_path / "model").manifest.training
    search = msgspec.convert(training["search"], Search)
    assert len(search.tried) > 40
    assert len(search.best.folds) == 3
    best = search.best.choice
    assert (training["neighbors"], training["weights"]) == (best.neighbors, best.votes)
    assert training["scaler"] == best.space.scaler


def test_the_later_part_is_never_looked_at(tmp_path: Path) -> None:
    """Other later transactions change what is measured, and nothing of the model."""
    models = []
    for number, seed in enumerate((3, 9)):
        frame = make_frame(1_200)
        frame.loc[960:, ["V1", "V2", "Class"]] = make_frame(1_200, seed).loc[960:, ["V1", "V2", "Class"]]
        frame.to_csv(tmp_path / f"{number}.csv", index=False)
        output = tmp_path / str(number)
        train = ["train", str(tmp_path / f"{number}.csv"), "--output", str(output), "--search", "quick"]
        assert run_command([*train, "--neighbors", "5", "--cost-alert", "5"]) == 0
        models.append(load_artifact(output).manifest)

    first, second = models
    assert first.sha256 == second.sha256
    assert first.training["search"] == second.training["search"]
    assert first.metrics["threshold"] == second.metrics["threshold"] != 0.8
    assert first.metrics["average_precision"] != second.metrics["average_precision"]


def test_a_choice_reads_as_words() -> None:
    assert Choice(Space(), 25, "distance").words() == (
        "25 neighbours, distance votes, standard, weights ks-squared, discriminant weight 6"
    )
