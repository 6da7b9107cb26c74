"""What can go wrong with the data of a training."""


class TrainingError(Exception):
    """The data cannot be used; its message is one sentence that names file, row and column, and the way out."""
