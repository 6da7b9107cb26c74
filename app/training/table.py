"""A CSV or Parquet file as columns of numbers; what is no number is named by file, row and column."""

import csv
import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.training.errors import TrainingError

_SHOWN_CHARACTERS = 20  # of a value that is no number
_TOO_MANY_VALUES = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The rows of a file, in its order.

    Attributes:
        path: the file.
        frame: text as it stands in the file for a CSV, typed columns for Parquet.
        first_row: what people call the first row of data: 2 in a CSV, whose header is row 1, and 1 in Parquet.
        sha256: of the file, so that a figure can be traced to its data.
    """

    path: Path
    frame: pd.DataFrame
    first_row: int
    sha256: str

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.frame.columns)

    def __len__(self) -> int:
        return len(self.frame)

    def row(self, index: int) -> str:
        """How a person finds the row at an index."""
        return f"row {index + self.first_row}" + (" (the header is row 1)" if self.first_row > 1 else "")

    def demand(self, *columns: str) -> None:
        """Raise where a column is not there."""
        for column in columns:
            if column not in self.frame.columns:
                for separator in (";", "\t", "|"):
                    if len(self.columns) == 1 and separator in self.columns[0]:
                        raise TrainingError(
                            f"{self.path}, row 1: the columns are separated by {separator!r}; save the file again with "
                            "commas between them."
                        )
                raise TrainingError(
                    f"{self.path} has no column {column}; it has {', '.join(self.columns)}: name the columns that you "
                    "have, or add it."
                )

    def is_numeric(self, column: str) -> bool:
        """Whether a column holds a number anywhere; text and dates do not."""
        return bool(np.isfinite(self._read(column)).any())

    def is_empty(self, column: str) -> bool:
        values = self.frame[column]
        return bool((values.isna() | (values.astype(str).str.strip() == "")).all())

    def numbers(self, column: str, way_out: str) -> Numbers:
        """A column of finite numbers, of shape (n_rows,).

        Raises:
            TrainingError: a value is missing, text or not finite; the message ends with the way out.
        """
        values = self._read(column)
        bad = ~np.isfinite(values)
        if bad.any():
            raise TrainingError(
                f"{self.path}, {self.row(int(np.argmax(bad)))}: {column} is {self._shown(column, bad)}, not a finite "
                f"number, as {int(bad.sum()):,} of {len(values):,} values of that column are; {way_out}."
            )
        return values

    def times(self, column: str) -> Numbers:
        """Seconds of a column of numbers, or of dates such as 2026-01-31T12:00:00, of shape (n_rows,)."""
        if self.is_numeric(column):
            return self.numbers(column, "correct or remove the row")
        dates = pd.to_datetime(self.frame[column], errors="coerce", utc=True, format="ISO8601")
        bad = dates.isna().to_numpy()
        if bad.any():
            raise TrainingError(
                f"{self.path}, {self.row(int(np.argmax(bad)))}: {column} is {self._shown(column, bad)}, neither a "
                "number nor a date such as 2026-01-31T12:00:00; correct the row, or name another column with --time."
            )
        return np.asarray((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=np.float64)

    def groups(self, column: str) -> npt.NDArray[np.int64] | None:
        """A number for each different value of a column, of shape (n_rows,); None without that column."""
        if column not in self.frame.columns:
            return None
        return np.asarray(pd.factorize(self.frame[column])[0], dtype=np.int64)

    def _read(self, column: str) -> Numbers:
        values = self.frame[column]
        if pd.api.types.is_datetime64_any_dtype(values) or isinstance(values.dtype, pd.CategoricalDtype):
            return np.full(len(values), np.nan)
        return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)

    def _shown(self, column: str, bad: npt.NDArray[np.bool_]) -> str:
        value = self.frame[column].iloc[int(np.argmax(bad))]
        text = "" if pd.isna(value) else str(value).strip()
        if not text:
            return "empty"
        return f"'{text[:_SHOWN_CHARACTERS]}{'…' if len(text) > _SHOWN_CHARACTERS else ''}'"


def read_table(path: Path) -> Table:
    """Read .csv, .csv.gz or .parquet.

    Raises:
        TrainingError: there is no such file, it is damaged or empty, or it names a column twice.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix == ".parquet":
            frame, first_row = pd.read_parquet(path), 1
            frame.columns = frame.columns.map(str)
        else:
            frame, first_row = _read_csv(path), 2
    except (OSError, EOFError, ValueError, csv.Error, pd.errors.ParserError) as error:
        raise TrainingError(_unreadable(path, error)) from error
    if frame.empty:
        raise TrainingError(f"{path} has a header and no rows; it needs labelled transactions below it.")
    return Table(path, frame, first_row, digest)


def _read_csv(path: Path) -> pd.DataFrame:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        header = next(csv.reader(file), [])
    if not header:
        raise TrainingError(f"{path} is empty; it needs a header with the names of the columns, and rows below it.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise TrainingError(f"{path}, row 1: the header has {', '.join(twice)} more than once; rename one of them.")
    # As text first, so that a bad value can be found and named; with blank lines, so that rows can be counted.
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False)
    n_rows = len(frame)
    while n_rows and not any(frame.iloc[n_rows - 1]):  # blank lines at the end mean nothing
        n_rows -= 1
    return frame.iloc[:n_rows]


def _unreadable(path: Path, error: Exception) -> str:
    found = _TOO_MANY_VALUES.search(str(error))
    if found:
        expected, row, seen = found.groups()
        return f"{path}, row {row} (the header is row 1): it has {seen} values for {expected} columns; correct the row."
    if isinstance(error, UnicodeDecodeError):
        return f"{path}, row {_row_without_text(path)}: it is no text in UTF-8; save the file again in that encoding."
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
    return f"{path} cannot be read ({reason.rstrip('.')}); give a .csv, .csv.gz or .parquet file."


def _row_without_text(path: Path) -> int:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return content.count(b"\n", 0, error.start) + 1
    return 1
