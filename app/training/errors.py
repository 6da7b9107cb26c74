"""What can go wrong with the data of a training."""


class TrainingError(Exception):
    """The data cannot be used; its message is one sentence that names file, row and column, and the way out."""


def counted(number: int, noun: str) -> str:
    """1 row, 2 rows."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
