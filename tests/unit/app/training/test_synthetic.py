"""Made-up transactions: the schema, the share of fraud, and the same bytes for the same seed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.__main__ import run_command
from app.training.scenarios import LEGITIMATE, SCENARIOS
from app.training.synthetic import Plan, run, synthesize

SMALL = Plan(rows=6_000, cards=300, seed=5)


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    return synthesize(SMALL)


def _digest(plan: Plan, path: Path) -> str:
    run(replace(plan, output=path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["made.csv", "made.csv.gz"])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    assert _digest(SMALL, tmp_path / "a" / name) == _digest(SMALL, tmp_path / "b" / name)


def test_another_seed_gives_other_transactions(small: pd.DataFrame) -> None:
    assert not small.equals(synthesize(Plan(rows=6_000, cards=300, seed=6)))


def test_it_has_the_columns_of_the_public_card_set(small: pd.DataFrame) -> None:
    components = [f"V{number}" for number in range(1, 29)]

    assert list(small.columns[:31]) == ["Time", *components, "Amount", "Class"]
    assert list(small.columns[31:]) == ["card_id", "merchant_id", "scenario"]


def test_rows_are_in_time_order_within_the_days(small: pd.DataFrame) -> None:
    assert small["Time"].is_monotonic_increasing
    assert small["Time"].between(0, 2 * 86_400 - 1).all()


def test_the_share_of_fraud_is_the_one_asked_for(small: pd.DataFrame) -> None:
    assert len(small) == 6_000
    assert small["Class"].sum() == 10


def test_nights_are_quieter_than_afternoons(small: pd.DataFrame) -> None:
    hours = small["Time"] // 3600 % 24

    assert (hours == 3).sum() * 3 < (hours == 15).sum()


def test_amounts_are_positive_cents_and_skewed(small: pd.DataFrame) -> None:
    cents = small["Amount"] * 100

    assert np.allclose(cents, cents.round())
    assert (small["Amount"] >= 0).all()
    assert small["Amount"].mean() > 1.5 * small["Amount"].median()


@pytest.fixture(scope="module")
def fraudulent() -> pd.DataFrame:
    """A world with enough fraud to see each scenario: 400 frauds."""
    return synthesize(Plan(rows=20_000, fraud_rate=0.02, cards=2_000, days=4))


def _frauds(table: pd.DataFrame, scenario: str) -> pd.DataFrame:
    return table[table["scenario"] == scenario]


def test_every_fraud_has_its_scenario(fraudulent: pd.DataFrame) -> None:
    assert set(fraudulent["scenario"]) == {LEGITIMATE, *(scenario.name for scenario in SCENARIOS)}
    assert ((fraudulent["scenario"] != LEGITIMATE) == (fraudulent["Class"] == 1)).all()


def test_scenarios_have_their_shares(fraudulent: pd.DataFrame) -> None:
    for scenario in SCENARIOS:
        assert len(_frauds(fraudulent, scenario.name)) == pytest.approx(400 * scenario.share, abs=1)


def test_a_stolen_card_is_emptied_in_minutes_at_many_merchants(fraudulent: pd.DataFrame) -> None:
    bursts = _frauds(fraudulent, "stolen_card_burst").groupby("card_id")

    assert (bursts["Time"].max() - bursts["Time"].min()).median() < 1_800
    assert bursts["merchant_id"].nunique().median() >= 3
    assert bursts["Amount"].median().median() > 4 * fraudulent["Amount"].median()


def test_cards_are_tested_with_small_amounts_by_night_at_few_merchants(fraudulent: pd.DataFrame) -> None:
    tests = _frauds(fraudulent, "card_testing")

    assert tests["Amount"].max() <= 2
    hours = tests["Time"] // 3600 % 24
    assert ((hours >= 21) | (hours < 6)).all()
    assert tests["merchant_id"].nunique() * 4 < tests["card_id"].nunique()


def test_a_ring_is_many_cards_at_one_merchant_for_about_the_same(fraudulent: pd.DataFrame) -> None:
    rings = _frauds(fraudulent, "ring").groupby("merchant_id")

    assert rings["card_id"].nunique().median() >= 4
    assert (rings["Amount"].max() - rings["Amount"].min()).median() <= 2


def test_a_slow_drain_spends_as_people_do(fraudulent: pd.DataFrame) -> None:
    drains = _frauds(fraudulent, "slow_drain")

    assert drains["Amount"].median() < 3 * fraudulent["Amount"].median()
    assert drains.groupby("card_id")["Time"].agg(np.ptp).median() > 6 * 3_600


def test_no_single_component_tells_all_frauds(fraudulent: pd.DataFrame) -> None:
    legitimate, fraud = fraudulent[fraudulent["Class"] == 0], fraudulent[fraudulent["Class"] == 1]
    middle = [fraud[f"V{n}"].between(*legitimate[f"V{n}"].quantile([0.25, 0.75])).mean() for n in range(1, 29)]

    assert min(middle) > 0.1


def test_amounts_often_end_as_prices_do(small: pd.DataFrame) -> None:
    cents = (small["Amount"] * 100).round().astype(int) % 100

    assert cents.isin([0, 50, 95, 99]).mean() > 0.4


def test_drift_moves_some_components_and_the_amounts_from_half_time_on() -> None:
    usual, drifted = synthesize(SMALL), synthesize(replace(SMALL, drift=True))
    later = usual["Time"] >= 86_400

    assert drifted[~later].equals(usual[~later])
    moved = [name for name in usual if not drifted[name][later].equals(usual[name][later])]
    assert moved == ["V3", "V9", "V12", "Amount"]


def test_drift_is_found(tmp_path: Path) -> None:
    plan = Plan(rows=4_000, cards=500, fraud_rate=0.02, output=tmp_path / "usual.csv")
    run(plan)
    run(replace(plan, drift=True, output=tmp_path / "drifted.csv"))
    train = ["train", str(plan.output), "--neighbors", "5", "--output", str(tmp_path / "model")]
    assert run_command(train) == 0

    drift = ["drift", str(tmp_path / "model"), str(tmp_path / "drifted.csv"), "--json", str(tmp_path / "drift.json")]
    assert run_command(drift) == 0

    shifts = json.loads((tmp_path / "drift.json").read_text())["shifts"]
    assert {shift["name"] for shift in shifts[:3]} == {"V3", "V9", "V12"}
    assert {shift["verdict"] for shift in shifts[:3]} == {"moved"}


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")

    assert run_command(["synthesize", "--rows", "50", "--output", str(tmp_path / "file" / "made.csv")]) == 2

    assert "made.csv cannot be written" in capsys.readouterr().err
