"""What the routes ask for: the scorer that the lifespan loaded, in a thread of its own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict, cast

import anyio
from fastapi import Depends, Request

from app.api.errors import NotReadyError
from app.metrics import Metrics
from app.scoring.prediction import Evidence, Prediction
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction

_A_MOMENT_SECONDS = 0.0001


@dataclass
class ScoringService:
    """Scores in threads, so that the event loop answers others meanwhile; a limit keeps requests from piling up."""

    scorer: Scorer
    metrics: Metrics
    limiter: anyio.CapacityLimiter
    registered_as: str | None = None
    is_stopping: bool = False

    async def score_one(self, transaction: Transaction) -> Prediction:
        """The prediction of one transaction.

        Almost every transaction is certified, in some 45 us; a thread would cost it 100 us and more, waiting for the
        interpreter not included. The others need a search, or the evaluation of a model that certifies nothing, which
        can take milliseconds, and go to a thread.
        """
        with self.metrics.score_seconds.time():
            prediction = self.scorer.score_if_certified(transaction)
            if prediction is not None:
                self._let_searches_on()
            else:
                (prediction,) = await anyio.to_thread.run_sync(self.scorer.score, [transaction], limiter=self.limiter)
        self.metrics.count([prediction])
        return prediction

    def _let_searches_on(self) -> None:
        # An event loop that always has the next request to answer gives the interpreter away only when it is asked to,
        # for a moment, every 5 ms, and a search takes it dozens of times. So it waits a little while one is on its way.
        if self.limiter.borrowed_tokens:
            time.sleep(_A_MOMENT_SECONDS)

    async def score(self, transactions: Sequence[Transaction]) -> list[Prediction]:
        """Predictions in the order of the transactions."""
        with self.metrics.score_seconds.time():
            predictions = await anyio.to_thread.run_sync(self.scorer.score, transactions, limiter=self.limiter)
        self.metrics.count(predictions)
        return predictions

    async def evidence(self, transaction: Transaction) -> Evidence:
        """Why a transaction has its probability."""
        (evidence,) = await anyio.to_thread.run_sync(self.scorer.evidence, [transaction], limiter=self.limiter)
        return evidence


class LifespanState(TypedDict):
    """What the lifespan gives to every request."""

    scoring: ScoringService


def scoring_service(request: Request) -> ScoringService:
    """What answers this request.

    Raises:
        NotReadyError: the model is not loaded yet, or the service is stopping.
    """
    scoring = cast("ScoringService | None", getattr(request.state, "scoring", None))
    if scoring is None:
        raise NotReadyError("The model is not loaded yet.")
    if scoring.is_stopping:
        raise NotReadyError("The service is stopping.")
    return scoring


async def _scoring_service(request: Request) -> ScoringService:
    # Asynchronous, because a dependency that is not runs in a thread, which costs more than all the rest of a request.
    return scoring_service(request)


Scoring = Annotated[ScoringService, Depends(_scoring_service)]
