from pathlib import Path

import pytest

from bridge.codec import Source
from bridge.errors import TransactionsFileError
from bridge.stream import frauds_by_label

LINES = {Source("transactions", 0, offset): offset + 2 for offset in range(6)}


def _frauds(tmp_path: Path, *labels: str, header: str = "Time,Class") -> set[int] | None:
    file = tmp_path / "labelled.csv"
    file.write_text("\n".join([header, *(f"0,{label}" for label in labels), ""]), encoding="utf-8")
    found = frauds_by_label(LINES, file, "Class")
    return None if found is None else {source.offset for source in found}


def test_a_label_is_found_by_its_line(tmp_path: Path) -> None:
    assert _frauds(tmp_path, "0", "1", "0", "1") == {1, 3}


def test_labels_may_be_written_as_any_number(tmp_path: Path) -> None:
    assert _frauds(tmp_path, "0.0", "1.0", "0e0", "1e0", "", "?") == {1, 3}


def test_a_file_without_the_column_has_no_labels(tmp_path: Path) -> None:
    assert _frauds(tmp_path, "0", header="Time,Label") is None


def test_a_row_that_was_streamed_twice_is_found_twice(tmp_path: Path) -> None:
    file = tmp_path / "labelled.csv"
    file.write_text("Time,Class\n0,1\n", encoding="utf-8")
    twice = {Source("transactions", partition, 0): 2 for partition in range(2)}

    assert frauds_by_label(twice, file, "Class") == frozenset(twice)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TransactionsFileError, match=r"nothing\.csv cannot be read"):
        frauds_by_label({}, tmp_path / "nothing.csv", "Class")
