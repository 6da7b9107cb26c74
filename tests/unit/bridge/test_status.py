"""The HTTP port of the bridge: metrics, and health with its reasons."""

import asyncio
import socket
import time

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram

from bridge.errors import BridgeError
from bridge.health import Check, Health, Vitals
from bridge.pulse import Pulse
from bridge.status import create_status_app, serving


def _pulse() -> Pulse:
    return Pulse(Histogram("lag_seconds", "Lag", registry=CollectorRegistry()))


async def test_it_serves_metrics_and_health_until_its_block_ends() -> None:
    registry, vitals = CollectorRegistry(), Vitals(_pulse())
    Counter("records", "Records", registry=registry).inc(3)

    async with (
        serving(create_status_app(registry, vitals), "127.0.0.1", 0) as address,
        httpx.AsyncClient(base_url=address) as client,
    ):
        assert "records_total 3.0" in (await client.get("/metrics")).text
        assert (await client.get("/health/live")).json()["status"] == "live"

    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{address}/health/live")


async def test_a_process_that_starts_is_not_ready_and_says_what_it_waits_for() -> None:
    app = create_status_app(CollectorRegistry(), Vitals(_pulse()))
    async with serving(app, "127.0.0.1", 0) as address, httpx.AsyncClient() as client:
        response = await client.get(f"{address}/health/ready")

    assert response.status_code == 503
    assert response.json()["reason"] == "the model is not loaded yet"


async def test_readiness_names_every_check_and_the_first_that_is_not_good() -> None:
    vitals = Vitals(_pulse())
    checks = [
        Check("group", is_good=True, reason="owns 3 partitions"),
        Check("broker", is_good=False, reason="the broker does not answer"),
        Check("lag", is_good=True, reason="transactions are being answered"),
    ]
    async with (
        serving(create_status_app(CollectorRegistry(), vitals), "127.0.0.1", 0) as address,
        httpx.AsyncClient(base_url=address) as client,
    ):
        vitals.readiness = lambda: Health(checks)
        red = await client.get("/health/ready")
        vitals.readiness = lambda: Health([check for check in checks if check.is_good])
        green = await client.get("/health/ready")

    assert (red.status_code, red.json()["status"], red.json()["reason"]) == (
        503,
        "not ready",
        "the broker does not answer",
    )
    assert [check["is_good"] for check in red.json()["checks"]] == [True, False, True]
    assert (green.status_code, green.json()["status"], green.json()["reason"]) == (
        200,
        "ready",
        "transactions are being answered",
    )


async def test_a_blocked_event_loop_turns_liveness_red_and_the_port_still_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.health._STILL_SECONDS", 0.5)
    pulse = _pulse()
    app = create_status_app(CollectorRegistry(), Vitals(pulse))

    async with serving(app, "127.0.0.1", 0) as address, pulse.beating():
        await asyncio.to_thread(_first_green, address)
        task = asyncio.create_task(asyncio.to_thread(_first_red, address))
        await asyncio.sleep(0)
        time.sleep(1.5)  # noqa: ASYNC251 # this is what must not happen, and here it does
        red = await task
        green = await asyncio.to_thread(_first_green, address)

    assert red.startswith("the event loop has not turned for")
    assert green == "the event loop turns"


def _first_red(address: str) -> str:
    while (response := httpx.get(f"{address}/health/live")).status_code == 200:
        time.sleep(0.05)
    return str(response.json()["reason"])


def _first_green(address: str) -> str:
    while (response := httpx.get(f"{address}/health/live")).status_code != 200:
        time.sleep(0.05)
    return str(response.json()["reason"])


async def test_a_taken_port_is_named() -> None:
    app = create_status_app(CollectorRegistry(), Vitals(_pulse()))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BridgeError, match=f"The HTTP port 127.0.0.1:{port} cannot be used"):
            async with serving(app, "127.0.0.1", port):
                pytest.fail("it serves")


async def test_an_address_of_another_machine_is_named() -> None:
    app = create_status_app(CollectorRegistry(), Vitals(_pulse()))

    with pytest.raises(BridgeError, match=r"set BRIDGE_HTTP_HOST or BRIDGE_HTTP_PORT"):
        async with serving(app, "192.0.2.1", 0):
            pytest.fail("it serves")
