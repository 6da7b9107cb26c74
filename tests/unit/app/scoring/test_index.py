"""The order of the reference rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.scoring.index import NeighborIndex, build_index, distances_to_center

_ROWS = st.integers(1, 200).flatmap(lambda n: arrays(np.float64, (n, 3), elements=st.floats(-1e6, 1e6)))


def _cells(index: NeighborIndex) -> np.ndarray[Any, Any]:
    return np.repeat(np.arange(len(index.centers)), np.diff(index.offsets))


@settings(max_examples=60, deadline=None)
@given(_ROWS)
def test_every_row_stands_in_it_once(rows: np.ndarray[Any, Any]) -> None:
    assert sorted(build_index(rows).reference_ids.tolist()) == list(range(len(rows)))


@settings(max_examples=60, deadline=None)
@given(_ROWS)
def test_no_cell_is_empty(rows: np.ndarray[Any, Any]) -> None:
    index = build_index(rows)

    assert (np.diff(index.offsets) > 0).all()
    assert (index.offsets[0], index.offsets[-1], len(index.offsets)) == (0, len(rows), len(index.centers) + 1)


@settings(max_examples=60, deadline=None)
@given(_ROWS)
def test_the_rows_of_a_cell_are_sorted_by_their_distance_to_its_center(rows: np.ndarray[Any, Any]) -> None:
    index = build_index(rows)
    cells = _cells(index)

    distances = distances_to_center(rows[index.reference_ids], index.centers, cells)

    assert all((np.diff(distances[cells == cell]) >= 0).all() for cell in range(len(index.centers)))


def test_the_same_rows_give_the_same_index() -> None:
    rows = np.random.default_rng(3).normal(size=(5_000, 4))

    first, second = build_index(rows), build_index(rows)

    assert np.array_equal(first.reference_ids, second.reference_ids)
    assert np.array_equal(first.centers, second.centers)


@pytest.mark.parametrize(("n_rows", "least", "most"), [(1, 1, 1), (100, 10, 12), (10_000, 200, 240)])
def test_cells_grow_with_the_root_of_the_rows(n_rows: int, least: int, most: int) -> None:
    index = build_index(np.random.default_rng(4).normal(size=(n_rows, 3)))

    assert least <= len(index.centers) <= most
