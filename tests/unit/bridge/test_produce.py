import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import TransactionsFileError
from bridge.produce import BadRow, Row, count, count_rows, positive, read_rows

FEATURES = ("Time", "Amount")


def _read(path: Path, text: str, features: Sequence[str] = FEATURES) -> list[Row | BadRow]:
    path.write_text(text, encoding="utf-8")
    return list(read_rows(path, features, "Class"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "transactions.csv"


def test_features_become_numbers_and_the_label_stays_behind(file: Path) -> None:
    (row,) = _read(file, "Time,Amount,Class\n7,12.50,1\n")

    assert row == Row(2, {"Time": 7.0, "Amount": 12.5})


def test_the_scenario_of_a_made_up_fraud_stays_behind(file: Path) -> None:
    (row,) = _read(file, "Time,Amount,scenario\n7,12.50,stolen card\n")

    assert row == Row(2, {"Time": 7.0, "Amount": 12.5})


def test_columns_may_stand_in_any_order(file: Path) -> None:
    (row,) = _read(file, "Amount,Class,Time\n12.50,1,7\n")

    assert row == Row(2, {"Time": 7.0, "Amount": 12.5})


@pytest.mark.parametrize("cell", ["", "NaN", "inf", "-Infinity", "1e999", "12,5", "x"])
def test_a_feature_that_is_no_finite_number_is_a_bad_row(file: Path, cell: str) -> None:
    rows = _read(file, f'Time,Amount\n1,"{cell}"\n2,3\n')

    assert rows == [BadRow(2, "Amount is not a finite number"), Row(3, {"Time": 2.0, "Amount": 3.0})]


def test_a_row_of_another_length_is_a_bad_row(file: Path) -> None:
    assert _read(file, "Time,Amount\n1\n") == [BadRow(2, "1 cells, the header has 2")]


def test_lines_are_counted_as_an_editor_does(file: Path) -> None:
    rows = _read(file, 'Time,Amount,note\n1,2,"two\nlines"\n\nx,2,\n')

    assert [row.line for row in rows] == [3, 5]


@pytest.mark.parametrize("cell", ["007", "12345678901234567890", "1e5", "+1", ".5", "nan", "Ärger", "0x1f"])
def test_other_columns_travel_as_the_text_they_are(file: Path, cell: str) -> None:
    (row,) = _read(file, f"Time,Amount,code\n1,2,{cell}\n")

    assert row == Row(2, {"Time": 1.0, "Amount": 2.0, "code": cell})


@given(number=st.integers(-(10**14), 10**14) | st.decimals(-(10**6), 10**6, places=4))
def test_numbers_in_other_columns_travel_as_numbers_with_every_digit(
    number: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (row,) = _read(tmp_path_factory.getbasetemp() / "numbers.csv", f"Time,Amount,code\n1,2,{number}\n")

    assert isinstance(row, Row)
    sent = msgspec.json.encode(row.fields).decode()
    assert f'"code":{number}}}' in sent
    json.loads(sent)


@pytest.mark.parametrize("name", ["card_id", "transaction_id"])
def test_ids_are_text_whatever_they_look_like(file: Path, name: str) -> None:
    (row,) = _read(file, f"Time,Amount,{name}\n1,2,42\n")

    assert row == Row(2, {"Time": 1.0, "Amount": 2.0, name: "42"})


def test_empty_cells_of_other_columns_are_left_out(file: Path) -> None:
    (row,) = _read(file, "Time,Amount,card_id\n1,2,\n")

    assert row == Row(2, {"Time": 1.0, "Amount": 2.0})


def test_a_spreadsheets_mark_before_the_header_is_ignored(file: Path) -> None:
    (row,) = _read(file, "\ufeffTime,Amount\n1,2\n")

    assert row == Row(2, {"Time": 1.0, "Amount": 2.0})


def test_a_missing_column_is_named(file: Path) -> None:
    with pytest.raises(TransactionsFileError, match="has no column V1, Amount, which the model needs"):
        _read(file, "Time\n1\n", ("Time", "V1", "Amount"))


def test_an_empty_file_has_no_columns(file: Path) -> None:
    with pytest.raises(TransactionsFileError, match="has no column Time, Amount"):
        _read(file, "")
    assert count_rows(file) == 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TransactionsFileError, match=r"nothing\.csv cannot be read"):
        count_rows(tmp_path / "nothing.csv")


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:20] + b"\0\xff" * 9, lambda _: b"Time"])
def test_a_damaged_gzip_file_is_named(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    file = tmp_path / "damaged.csv.gz"
    file.write_bytes(damage(gzip.compress(b"Time,Amount\n" + b"1,2\n3,4\n" * 400)))

    with pytest.raises(TransactionsFileError, match=r"damaged\.csv\.gz cannot be read"):
        list(read_rows(file, FEATURES, "Class"))


def test_a_file_in_another_encoding_is_named(file: Path) -> None:
    file.write_bytes("Time,Amount,town\n1,2,Köln\n".encode("latin-1"))

    with pytest.raises(TransactionsFileError, match="cannot be read as text"):
        list(read_rows(file, FEATURES, "Class"))


def test_rows_are_counted_up_to_the_limit(file: Path) -> None:
    file.write_text("Time,Amount\n" + "1,2\n" * 10, encoding="utf-8")

    assert (count_rows(file), count_rows(file, 3), count_rows(file, 30)) == (10, 3, 10)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "many"])
def test_a_rate_is_a_number_above_zero(text: str) -> None:
    with pytest.raises(Exception, match=r"not a number above 0|could not convert"):
        positive(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5"])
def test_a_limit_is_a_whole_number_above_zero(text: str) -> None:
    with pytest.raises(Exception, match=r"not a number above 0|invalid literal"):
        count(text)
