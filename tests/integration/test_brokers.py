"""The harness itself: a test that stands on it may believe it."""

import asyncio
import re
import signal
import ssl

import psutil
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from tests.integration.broker import LocalBroker, SecuredBroker
from tests.integration.conftest import StartProcess
from tests.integration.topics import Message, Topics


async def test_records_come_back_byte_for_byte(topics: Topics) -> None:
    (topic,) = await topics.create("bytes")
    headers = [("reason", b"\xff\xfe"), ("reason", b""), ("time", b"now")]
    await topics.produce(topic, Message(b'{"a":1}', b"\xff\x00key", headers, partition=1))

    (record,) = await topics.read(topic)

    assert (record.partition, record.offset, record.key, record.value) == (1, 0, b"\xff\x00key", b'{"a":1}')
    assert list(record.headers) == headers


async def test_records_of_a_megabyte_come_back(topics: Topics) -> None:
    (topic,) = await topics.create("large")
    await topics.produce(topic, Message(b"x" * 1_000_000))

    (record,) = await topics.read(topic)

    assert len(record.value) == 1_000_000


async def test_all_records_of_all_partitions_are_read(topics: Topics) -> None:
    (topic,) = await topics.create("many")
    await topics.produce(topic, *(Message(str(number).encode(), partition=number % 3) for number in range(3_000)))

    records = await topics.read(topic)

    assert sorted(int(record.value) for record in records) == list(range(3_000))
    assert [int(record.value) for record in records if record.partition == 2] == list(range(2, 3_000, 3))


async def test_equal_keys_go_to_one_partition(topics: Topics) -> None:
    (topic,) = await topics.create("keyed")

    places = await topics.produce(topic, *[Message(b"1", b"a card")] * 5)

    assert len(set(places)) == 1


async def test_a_group_without_commits_has_none(topics: Topics) -> None:
    (topic,) = await topics.create("uncommitted")

    assert await topics.committed(topics.name("group"), topic) == {0: None, 1: None, 2: None}


@pytest.mark.real_kafka(reason="the embedded broker has no transactions")
async def test_a_transaction_is_read_when_it_is_committed(topics: Topics) -> None:
    (topic,) = await topics.create("transactional", partitions=1)
    where, group = TopicPartition(topic, 0), topics.name("group")
    async with AIOKafkaProducer(**topics.connection, transactional_id=topics.name("producer")) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", partition=0)
        await producer.abort_transaction()
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"committed", partition=0)
        await producer.send_offsets_to_transaction({where: 7}, group)
        assert await topics.read(topic) == []
        await producer.commit_transaction()

    assert [record.value for record in await topics.wait_for(topic, 1)] == [b"committed"]
    assert [record.value for record in await topics.read(topic, uncommitted=True)] == [b"aborted", b"committed"]
    assert await topics.committed(group, topic) == {0: 7}


@pytest.mark.real_kafka(reason="the embedded broker keeps its records in memory")
async def test_a_killed_broker_comes_back_with_its_records(own_broker: LocalBroker, own_topics: Topics) -> None:
    (topic,) = await own_topics.create("kept")
    await own_topics.produce(topic, Message(b"before"))
    own_broker.kill()
    own_broker.start()
    await own_topics.produce(topic, Message(b"after"))
    own_broker.stop()
    own_broker.start()

    assert {record.value for record in await own_topics.read(topic)} == {b"before", b"after"}


async def test_a_frozen_broker_goes_on_when_it_is_resumed(own_broker: LocalBroker, own_topics: Topics) -> None:
    (topic,) = await own_topics.create("frozen")
    own_broker.pause()
    producing = asyncio.create_task(own_topics.produce(topic, Message(b"late")))
    done, _ = await asyncio.wait([producing], timeout=1)
    assert not done
    own_broker.resume()

    await producing

    assert [record.value for record in await own_topics.read(topic)] == [b"late"]


async def test_a_broker_leaves_nothing_behind(own_broker: LocalBroker) -> None:
    broker = psutil.Process(own_broker.pid)
    family = [broker, *broker.children(recursive=True)]
    own_broker.close()

    _, alive = psutil.wait_procs(family, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert not own_broker.log_file.parent.exists()


async def test_a_process_is_watched_and_ended(start_process: StartProcess) -> None:
    server = start_process("http.server", "0", "--bind", "127.0.0.1")
    stranger = start_process("no_such_module")

    assert await stranger.wait_for_end() == 1
    assert "No module named" in stranger.log
    with pytest.raises(AssertionError, match="ended with 1 before it logged 'ready'"):
        await stranger.wait_for_log("ready")
    await asyncio.to_thread(server.send, signal.SIGTERM)
    assert await server.wait_for_end() == -signal.SIGTERM


async def test_settings_of_the_tester_do_not_reach_a_process(
    start_process: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_GROUP_ID", "the-testers-own")
    process = start_process("sysconfig", BRIDGE_TOPIC_PARTITIONS="5")
    environment = psutil.Process(process.pid).environ()
    await process.wait_for_end()

    assert "BRIDGE_GROUP_ID" not in environment
    assert re.search("Platform", process.output)


@pytest.mark.real_kafka(reason="the embedded broker has no passwords")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_the_secured_broker_lets_in_who_has_the_password(secured_broker: SecuredBroker, mechanism: str) -> None:
    topics = Topics(
        {
            "bootstrap_servers": secured_broker.secured_bootstrap,
            "security_protocol": "SASL_SSL",
            "ssl_context": ssl.create_default_context(cafile=secured_broker.certificate_authority),
            "sasl_mechanism": mechanism,
            "sasl_plain_username": secured_broker.username,
            "sasl_plain_password": secured_broker.password,
        }
    )
    (topic,) = await topics.create("secured")
    await topics.produce(topic, Message(b"in"))

    assert [record.value for record in await topics.read(topic)] == [b"in"]
