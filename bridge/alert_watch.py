"""How the alert consumer is: what waits, whether the broker answers, whether the webhook takes what is posted."""

import time
from contextlib import AbstractAsyncContextManager

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from bridge.alert_metrics import AlertMetrics
from bridge.broker_watch import BrokerWatch
from bridge.health import Check, Health
from bridge.webhook import Webhook

_SILENT_BROKER_SECONDS = 15.0


class AlertWatch(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Told of what happens, asked how it is; readiness may be asked for from any thread.

    Attributes:
        metrics: of the alert consumer.
        webhook: where alerts are posted to, if anywhere.
        in_hand: the alert that is being logged, posted and committed.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, probe: AIOKafkaConsumer, metrics: AlertMetrics, webhook: Webhook | None
    ) -> None:
        self.metrics = metrics
        self.webhook = webhook
        self.in_hand: ConsumerRecord | None = None
        self._consumer = consumer
        self._probe = probe
        self._partitions: frozenset[TopicPartition] | None = None
        self._broker = BrokerWatch()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - all are
        self._partitions = None

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._partitions = frozenset(assigned)

    def readiness(self) -> Health:
        """Whether alerts get through."""
        partitions, complaint = self._partitions, self.webhook.complaint if self.webhook else None
        silent = self._broker.silent_seconds > _SILENT_BROKER_SECONDS
        broker = Check("broker", not silent, "the broker does not answer" if silent else "the broker answers")
        if partitions is None:
            return Health([broker, Check("group", is_good=False, reason="has not joined the consumer group yet")])
        owned = f"owns {len(partitions)} partitions" if partitions else "stands by: others own every partition"
        problem = f"the webhook does not take alerts: {complaint}" if complaint else "what comes is passed on"
        return Health([broker, Check("group", is_good=True, reason=owned), Check("webhook", not complaint, problem)])

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Watch what waits, while the context lasts."""
        return self._broker.looking(self._look)

    async def _look(self) -> None:
        partitions = sorted(self._partitions or ())
        # Positions first: what comes in between is lag, and never the other way round.
        positions = {partition: await self._consumer.position(partition) for partition in partitions}
        in_hand = self.in_hand
        if in_hand is not None:
            where = TopicPartition(in_hand.topic, in_hand.partition)
            if where in positions:
                positions[where] = in_hand.offset
        ends = await self._probe.end_offsets(partitions) if partitions else {}
        if not partitions:
            await self._probe.topics()  # whether the broker answers is asked even so
        self.metrics.lag_records.values = {
            partition: max(0, ends[partition] - position) for partition, position in positions.items()
        }
        now = time.time()
        self.metrics.lag_seconds.values = {
            partition: max(0.0, now - in_hand.timestamp / 1000)
            if in_hand is not None and (in_hand.topic, in_hand.partition) == partition
            else 0.0
            for partition in partitions
        }
