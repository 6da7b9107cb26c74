"""Reading labelled transactions, every way to be wrong included, and the split in time."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.training.dataset import Dataset, Part, read_dataset, read_features, read_part
from app.training.errors import TrainingError


def _read(path: Path, *drop: str, sort: bool = False) -> Dataset:
    return read_dataset(path, "Class", "Time", drop, sort=sort)


def _write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def test_numeric_columns_are_features_and_identifiers_are_left_out(csv: Path) -> None:
    dataset = _read(csv)

    assert dataset.feature_names == ("Time", "V1", "V2", "Amount")
    assert dataset.left_out == ("card_id",)


def test_dropped_columns_are_no_features(csv: Path) -> None:
    assert _read(csv, "V2").feature_names == ("Time", "V1", "Amount")


def test_the_scenario_is_never_read(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = _write(frame.assign(scenario=frame["Class"]), tmp_path / "scenario.csv")

    assert "scenario" in _read(path).left_out


def test_numbers_are_read_exactly_as_python_reads_them(frame: pd.DataFrame, tmp_path: Path) -> None:
    exact = np.random.default_rng(1).normal(size=len(frame))
    path = _write(frame.assign(V1=exact), tmp_path / "exact.csv")

    assert np.array_equal(_read(path).everything.features[:, 1], exact)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_every_format_gives_the_same_transactions(frame: pd.DataFrame, csv: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"same{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)

    read, expected = _read(path).everything, _read(csv).everything

    assert np.array_equal(read.features, expected.features)
    assert np.array_equal(read.labels, expected.labels)
    assert read.cards is not None
    assert np.array_equal(read.cards, expected.cards)  # type: ignore[arg-type]


def test_blank_lines_at_the_end_mean_nothing(csv: Path) -> None:
    n_rows = len(_read(csv).everything)
    csv.write_text(csv.read_text() + "\n\n")

    assert len(_read(csv).everything) == n_rows


def test_dates_order_the_transactions_and_are_no_feature(frame: pd.DataFrame, tmp_path: Path) -> None:
    dates = pd.Timestamp("2026-01-31", tz="UTC") + pd.to_timedelta(frame["Time"], unit="s")
    path = _write(frame.assign(Time=dates.map(pd.Timestamp.isoformat)), tmp_path / "dates.csv")

    dataset = _read(path)

    assert dataset.feature_names == ("V1", "V2", "Amount")
    assert np.allclose(np.diff(dataset.everything.times), np.diff(frame["Time"]))


def test_dates_in_parquet_order_the_transactions(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "dates.parquet"
    frame.assign(Time=pd.to_datetime(frame["Time"], unit="s")).to_parquet(path)

    assert np.allclose(np.diff(_read(path).everything.times), np.diff(frame["Time"]))


def test_the_split_is_in_time_and_loses_nothing(csv: Path) -> None:
    dataset = _read(csv)
    train, test = dataset.split(0.25)

    assert (len(train), len(test)) == (600, 200)
    assert train.times.max() <= test.times.min()
    assert np.array_equal(np.concatenate([train.features, test.features]), dataset.everything.features)
    assert np.array_equal(np.concatenate([train.labels, test.labels]), dataset.everything.labels)


def test_rows_out_of_order_are_ordered_when_asked(frame: pd.DataFrame, csv: Path, tmp_path: Path) -> None:
    shuffled = _write(frame.sample(frac=1, random_state=5), tmp_path / "shuffled.csv")

    assert np.array_equal(_read(shuffled, sort=True).everything.features, _read(csv).everything.features)


def test_a_trained_models_features_are_read_in_its_order(frame: pd.DataFrame, csv: Path) -> None:
    part = read_part(csv, ("Amount", "V1"), "Class", "Time")

    assert np.array_equal(part.features, frame[["Amount", "V1"]].to_numpy())
    assert np.array_equal(read_features(csv, ("Amount", "V1")), part.features)


Change = Callable[[pd.DataFrame], pd.DataFrame]


def _set(row: int, column: str, value: str | float | None) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[row, column] = value
        return frame

    return change


# What is done to good transactions, and all that the one sentence must say.
BROKEN: dict[str, tuple[Change, list[str]]] = {
    "no such label": (lambda f: f.drop(columns="Class"), ["no column Class", "Time, V1, V2, Amount, card_id"]),
    "one class": (lambda f: f.assign(Class=0), ["legitimate transactions only in Class", "--label"]),
    "fraud only": (lambda f: f.assign(Class=1), ["fraudulent transactions only in Class"]),
    "label of other values": (_set(4, "Class", 2), ["row 6", "Class is 2", "neither 0 nor 1"]),
    "label in words": (_set(4, "Class", "yes"), ["row 6", "Class is 'yes'", "1 for fraud and 0 otherwise"]),
    "text in a number column": (_set(9, "Amount", "1,50 EUR"), ["row 11", "Amount is '1,50 EUR'", "--drop Amount"]),
    "long text": (_set(0, "V1", "x" * 500), ["row 2", "V1 is 'xxxxxxxxxxxxxxxxxxxx…'"]),
    "a missing value": (_set(7, "V2", None), ["row 9", "V2 is empty", "1 of 800"]),
    "infinity": (_set(7, "V2", float("inf")), ["row 9", "V2 is 'inf'"]),
    "not a number": (_set(7, "V2", "NaN"), ["row 9", "V2 is 'NaN'"]),
    "an all-missing column": (lambda f: f.assign(V2=""), ["V2 has no value", "--drop V2"]),
    "unsorted time": (lambda f: f.iloc[::-1], ["row 3", "Time is earlier than in the row before", "--sort"]),
    "time of words": (_set(3, "Time", "noon"), ["row 5", "Time is 'noon'"]),
    "1 row": (lambda f: f.iloc[:1], ["has 1 row;", "at least 20"]),
    "no rows": (lambda f: f.iloc[:0], ["has a header and no rows"]),
    "no features": (lambda f: f[["Class", "card_id"]].assign(Time="2026-01-01"), ["no column of numbers"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_input_is_one_sentence_that_names_the_place(frame: pd.DataFrame, tmp_path: Path, case: str) -> None:
    change, fragments = BROKEN[case]
    path = _write(change(frame), tmp_path / "broken.csv")

    with pytest.raises(TrainingError) as raised:
        _read(path)

    sentence = str(raised.value)
    assert sentence.startswith(str(path))
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for fragment in fragments:
        assert fragment in sentence


@pytest.mark.parametrize("case", ["a missing value", "text in a number column", "an all-missing column"])
def test_for_a_trained_model_a_column_is_not_to_be_left_out(frame: pd.DataFrame, tmp_path: Path, case: str) -> None:
    change, _ = BROKEN[case]
    path = _write(change(frame), tmp_path / "broken.csv")

    for read in (
        lambda: read_part(path, ("V2", "Amount"), "Class", "Time"),
        lambda: read_features(path, ("V2", "Amount")),
    ):
        with pytest.raises(TrainingError, match=r"the model needs it, so correct the value, or leave the row out\.$"):
            read()


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "is empty"),
        (b"Time,V1,V1,Class\n1,2,3,0\n", "row 1: the header has V1 more than once"),
        (b"Time,V1,Class\n1,2,0\n1,2,3,0\n", "row 3 (the header is row 1): it has 4 values for 3 columns"),
        (b"Time,V1,Class\n1,2,0\n\n3,4,1\n", "has 3 rows"),
        (b"Time,V1,Class\n1,2,0\n1,\xf6,0\n", "row 3: it is no text in UTF-8"),
        (b"Time;V1;Class\n1;2;0\n", "row 1: the columns are separated by ';'"),
    ],
)
def test_a_damaged_csv_is_one_sentence(tmp_path: Path, content: bytes, fragment: str) -> None:
    path = tmp_path / "damaged.csv"
    path.write_bytes(content)

    with pytest.raises(TrainingError, match=r"^[^\n]+\.$") as raised:
        _read(path)

    assert fragment in str(raised.value)


def test_a_cut_gzip_file_is_one_sentence(csv: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(csv.read_bytes())[:2_000])

    with pytest.raises(TrainingError, match=r"cut\.csv\.gz cannot be read"):
        _read(path)


def test_a_file_that_is_no_parquet_is_one_sentence(csv: Path) -> None:
    path = csv.rename(csv.with_suffix(".parquet"))

    with pytest.raises(TrainingError, match=r"transactions\.parquet cannot be read \([^\n]+\.$"):
        _read(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"absent\.csv cannot be read \(No such file or directory\)"):
        _read(tmp_path / "absent.csv")


def test_a_row_of_parquet_is_counted_without_a_header(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    frame.loc[4, "V1"] = np.nan
    frame.to_parquet(path)

    with pytest.raises(TrainingError, match="row 5: V1 is empty"):
        _read(path)


def test_a_later_part_without_fraud_is_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.loc[600:, "Class"] = 0
    dataset = _read(_write(frame, tmp_path / "late.csv"))

    with pytest.raises(TrainingError, match=r"later part, .* has legitimate transactions only.*--test-fraction"):
        dataset.split(0.2)


def test_a_feature_that_never_changes_is_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    dataset = _read(_write(frame.assign(V2=1.5), tmp_path / "constant.csv"))

    with pytest.raises(TrainingError, match=r"V2 is 1\.5 in every row.*--drop V2"):
        dataset.split(0.2)


def test_duplicates_equal_another_row_in_every_given_column() -> None:
    def part(features: list[list[float]]) -> Part:
        return Part(np.array(features), np.zeros(len(features), dtype=np.int64), np.zeros(len(features)))

    test = part([[3.0, 4.0], [3.0, 4.0], [3.0, 4.5], [2.0, 1.0]])

    assert test.equal_rows(part([[1.0, 2.0], [3.0, 4.0]]), [0, 1]).tolist() == [True, True, False, False]
