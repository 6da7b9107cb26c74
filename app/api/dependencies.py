"""What the routes ask for: the scorer that the lifespan loaded, at once or in a thread."""

import asyncio
import concurrent.futures
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypedDict, cast

import anyio
from fastapi import Depends, Request

from app.api.errors import NotReadyError
from app.metrics import Metrics
from app.scoring.prediction import Evidence, Prediction
from app.scoring.scorer import Scorer
from app.scoring.transaction import Transaction

_WAIT_FOR_SEARCH_SECONDS = 0.003  # twice what a search among 50,000 rows takes on an idle machine
_WAIT_FOR_BATCH_SECONDS = 0.0001

_Search = concurrent.futures.Future[list[Prediction]]


@dataclass
class ScoringService:
    """Scores at once what takes no search, and the rest in few threads, so that others are answered meanwhile.

    Attributes:
        scorer: answers.
        metrics: count it.
        limiter: of the threads for batches and evidence.
        searcher: one thread, for the searches of single transactions.
        registered_as: the name of the model in a registry, if it came from one.
        is_stopping: whether the service ends.
    """

    scorer: Scorer
    metrics: Metrics
    limiter: anyio.CapacityLimiter
    searcher: concurrent.futures.ThreadPoolExecutor
    registered_as: str | None = None
    is_stopping: bool = False
    _last_search: _Search | None = field(default=None, init=False)

    async def score_one(self, transaction: Transaction) -> Prediction:
        """The prediction of one transaction.

        Almost every transaction is certified, in some 45 us; a thread would cost it 100 us and more, waiting for the
        interpreter not included. The others need a search, or the evaluation of a model that certifies nothing, which
        can take milliseconds, and go to a thread.
        """
        with self.metrics.score_seconds.time():
            prediction = self.scorer.score_if_certified(transaction)
            if prediction is None:
                prediction = await self._searched(transaction)
            else:
                self._let_threads_on()
        self.metrics.count([prediction])
        return prediction

    async def _searched(self, transaction: Transaction) -> Prediction:
        is_next = self._last_search is None or self._last_search.done()
        search = self._last_search = self.searcher.submit(self.scorer.score, [transaction])
        if is_next:  # otherwise it cannot be over in a moment, and those behind this one would wait for nothing
            self._let_threads_on()
        (prediction,) = search.result() if search.done() else await asyncio.wrap_future(search)
        return prediction

    def _let_threads_on(self) -> None:
        """Give the interpreter away for a while, where a thread wants it.

        An event loop that always has the next request to answer gives it away only when it is asked to, after 5 ms, and
        a search needs it dozens of times: one of 1 ms took 15 to 40. So the loop waits for it, as long as most take;
        what takes longer gets its turn again after the next answer. The thread is there to make that wait end.
        """
        search = self._last_search
        if search is not None and not search.done():
            concurrent.futures.wait([search], _WAIT_FOR_SEARCH_SECONDS)
        elif self.limiter.borrowed_tokens:
            time.sleep(_WAIT_FOR_BATCH_SECONDS)

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
