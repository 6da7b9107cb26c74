"""Records in, answers out: whole polls are decoded, scored and encoded. It knows neither the broker nor its topics."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from app import __version__
from app.scoring.prediction import Method
from app.scoring.transaction import Transaction
from bridge.codec import Codec, DeadLetter, Headers, Record, encode_dead_letter_headers

if TYPE_CHECKING:
    from app.scoring.scorer import Scorer  # with all of scikit-learn, which the bridge's own process does without


class Taken(msgspec.Struct, gc=False):
    """What is needed of a record to answer it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()


class Kind(StrEnum):
    """What is published beside predictions."""

    ALERT = "alert"
    DEAD_LETTER = "dead_letter"
    PROCESSED = "processed"


class Extra(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is published of a record beside, or in place of, its prediction.

    Attributes:
        kind: what it is.
        index: of the record in its poll.
        value: None: the record's own.
        headers: what follows the record's own.
    """

    kind: Kind
    index: int
    value: bytes | None
    headers: list[tuple[str, bytes]] = []


class Answer(msgspec.Struct, array_like=True, gc=False):
    """What a poll gives, and what there was to count.

    Attributes:
        predictions: one for each record, in their order; None: it is a dead letter.
        extras: what else is published, in the order of the records.
        received_at_seconds: of the transactions that say it.
        fraud_probabilities: of the transactions that were scored.
        dead_letters: how many, by reason.
        first_dead_letters: where the first of each reason stood.
        methods: how many transactions were answered in which way.
        decode_seconds: what the step took of the clock.
        score_seconds: the same.
        encode_seconds: the same.
    """

    predictions: list[bytes | None]
    extras: list[Extra] = []
    received_at_seconds: list[float] = []
    fraud_probabilities: list[float] = []
    dead_letters: dict[str, int] = {}
    first_dead_letters: dict[str, str] = {}
    methods: dict[Method, int] = {}
    decode_seconds: float = 0.0
    score_seconds: float = 0.0
    encode_seconds: float = 0.0

    @property
    def alerts(self) -> list[bytes]:
        return [extra.value for extra in self.extras if extra.kind is Kind.ALERT and extra.value is not None]

    def output_indices(self) -> list[int]:
        """The records that predictions and then extras are of."""
        scored = [index for index, prediction in enumerate(self.predictions) if prediction is not None]
        return scored + [extra.index for extra in self.extras]

    def bury(self, index: int, record: Record, letter: DeadLetter, now: datetime) -> None:
        """Have a record published as a dead letter, of which nothing else is published."""
        headers = list(encode_dead_letter_headers(record, letter, now, __version__))
        self.extras.append(Extra(Kind.DEAD_LETTER, index, None, headers))
        self.dead_letters[letter.reason] = self.dead_letters.get(letter.reason, 0) + 1
        place = f"{record.topic}[{record.partition}] {record.offset}"
        self.first_dead_letters.setdefault(letter.reason, place)

    def withdraw(self, index: int) -> None:
        """Have nothing published of a record that was scored."""
        n_before = sum(prediction is not None for prediction in self.predictions[:index])
        del self.fraud_probabilities[n_before]
        self.predictions[index] = None
        self.extras = [extra for extra in self.extras if extra.index != index]


class Answerer:
    """Decodes, scores and encodes whole polls; with the features as the model sees them, if they are wanted."""

    def __init__(self, codec: Codec, scorer: "Scorer", *, with_processed: bool) -> None:
        self._codec = codec
        self._scorer = scorer
        self._with_processed = with_processed

    def answer(self, records: Sequence[Taken]) -> Answer:
        answer = Answer(predictions=[None] * len(records))
        readable: list[tuple[int, Taken, Transaction]] = []
        now = datetime.now(UTC)
        started = time.perf_counter()
        for index, record in enumerate(records):
            decoded = self._codec.decode(record)
            if isinstance(decoded, DeadLetter):
                answer.bury(index, record, decoded, now)
            else:
                readable.append((index, record, decoded))
        answer.decode_seconds = time.perf_counter() - started
        self._score(readable, answer)
        return answer

    def _score(self, readable: Sequence[tuple[int, Taken, Transaction]], answer: Answer) -> None:
        started = time.perf_counter()
        transactions = [transaction for _, _, transaction in readable]
        predictions, alerts = self._scorer.score_with_alerts(transactions)
        answer.methods = dict(Counter([prediction.method for prediction in predictions]))
        answer.fraud_probabilities = [prediction.fraud_probability for prediction in predictions]
        scored = time.perf_counter()
        scored_at = datetime.now(UTC)
        for (index, record, transaction), prediction, alert in zip(readable, predictions, alerts, strict=True):
            answer.predictions[index] = self._codec.encode_prediction(record, transaction, prediction, scored_at)
            if alert is not None:
                value = self._codec.encode_alert(record, transaction, alert, scored_at)
                answer.extras.append(Extra(Kind.ALERT, index, value))
            if transaction.timestamp_received is not None:
                answer.received_at_seconds.append(transaction.timestamp_received.timestamp())
        if self._with_processed:
            self._encode_scaled([index for index, _, _ in readable], transactions, answer)
        answer.score_seconds, answer.encode_seconds = scored - started, time.perf_counter() - scored

    def _encode_scaled(self, indices: Sequence[int], transactions: Sequence[Transaction], answer: Answer) -> None:
        rows = self._scorer.scaled_features(transactions)
        version = self._scorer.manifest.model_version
        for index, transaction, scaled in zip(indices, transactions, rows, strict=True):
            value = self._codec.encode_processed(transaction, version, scaled)
            answer.extras.append(Extra(Kind.PROCESSED, index, value))
