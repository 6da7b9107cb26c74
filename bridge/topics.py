"""The topics: are they there, and may they be made?"""

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_exponential

from bridge.connection import connection_arguments
from bridge.errors import BridgeError, BrokerRefusedError, BrokerUnavailableError, TopicsMissingError
from bridge.settings import Settings

_TOPIC_ALREADY_EXISTS = 36
_METADATA_WAIT_SECONDS = 10.0
_REPLICAS_WANTED = 3
_HEADROOM_BYTES = 65_536
_MAX_BATCH = "max.message.bytes"  # which the broker compares with whole batches

_log = structlog.get_logger(__name__)


async def prepare_topics(settings: Settings, topics: Sequence[str]) -> dict[str, int]:
    """Wait for the broker, check that the topics exist, and make the missing ones if the settings say so.

    Returns:
        The number of partitions of each topic.

    Raises:
        BrokerUnavailableError: no broker answered in the settings' time.
        BrokerRefusedError: a broker answered and refused, for example the password, or to make a topic.
        TopicsMissingError: topics are missing and may not be made.
    """
    admin = await _open_admin(connection_arguments(settings), settings.broker_timeout_seconds)
    try:
        partitions = await _partitions(admin, topics)
        missing = [topic for topic in topics if topic not in partitions]
        if missing and not settings.create_topics:
            raise TopicsMissingError(
                f"The broker has no topic {', '.join(missing)}; make it, or set BRIDGE_CREATE_TOPICS=true."
            )
        if not missing:
            return partitions
        await _create(admin, missing, settings)
        return await _wait_for(admin, topics)
    except (KafkaError, OSError) as error:
        raise BrokerRefusedError(
            f"The Kafka broker at {settings.bootstrap_servers} did not answer about its topics "
            f"({type(error).__name__}: {error})."
        ) from error
    finally:
        await admin.close()


async def largest_batch_bytes(settings: Settings, topics: Sequence[str]) -> dict[str, int]:
    """The size of the largest batch that each topic takes, as far as the broker tells.

    It may not let this user ask, or not know the question; its word on each batch stands then.

    Raises:
        BrokerUnavailableError: no broker answered in the settings' time.
        BrokerRefusedError: a broker answered and refused the connection.
    """
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, {_MAX_BATCH: None}) for topic in topics]
    admin = await _open_admin(connection_arguments(settings), settings.broker_timeout_seconds)
    try:
        answers = await admin.describe_configs(resources)
    except (KafkaError, OSError) as error:
        _log.info("the broker does not tell how large its batches may be", reason=type(error).__name__)
        return {}
    finally:
        await admin.close()
    found: dict[str, int] = {}
    for code, _, _, topic, entries in [resource for answer in answers for resource in answer.resources]:
        if code != 0:
            _log.info("the broker does not tell how large a batch may be", topic=topic, reason=for_code(code).__name__)
        found.update((topic, int(value)) for name, value, *_ in entries if name == _MAX_BATCH)
    return found


async def _open_admin(connection: Mapping[str, Any], timeout_seconds: float) -> AIOKafkaAdminClient:
    servers = connection["bootstrap_servers"]

    def tell(state: RetryCallState) -> None:
        _log.warning("no broker answers yet", bootstrap_servers=servers, attempt=state.attempt_number)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type((KafkaConnectionError, OSError)),
        stop=stop_after_delay(timeout_seconds),
        wait=wait_exponential(multiplier=0.25, max=5),
        before_sleep=tell,
        reraise=True,
    )
    try:
        return await retrying(_connected_admin, connection)
    except BridgeError:  # which an error of aiokafka's may be too
        raise
    except (KafkaConnectionError, OSError) as error:
        raise BrokerUnavailableError(
            f"No Kafka broker answered at {servers} within {timeout_seconds:g} s; "
            "start it, or set BRIDGE_BOOTSTRAP_SERVERS to where it is."
        ) from error
    except KafkaError as error:
        raise BrokerRefusedError(f"The Kafka broker at {servers} refused the connection: {error}.") from error


async def _refusal(connection: Mapping[str, Any]) -> Exception | None:
    """Why a broker that answers does not let this client in, or None.

    The clients of aiokafka only tell that no broker could be used, be it down or be the password wrong.
    """
    arguments = {name: value for name, value in connection.items() if name != "bootstrap_servers"}
    for host, port, _ in collect_hosts(connection["bootstrap_servers"]):
        try:
            answering = await create_conn(host, port, **arguments)
        except KafkaConnectionError:
            continue
        except (KafkaError, ssl.SSLError) as error:
            return error
        except (OSError, TimeoutError):
            continue
        answering.close()
    return None


async def _connected_admin(connection: Mapping[str, Any]) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(**connection)
    try:
        await admin.start()
    except KafkaConnectionError:
        await admin.close()
        refusal = await _refusal(connection)
        if refusal is None:
            raise
        if isinstance(refusal, BridgeError):
            raise refusal from None
        raise BrokerRefusedError(
            f"The Kafka broker at {connection['bootstrap_servers']} refused the connection: {_sentence(refusal)}."
        ) from refusal
    except BaseException:
        await admin.close()
        raise
    return admin


def _sentence(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted, {error.verify_message}"
    return str(error).strip().rstrip(".") or type(error).__name__


async def _partitions(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    # All topics are listed first, because some brokers make a topic when somebody asks about it by its name.
    there = sorted(set(topics) & set(await admin.list_topics()))
    described = await admin.describe_topics(there) if there else []
    return {topic["topic"]: len(topic["partitions"]) for topic in described if topic["partitions"]}


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[str], settings: Settings) -> None:
    brokers = (await admin.describe_cluster())["brokers"]
    replication_factor = settings.topic_replication_factor or min(_REPLICAS_WANTED, len(brokers))
    response = await admin.create_topics(
        [
            NewTopic(
                topic,
                num_partitions=settings.topic_partitions,
                replication_factor=replication_factor,
                # A dead letter is the original record and its headers: it must not be too large for its topic.
                topic_configs={_MAX_BATCH: str(1_048_588 + _HEADROOM_BYTES)},
            )
            for topic in topics
        ]
    )
    for topic, code, *message in response.topic_errors:
        if code not in (0, _TOPIC_ALREADY_EXISTS):
            why = next((text for text in message if text), None) or for_code(code).__name__
            raise BrokerRefusedError(f"The broker would not make the topic {topic}: {why}.")
        _log.info("topic made", topic=topic, partitions=settings.topic_partitions)


async def _wait_for(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    deadline = time.monotonic() + _METADATA_WAIT_SECONDS
    while True:
        partitions = await _partitions(admin, topics)
        missing = [topic for topic in topics if topic not in partitions]
        if not missing:
            return partitions
        if time.monotonic() > deadline:
            raise BrokerRefusedError(f"The broker made the topic {', '.join(missing)} but does not show it.")
        await asyncio.sleep(0.1)
