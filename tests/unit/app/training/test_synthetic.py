"""Made-up transactions: the schema, the share of fraud, and the same bytes for the same seed."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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
    assert "card_id" in small.columns


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


def test_fraud_overlaps_with_legitimate_transactions() -> None:
    """No single component tells all frauds: the plainest one leaves some between the legitimate quartiles."""
    table = synthesize(Plan(rows=20_000, fraud_rate=0.01))
    legitimate, fraud = table[table["Class"] == 0], table[table["Class"] == 1]
    middle = [fraud[f"V{n}"].between(*legitimate[f"V{n}"].quantile([0.25, 0.75])).mean() for n in range(1, 29)]

    assert min(middle) > 0.1
