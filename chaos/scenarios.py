"""What is done to the bridges while traffic runs, and how often; each scenario ends with the audit."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from chaos.outcome import Outcome
from chaos.stage import Model, Script, Stage, staged
from tests.integration.small_disk import SmallDiskBroker
from tests.integration.topics import Message

_WARM_UP_PREDICTIONS = 500
_LIMIT_BYTES = 100_000


@dataclass(frozen=True)
class Scenario:
    """A script, and what happens."""

    script: Script
    play: Callable[[Stage], Awaitable[None]]


async def run(scenario: Scenario, model: Model) -> Outcome:
    """Play a scenario on a stage of its own, and audit what it left.

    Raises:
        NoProxyError: the scenario needs toxiproxy, which cannot be had.
    """
    async with staged(scenario.script, model) as stage, _living(stage):
        await stage.open()
        sending = asyncio.create_task(stage.traffic.run())
        await stage.observer.wait_for(_WARM_UP_PREDICTIONS)
        stage.observer.begin()
        started = time.monotonic()
        await scenario.play(stage)
        await asyncio.sleep(2)
        seconds = time.monotonic() - started
        stage.observer.end()
        stage.traffic.stop()
        await sending
        await stage.settle()
        return await stage.outcome(seconds)


@contextlib.asynccontextmanager
async def _living(stage: Stage) -> AsyncIterator[None]:
    watchers = [stage.observer.run(), stage.watch_resources(), *(member.supervise() for member in stage.members)]
    tasks = [asyncio.create_task(watcher) for watcher in watchers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def storm(n_kills: int, pause_seconds: float = 2.0) -> Callable[[Stage], Awaitable[None]]:
    """SIGKILL a random bridge that has partitions every while, and start it again at once."""

    async def play(stage: Stage) -> None:
        for _ in range(n_kills):
            await asyncio.sleep(pause_seconds * stage.random.uniform(0.75, 1.25))
            # On a slow machine most of them are still starting; to kill those alone would be no storm.
            member = stage.random.choice([member for member in stage.members if member.is_ready] or stage.members)
            await asyncio.to_thread(member.kill)
            member.start()
        for member in stage.members:
            await member.wait_until_ready()

    return play


def zombies(n_rounds: int, frozen_seconds: float) -> Callable[[Stage], Awaitable[None]]:
    """SIGSTOP a bridge in the middle of a transaction, wait until others have its partitions, SIGCONT."""

    async def play(stage: Stage) -> None:
        for number in range(n_rounds):
            member = stage.members[number % len(stage.members)]
            is_caught = await _freeze_in_transaction(stage, number % len(stage.members))
            moment = "in the middle of a transaction" if is_caught else "between transactions"
            stage.notes.append(f"Round {number + 1}: frozen {moment}.")
            await asyncio.sleep(frozen_seconds)
            member.wake()
            await asyncio.sleep(frozen_seconds / 2)

    return play


async def _freeze_in_transaction(stage: Stage, number: int) -> bool:
    member = stage.members[number]
    for _ in range(60):
        member.freeze()
        await asyncio.sleep(0.2)
        if stage.script.guarantee == "at-least-once" or await _has_open_transaction(stage):
            return True
        member.wake()
        await asyncio.sleep(0.05 + 0.1 * stage.random.random())
    member.freeze()
    return False


async def _has_open_transaction(stage: Stage) -> bool:
    """Whether some partition of the predictions stays open: the others' transactions end within the time between."""
    held = None
    for _ in range(3):
        behind = await stage.topics.held_back(stage.predictions)
        held = behind if held is None else {where: held[where] for where in held if behind.get(where) == held[where]}
        if not held:
            return False
        await asyncio.sleep(0.1)
    return True


def rolling_restarts(n_rounds: int) -> Callable[[Stage], Awaitable[None]]:
    """SIGTERM one bridge after the other, and start it again when it has ended."""

    async def play(stage: Stage) -> None:
        for _ in range(n_rounds):
            for member in stage.members:
                await member.stop()
                member.start()
                await member.wait_until_ready()
                await asyncio.sleep(1)

    return play


def broker_outages(n_kills: int, n_pauses: int, seconds: float) -> Callable[[Stage], Awaitable[None]]:
    """SIGKILL the broker and start it again; then freeze it for longer than the session timeout."""

    async def play(stage: Stage) -> None:
        for _ in range(n_kills):
            await asyncio.sleep(5)
            await asyncio.to_thread(stage.broker.kill)
            stage.n_broker_kills += 1
            await asyncio.sleep(seconds / 4)
            await asyncio.to_thread(stage.broker.start)
            await _answers_again(stage)
        for _ in range(n_pauses):
            await asyncio.sleep(5)
            stage.broker.pause()
            await asyncio.sleep(seconds)
            stage.broker.resume()
            await _answers_again(stage)

    return play


def network_failures(n_rounds: int, seconds: float) -> Callable[[Stage], Awaitable[None]]:
    """Cut, delay and half-open the connections of one bridge, and of all of them."""

    async def play(stage: Stage) -> None:
        proxies = stage.proxies
        if proxies is None:
            raise ValueError("This scenario needs a stage with proxies.")
        for number in range(n_rounds):
            one, everyone = [number % len(stage.members)], range(len(stage.members))
            for bridges, breaks in (
                (one, proxies.cut),
                (everyone, lambda bridge: proxies.delay(bridge, 300, 200)),
                (one, proxies.leave_half_open),
                (everyone, proxies.cut),
                (everyone, proxies.leave_half_open),
            ):
                for bridge in bridges:
                    await asyncio.to_thread(breaks, bridge)
                await asyncio.sleep(seconds)
                await asyncio.to_thread(proxies.mend)
                await _answers_again(stage)

    return play


async def scaling(stage: Stage) -> None:
    """One bridge, three bridges with more partitions on the way, one bridge."""
    first, *others = stage.members
    await asyncio.sleep(5)
    for member in others:
        member.start()
        await member.wait_until_ready()
        await asyncio.sleep(5)
    await stage.topics.add_partitions(stage.transactions, stage.script.n_partitions + 3)
    await asyncio.sleep(15)
    for member in others:
        await member.stop()
        await asyncio.sleep(5)
    others[0].start()
    await others[0].wait_until_ready()
    await asyncio.sleep(5)
    await first.stop()
    await asyncio.sleep(5)


def slow_batches(n_rounds: int, seconds: float) -> Callable[[Stage], Awaitable[None]]:
    """Batches that take longer than max.poll.interval.ms: the processes that hold the models stand still meanwhile."""

    async def play(stage: Stage) -> None:
        for _ in range(n_rounds):
            for member in stage.members:
                await asyncio.sleep(2)
                with member.frozen_model():
                    await asyncio.sleep(seconds)
        stage.notes.append(f"{n_rounds * len(stage.members)} batches took longer than max.poll.interval.ms.")

    return play


async def too_large_output(stage: Stage) -> None:
    """Records whose predictions the topic does not take; then it is set to take less, which the bridges cannot know."""
    for limit_bytes in (_LIMIT_BYTES, _LIMIT_BYTES // 2):
        await stage.topics.configure(stage.predictions, {"max.message.bytes": str(limit_bytes)})
        for number in range(5):
            await asyncio.sleep(2)
            message = {
                **stage.rows[0],
                "transaction_id": f"large-{limit_bytes}-{number}",
                "merchant_notes": "x" * (limit_bytes + 1_000),
            }
            large = Message(json.dumps(message).encode(), f"card-{number}".encode())
            await stage.topics.produce(stage.transactions, large)
        ended = sum(len(member.last_words) for member in stage.members)
        stage.notes.append(f"When the topic took {limit_bytes:,} bytes, bridges had ended {ended} times.")
        await _answers_again(stage)


def full_disks(n_rounds: int, seconds: float) -> Callable[[Stage], Awaitable[None]]:
    """Fill the broker's disk, which ends it; give the space back and start it again."""

    async def play(stage: Stage) -> None:
        broker = stage.broker
        if not isinstance(broker, SmallDiskBroker):
            raise TypeError("This scenario needs a stage with a small disk.")
        for _ in range(n_rounds):
            await asyncio.sleep(5)
            await asyncio.to_thread(broker.fill)
            started = time.monotonic()
            await asyncio.to_thread(broker.wait_for_end)
            stage.notes.append(f"The broker ended {time.monotonic() - started:.1f} s after its disk was full.")
            await asyncio.sleep(seconds)
            broker.empty()
            await asyncio.to_thread(broker.start)
            await _answers_again(stage)

    return play


def soak(minutes: float) -> Callable[[Stage], Awaitable[None]]:
    """Nothing but traffic."""

    async def play(_: Stage) -> None:
        await asyncio.sleep(60 * minutes)

    return play


async def _answers_again(stage: Stage) -> None:
    """Wait until predictions come from every partition that has some, and the backlog is nearly gone."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        n_seen = stage.observer.n_seen
        await asyncio.sleep(1)
        if stage.observer.n_seen - n_seen > 0.5 * stage.script.rate_per_second and await _lag(stage) < (
            2 * stage.script.rate_per_second
        ):
            return
    stage.notes.append("Answers did not catch up in 120 s.")


async def _lag(stage: Stage) -> int:
    ends = await stage.topics.end_offsets(stage.transactions)
    committed = await stage.topics.committed(stage.group, stage.transactions)
    return sum(end - (committed.get(partition) or 0) for partition, end in ends.items())


def _all() -> dict[str, Scenario]:
    scenarios = (
        Scenario(Script("kill-storm", "a random bridge killed (SIGKILL) about every 2 s, 40 times"), storm(40)),
        Scenario(
            Script(
                "zombie", "a bridge frozen in a transaction for longer than its session (SIGSTOP), then woken, 4 times"
            ),
            zombies(4, frozen_seconds=10),
        ),
        Scenario(
            Script(
                "zombie-by-instance",
                "the same with one transactional id per instance, which shuts nobody out: the doubles have to show",
                settings={"BRIDGE_TRANSACTIONAL_ID_SCOPE": "instance", "BRIDGE_TRANSACTION_TIMEOUT_SECONDS": "60"},
                expects_doubles=True,
            ),
            zombies(4, frozen_seconds=10),
        ),
        Scenario(Script("rolling-restarts", "bridges restarted in turn (SIGTERM), 4 rounds"), rolling_restarts(4)),
        Scenario(
            Script("broker-outages", "the broker killed and started again 3 times, then frozen for 12 s twice"),
            broker_outages(3, 2, seconds=12),
        ),
        Scenario(
            Script(
                "long-outages",
                "the broker killed and away for 16 s, longer than a transaction may be open, 4 times",
            ),
            broker_outages(4, 0, seconds=64),
        ),
        Scenario(
            Script(
                "network-failures",
                "connections cut, delayed and left half open for 10 s each, of one bridge and of all, 2 rounds",
                is_proxied=True,
            ),
            network_failures(2, seconds=10),
        ),
        Scenario(Script("scaling", "one bridge, then three, 3 partitions added, then one", n_running=1), scaling),
        Scenario(
            Script(
                "slow-batches",
                "batches of 8 s with a max.poll.interval.ms of 3 s",
                rate_per_second=500,
                module="chaos.slow_bridge",
            ),
            slow_batches(2, seconds=8),
        ),
        Scenario(
            Script(
                "too-large-output",
                "predictions that their topic does not take; then its limit lowered to half",
                prediction_configuration={"max.message.bytes": str(_LIMIT_BYTES)},
            ),
            too_large_output,
        ),
        Scenario(
            Script(
                "full-disk", "the broker's disk filled, which ends it, and 12 s later emptied, 3 times", disk_mib=1_024
            ),
            full_disks(3, seconds=12),
        ),
        Scenario(
            Script(
                "kill-storm-at-least-once",
                "the first storm with at-least-once, where doubles are allowed",
                guarantee="at-least-once",
            ),
            storm(40),
        ),
        Scenario(
            Script("soak", "10 minutes at 2,000 transactions a second, nothing broken", rate_per_second=2_000), soak(10)
        ),
    )
    return {scenario.script.name: scenario for scenario in scenarios}


SCENARIOS = _all()
