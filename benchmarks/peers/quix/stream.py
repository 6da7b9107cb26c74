"""Quix Streams with exactly-once delivery and otherwise as it comes; a stream of it handles one message at a time.

`python -m benchmarks.peers.quix.stream BOOTSTRAP INPUT OUTPUT GROUP ARRAYS FEATURE_NAMES`
"""

import sys
import tempfile
from typing import Any

from quixstreams import Application

from benchmarks.peers.scorer import PeerScorer


def run(bootstrap: str, source: str, target: str, group: str, scorer: PeerScorer) -> None:
    with tempfile.TemporaryDirectory() as state:
        app = Application(
            broker_address=bootstrap,
            consumer_group=group,
            auto_offset_reset="earliest",
            processing_guarantee="exactly-once",
            auto_create_topics=False,
            state_dir=state,
            loglevel="WARNING",
        )

        def score(transaction: dict[str, Any]) -> dict[str, Any]:
            (answer,) = scorer([transaction])
            return answer

        transactions = app.topic(source, value_deserializer="json")
        predictions = app.topic(target, value_serializer="json")
        app.dataframe(transactions).apply(score).to_topic(predictions)
        app.run()


if __name__ == "__main__":
    bootstrap, source, target, group, arrays, names = sys.argv[1:7]
    run(bootstrap, source, target, group, PeerScorer(arrays, names))
