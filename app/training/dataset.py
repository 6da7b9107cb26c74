"""Labelled transactions from a CSV or Parquet file, and their split in time."""

import csv
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.scoring.transaction import RESERVED_NAMES, FeatureMatrix
from app.training.errors import TrainingError

_LEAST_ROWS = 20
_FIRST_LINE = 2  # a person counts the header as line 1

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Transactions in time order: features of shape (n_rows, n_features), labels and times of shape (n_rows,)."""

    features: FeatureMatrix
    labels: Labels
    times: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """All of a file.

    Attributes:
        feature_names: the numeric columns, in the file's order.
        left_out: columns that are no features: identifiers and text.
        everything: its rows, in time order.
        sha256: of the file, so that a figure can be traced to its data.
    """

    feature_names: tuple[str, ...]
    left_out: tuple[str, ...]
    everything: Part
    sha256: str

    def split(self, test_fraction: float) -> tuple[Part, Part]:
        """The earlier part to train on and the later part to measure on; never at random, which would leak the future.

        Raises:
            TrainingError: a part has one class only.
        """
        n_train = round(len(self.everything.labels) * (1 - test_fraction))
        parts = _rows(self.everything, slice(0, n_train)), _rows(self.everything, slice(n_train, None))
        for name, part in zip(("earlier part (training)", "later part (test)"), parts, strict=True):
            _check_classes(part.labels, f"The {name}")
        return parts


def read_dataset(path: Path, label: str, time: str, drop: Sequence[str] = ()) -> Dataset:
    """Read labelled transactions; columns without a single number are left out.

    Raises:
        TrainingError: the file, a column or a value cannot be used.
    """
    table = _read_table(path)
    for column in (label, time, *drop):
        if column not in table.columns:
            raise TrainingError(f"{path} has no column {column}; it has {', '.join(map(str, table.columns))}.")
    if len(table) < _LEAST_ROWS:
        raise TrainingError(f"{path} has {len(table)} rows; at least {_LEAST_ROWS} are needed.")
    numbers: dict[str, npt.NDArray[np.float64]] = {}
    left_out = []
    for column in map(str, table.columns):
        if column in drop:
            continue
        values = _numbers(table[column])
        if (column in RESERVED_NAMES or not np.isfinite(values).any()) and column not in (label, time):
            left_out.append(column)
            continue
        _check_finite(path, column, values)
        numbers[column] = values
    labels = _labels(path, label, numbers.pop(label))
    times = numbers[time]
    order = np.argsort(times, kind="stable")
    everything = Part(np.column_stack(list(numbers.values()))[order], labels[order], times[order])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Dataset(tuple(numbers), tuple(left_out), everything, digest)


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        _check_header(path)
        # As text first, so that a bad value can be found and named.
        return pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except (OSError, EOFError, ValueError, pd.errors.ParserError) as error:
        raise TrainingError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error


def _check_header(path: Path) -> None:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        header = next(csv.reader(file), [])
    if not header:
        raise TrainingError(f"{path} is empty.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise TrainingError(f"{path} has the column {', '.join(twice)} more than once.")


def _numbers(column: "pd.Series[str]") -> npt.NDArray[np.float64]:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _check_finite(path: Path, column: str, values: npt.NDArray[np.float64]) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        line = int(np.argmax(bad)) + _FIRST_LINE
        raise TrainingError(
            f"{path}, row {line} (the header is row 1): {column} is not a finite number, as {int(bad.sum()):,} "
            f"of {len(values):,} values of that column are not."
        )


def _labels(path: Path, label: str, values: npt.NDArray[np.float64]) -> Labels:
    bad = ~np.isin(values, (0.0, 1.0))
    if bad.any():
        line = int(np.argmax(bad)) + _FIRST_LINE
        raise TrainingError(f"{path}, row {line} (the header is row 1): {label} is neither 0 nor 1.")
    labels = values.astype(np.int64)
    _check_classes(labels, str(path))
    return labels


def _check_classes(labels: Labels, where: str) -> None:
    n_fraud = int(labels.sum())
    if n_fraud in (0, len(labels)):
        only = "legitimate" if n_fraud == 0 else "fraudulent"
        raise TrainingError(f"{where} has {only} transactions only; both classes are needed to train and to measure.")


def _rows(part: Part, rows: slice) -> Part:
    return Part(part.features[rows], part.labels[rows], part.times[rows])
