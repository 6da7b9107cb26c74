"""Our scorer as a scoring process: `python -m benchmarks.ours ARTIFACT ARRAYS`.

What is timed is `Scorer.score`, that both processes of the product ask, with the feature matrix and the predictions it
makes; the peers are timed on a matrix that is there, which favours them.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.scoring.artifact import load_artifact
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction
from benchmarks.peers.answering import answer
from benchmarks.peers.model import linear_algebra


def transactions(rows: npt.NDArray[np.float64]) -> list[Transaction]:
    return [Transaction(str(number), tuple(row)) for number, row in enumerate(rows.tolist())]


def main(artifact: Path, arrays: Path) -> None:
    started = time.perf_counter()
    scorer = Scorer(load_artifact(artifact))
    load_seconds = time.perf_counter() - started

    def score(batch: list[Transaction]) -> Any:
        return np.array([prediction.fraud_probability for prediction in scorer.score(batch)])

    score(transactions(np.zeros((1, len(scorer.manifest.feature_names)))))
    facts = {"linear_algebra": linear_algebra(), "load_seconds": round(load_seconds, 2)}
    answer(arrays, score, facts, transactions)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
