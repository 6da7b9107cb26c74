"""How a process reaches the broker: addresses, TLS and SASL, and the clients that are made with them."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError, KafkaError

from bridge.errors import BrokerRefusedError, BrokerUnavailableError, SettingsError
from bridge.settings import Settings

MAX_BATCH_BYTES = 900_000  # below the million that a broker takes in one batch unless told otherwise
_STOP_SECONDS = 5.0
# A broker answers the end of a transaction before it has written that down everywhere, and refuses the next one of the
# same producer until then, which is a few milliseconds; aiokafka's own 100 would be the longest part of a delivery.
_TRANSACTION_RETRY_MS = 3
_RENEW_BEFORE_SECONDS = 30.0


def connection_arguments(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for an aiokafka consumer, producer or admin client.

    Raises:
        SettingsError: a certificate or key file cannot be used.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        arguments |= _sasl_arguments(settings)
    return arguments


@contextlib.asynccontextmanager
async def producing(settings: Settings, max_batch_bytes: int = MAX_BATCH_BYTES) -> AsyncIterator[AIOKafkaProducer]:
    """While the context lasts, a producer that waits for all replicas.

    Raises:
        BrokerUnavailableError: no broker answered, or it never gave an idempotent producer its id.
        BrokerRefusedError: the broker refused.
    """
    producer = AIOKafkaProducer(
        **_producer_arguments(settings, max_batch_bytes), enable_idempotence=settings.producer_idempotence
    )
    try:
        await _start(producer, settings.broker_timeout_seconds)
        yield producer
    finally:
        # With the broker gone, a producer would wait for its unconfirmed batches for ever; they were not committed.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(producer.stop(), _STOP_SECONDS)


def transactional_producer(
    settings: Settings, transactional_id: str, max_batch_bytes: int = MAX_BATCH_BYTES
) -> AIOKafkaProducer:
    """A producer whose records are read only once its transaction is committed; it has to be started."""
    return AIOKafkaProducer(
        **_producer_arguments(settings, max_batch_bytes),
        transactional_id=transactional_id,
        transaction_timeout_ms=round(1000 * settings.transaction_timeout_seconds),
        retry_backoff_ms=_TRANSACTION_RETRY_MS,
    )


def _producer_arguments(settings: Settings, max_batch_bytes: int) -> dict[str, Any]:
    return connection_arguments(settings) | {
        "acks": "all",
        "compression_type": None if settings.compression == "none" else settings.compression,
        "max_batch_size": max_batch_bytes,
        "max_request_size": 2 * MAX_BATCH_BYTES,
    }


async def _start(producer: AIOKafkaProducer, timeout_seconds: float) -> None:
    try:
        await asyncio.wait_for(producer.start(), timeout_seconds)
    except (TimeoutError, OSError) as error:
        raise BrokerUnavailableError(
            f"The broker gave the producer no answer within {timeout_seconds:g} s; if it knows no idempotent producers "
            "(the embedded broker does not), set BRIDGE_PRODUCER_IDEMPOTENCE=false."
        ) from error
    except KafkaError as error:
        raise BrokerRefusedError(f"The broker refused the producer: {error}.") from error


@contextlib.asynccontextmanager
async def consuming(
    settings: Settings, group_id: str, group_instance_id: str | None = None
) -> AsyncIterator[AIOKafkaConsumer]:
    """While the context lasts, a consumer that commits nothing by itself and starts a new group at the beginning.

    Raises:
        BrokerUnavailableError: no broker answered.
        BrokerRefusedError: the broker refused.
    """
    consumer = AIOKafkaConsumer(
        **connection_arguments(settings),
        group_id=group_id,
        group_instance_id=group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // 3,
    )
    try:
        await _start_consumer(consumer, settings)
        yield consumer
    finally:
        await _stop_consumer(consumer)


@contextlib.asynccontextmanager
async def probing(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """While the context lasts, a consumer without a group, that asks for offsets over connections of its own.

    Raises:
        BrokerUnavailableError: no broker answered.
        BrokerRefusedError: the broker refused.
    """
    probe = AIOKafkaConsumer(**connection_arguments(settings), isolation_level="read_committed")
    try:
        await _start_consumer(probe, settings)
        yield probe
    finally:
        await _stop_consumer(probe)


async def _start_consumer(consumer: AIOKafkaConsumer, settings: Settings) -> None:
    try:
        await consumer.start()
    except KafkaConnectionError as error:
        raise BrokerUnavailableError(f"No Kafka broker answers at {settings.bootstrap_servers}.") from error
    except KafkaError as error:
        raise BrokerRefusedError(f"The broker refused the consumer: {error}.") from error


async def _stop_consumer(consumer: AIOKafkaConsumer) -> None:
    # A broker that does not answer would hold the goodbye to the group for the 40 s of a request; and a fetch that is
    # cancelled while it rests after an error lets stop() raise CancelledError, though nobody cancelled us.
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait({stopping}, timeout=_STOP_SECONDS)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    await consumer._client.close()  # noqa: SLF001 # what stop() does last, and may not have come to


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    password = settings.ssl_key_password
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca_file)
        if settings.ssl_certificate_file is not None:
            context.load_cert_chain(
                settings.ssl_certificate_file,
                settings.ssl_key_file,
                password.get_secret_value() if password else None,
            )
    except OSError as error:
        raise SettingsError(
            f"The certificate or key files in the BRIDGE_SSL_ settings cannot be used: {error}."
        ) from error
    return context


def _sasl_arguments(settings: Settings) -> dict[str, Any]:
    username, password = settings.sasl_username, settings.sasl_password
    if username is None or password is None:
        raise SettingsError("SASL needs BRIDGE_SASL_USERNAME and BRIDGE_SASL_PASSWORD.")
    arguments: dict[str, Any] = {"sasl_mechanism": settings.sasl_mechanism}
    if settings.sasl_mechanism == "OAUTHBEARER":
        arguments["sasl_oauth_token_provider"] = ClientCredentials(
            str(settings.sasl_oauth_token_url), username, password.get_secret_value(), settings.sasl_oauth_scope
        )
    else:
        arguments["sasl_plain_username"] = username
        arguments["sasl_plain_password"] = password.get_secret_value()
    return arguments


class TokenError(BrokerRefusedError, KafkaError):  # type: ignore[misc] # aiokafka ships no types
    """The token endpoint gave no token.

    aiokafka, which asks for tokens in tasks of its own, has to take it for a connection that did not come about, and
    tries again.
    """

    __str__ = Exception.__str__


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc] # aiokafka ships no types
    """Tokens by the OAuth 2.0 client credentials grant (RFC 6749, section 4.4), kept until shortly before they end."""

    def __init__(self, token_url: str, client_id: str, client_secret: str, scope: str | None = None) -> None:
        self._token_url = token_url
        self._credentials = (client_id, client_secret)
        self._form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        self._token = ""
        self._renew_at = 0.0

    async def token(self) -> str:
        """A token that is good for a while; aiokafka asks at every connection.

        Raises:
            TokenError: the token endpoint did not answer with one.
        """
        if time.monotonic() >= self._renew_at:
            await self._renew()
        return self._token

    async def _renew(self) -> None:
        try:
            async with httpx.AsyncClient(timeout=10) as client:
                response = await client.post(self._token_url, data=self._form, auth=self._credentials)
                response.raise_for_status()
                answer = response.json()
            self._token = str(answer["access_token"])
            self._renew_at = time.monotonic() + float(answer.get("expires_in", 60)) - _RENEW_BEFORE_SECONDS
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise TokenError(f"The token endpoint {self._token_url} gave no token ({type(error).__name__}).") from error
