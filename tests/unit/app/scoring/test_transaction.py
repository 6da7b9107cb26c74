"""The matrix of features."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scoring.errors import TransactionError
from app.scoring.transaction import Transaction, feature_matrix

_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_NOT_FINITE = st.sampled_from([math.nan, math.inf, -math.inf])


@given(st.integers(1, 5).flatmap(lambda width: st.lists(st.tuples(*[_FINITE] * width), min_size=1)))
def test_a_row_is_a_transaction_and_a_column_a_feature(rows: list[tuple[float, ...]]) -> None:
    transactions = [Transaction(str(index), row) for index, row in enumerate(rows)]

    features = feature_matrix(transactions, len(rows[0]))

    assert features.dtype == np.float64
    assert features.tolist() == [list(row) for row in rows]


def test_no_transactions_are_a_matrix_without_rows() -> None:
    assert feature_matrix([], 30).shape == (0, 30)


@given(st.lists(_FINITE, max_size=6).filter(lambda features: len(features) != 3))
def test_another_number_of_features_is_an_error_that_names_the_transaction(features: list[float]) -> None:
    with pytest.raises(TransactionError, match=f"Transaction wrong has {len(features)} features; .* trained on 3"):
        feature_matrix([Transaction("good", (1.0, 2.0, 3.0)), Transaction("wrong", tuple(features))], 3)


@given(st.lists(_FINITE, min_size=3, max_size=3), st.integers(0, 2), _NOT_FINITE)
def test_what_is_no_finite_number_is_an_error_that_names_the_transaction(
    features: list[float], position: int, value: float
) -> None:
    wrong = [*features[:position], value, *features[position + 1 :]]
    transactions = [Transaction("good", tuple(features)), Transaction("wrong", tuple(wrong))]

    with pytest.raises(TransactionError, match="Transaction wrong has a feature that is not a finite number"):
        feature_matrix(transactions, 3)


def test_an_error_tells_nothing_of_the_card() -> None:
    with pytest.raises(TransactionError) as caught:
        feature_matrix([Transaction("t", (4111.0, math.nan), card_id="card-4111")], 2)

    assert "4111" not in str(caught.value)


def test_it_cannot_be_changed() -> None:
    transaction = Transaction("t", (1.0,))

    with pytest.raises(AttributeError):
        transaction.transaction_id = "another"  # type: ignore[misc]


def test_what_it_carries_stays_the_text_that_came() -> None:
    transaction = Transaction("t", (1.0,), carried={"note": msgspec.Raw(b"1.50")})

    assert msgspec.json.encode(transaction.carried) == b'{"note":1.50}'
