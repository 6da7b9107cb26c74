"""Labelled transactions in time order, and their split in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.scoring.transaction import RESERVED_NAMES, FeatureMatrix
from app.training.errors import TrainingError, counted
from app.training.table import Numbers, Table, read_table

CARD_COLUMN = "card_id"
UNREAD_COLUMNS = RESERVED_NAMES | {"scenario"}  # `synthesize` says there how it made a fraud

_LEAST_ROWS = 20
_LEAVE_COLUMN_OUT = "correct the value, or leave the column out with --drop {column}"
_LEAVE_ROW_OUT = "the model needs it, so correct the value, or leave the row out"

Labels = npt.NDArray[np.int64]
Rows = slice | npt.NDArray[np.intp] | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """Transactions in time order.

    Attributes:
        features: of shape (n_rows, n_features).
        labels: 1 for fraud, of shape (n_rows,).
        times: in seconds, of shape (n_rows,).
        cards: a number for each card, of shape (n_rows,); None where the file has no column card_id.
    """

    features: FeatureMatrix
    labels: Labels
    times: Numbers
    cards: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_frauds(self) -> int:
        return int(self.labels.sum())

    def take(self, rows: Rows) -> "Part":
        cards = None if self.cards is None else self.cards[rows]
        return Part(self.features[rows], self.labels[rows], self.times[rows], cards)

    def equal_rows(self, others: "Part", columns: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Which of these rows equal one of the others in the given columns: they flatter a nearest-neighbour model."""
        known = {row.tobytes() for row in np.ascontiguousarray(others.features[:, columns])}
        rows = np.ascontiguousarray(self.features[:, columns])
        return np.fromiter((row.tobytes() in known for row in rows), dtype=np.bool_, count=len(rows))


@dataclass(frozen=True)
class Dataset:
    """All of a file.

    Attributes:
        path: the file.
        feature_names: the numeric columns, in the file's order.
        left_out: columns that are no features: identifiers and text.
        everything: its rows, in time order.
        sha256: of the file.
    """

    path: Path
    feature_names: tuple[str, ...]
    left_out: tuple[str, ...]
    everything: Part
    sha256: str

    def split(self, test_fraction: float) -> tuple[Part, Part]:
        """The earlier part to train on and the later part to measure on; never at random, which would leak the future.

        Raises:
            TrainingError: a part has one class only, or a feature does not change in the earlier part.
        """
        n_train = round(len(self.everything) * (1 - test_fraction))
        train, test = self.everything.take(slice(0, n_train)), self.everything.take(slice(n_train, None))
        for name, part in (("earlier part, which is trained on,", train), ("later part, which is measured on,", test)):
            if part.n_frauds in (0, len(part)):
                raise TrainingError(
                    f"{self.path}: the {name} has {_only(part.labels)} transactions only; both classes are needed in "
                    "both parts: choose another --test-fraction, or give more transactions."
                )
        for column, values in zip(self.feature_names, train.features.T, strict=True):
            if np.ptp(values) == 0:
                raise TrainingError(
                    f"{self.path}: {column} is {values[0]:g} in every row of the earlier part, so nothing can be "
                    f"learned from it; leave it out with --drop {column}."
                )
        return train, test


def read_dataset(path: Path, label: str, time: str, drop: Sequence[str] = (), *, sort: bool = False) -> Dataset:
    """Read labelled transactions; every numeric column is a feature, text and identifiers are left out.

    Args:
        path: a CSV or Parquet file.
        label: the column that is 1 for fraud and 0 otherwise.
        time: the column that orders the rows; a feature where it is numeric.
        drop: columns that are no features.
        sort: accept rows that are out of order, and order them.

    Raises:
        TrainingError: the file, a column or a value cannot be used.
    """
    table = read_table(path)
    table.demand(label, time, *drop)
    if len(table) < _LEAST_ROWS:
        raise TrainingError(
            f"{path} has {counted(len(table), 'row')}; at least {_LEAST_ROWS} are needed to "
            "train and to measure: give more transactions."
        )
    names, left_out = _choose_features(table, label, drop)
    labels = read_labels(table, label)
    part = _ordered(table, _features(table, names, _LEAVE_COLUMN_OUT), labels, time, sort=sort)
    return Dataset(path, names, left_out, part, table.sha256)


def read_part(path: Path, feature_names: Sequence[str], label: str, time: str, *, sort: bool = False) -> Part:
    """Read the given features of labelled transactions, for a model that is trained already.

    Raises:
        TrainingError: the file, a column or a value cannot be used.
    """
    table = read_table(path)
    table.demand(label, time, *feature_names)
    labels = read_labels(table, label)
    return _ordered(table, _features(table, feature_names, _LEAVE_ROW_OUT), labels, time, sort=sort)


def read_features(path: Path, feature_names: Sequence[str]) -> FeatureMatrix:
    """Read features alone, in the file's order, of shape (n_rows, n_features).

    Raises:
        TrainingError: the file, a column or a value cannot be used.
    """
    table = read_table(path)
    table.demand(*feature_names)
    return _features(table, feature_names, _LEAVE_ROW_OUT)


def read_labels(table: Table, label: str) -> Labels:
    values = table.numbers(label, "write 1 for fraud and 0 otherwise, or name another column with --label")
    bad = ~np.isin(values, (0.0, 1.0))
    if bad.any():
        first = int(np.argmax(bad))
        raise TrainingError(
            f"{table.path}, {table.row(first)}: {label} is {values[first]:g}, neither 0 nor 1; write 1 for fraud and 0 "
            "otherwise, or name another column with --label."
        )
    labels = values.astype(np.int64)
    if labels.sum() in (0, len(labels)):
        raise TrainingError(
            f"{table.path} has {_only(labels)} transactions only in {label}; both classes are needed: give a file with "
            "fraud and legitimate transactions, or name another column with --label."
        )
    return labels


def _choose_features(table: Table, label: str, drop: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names, left_out = [], []
    for column in table.columns:
        if column == label or column in drop:
            continue
        if column in UNREAD_COLUMNS or not table.is_numeric(column):
            if column not in UNREAD_COLUMNS and table.is_empty(column):
                raise TrainingError(
                    f"{table.path}: {column} has no value in any row; leave it out with --drop {column}."
                )
            left_out.append(column)
        else:
            names.append(column)
    if not names:
        raise TrainingError(f"{table.path} has no column of numbers beside {label}; a model needs at least one.")
    return tuple(names), tuple(left_out)


def _ordered(table: Table, features: FeatureMatrix, labels: Labels, time: str, *, sort: bool) -> Part:
    times = table.times(time)
    backwards = np.diff(times) < 0
    if backwards.any() and not sort:
        raise TrainingError(
            f"{table.path}, {table.row(int(np.argmax(backwards)) + 1)}: {time} is earlier than in the row before; "
            "a model is measured on later transactions, so order the file by time, or pass --sort."
        )
    order = np.argsort(times, kind="stable")
    return Part(features, labels, times, table.groups(CARD_COLUMN)).take(order)


def _features(table: Table, names: Sequence[str], way_out: str) -> FeatureMatrix:
    return np.column_stack([table.numbers(name, way_out.format(column=name)) for name in names])


def _only(labels: Labels) -> str:
    return "fraudulent" if labels.any() else "legitimate"
