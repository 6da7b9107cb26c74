import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from bridge.errors import BridgeError
from bridge.status import Readiness, create_status_app, serving


class _Bridge:
    def __init__(self) -> None:
        self.now = Readiness(is_ready=True, reason="fine")

    def readiness(self) -> Readiness:
        return self.now


async def test_it_serves_metrics_and_health_until_its_block_ends() -> None:
    registry, bridge = CollectorRegistry(), _Bridge()
    Counter("records", "Records", registry=registry).inc(3)
    app = create_status_app(registry, bridge.readiness)

    async with serving(app, "127.0.0.1", 0) as address, httpx.AsyncClient(base_url=address) as client:
        assert "records_total 3.0" in (await client.get("/metrics")).text
        assert (await client.get("/health/live")).json() == {"status": "live"}
        assert (await client.get("/health/ready")).json() == {"status": "ready", "reason": "fine"}

        bridge.now = Readiness(is_ready=False, reason="stopping")
        response = await client.get("/health/ready")
        assert (response.status_code, response.json()) == (503, {"status": "not ready", "reason": "stopping"})
        assert (await client.get("/health/live")).status_code == 200

    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{address}/health/live")


async def test_a_taken_port_is_named() -> None:
    app = create_status_app(CollectorRegistry(), _Bridge().readiness)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BridgeError, match=f"The HTTP port 127.0.0.1:{port} cannot be used"):
            async with serving(app, "127.0.0.1", port):
                pytest.fail("it serves")


async def test_an_address_of_another_machine_is_named() -> None:
    app = create_status_app(CollectorRegistry(), _Bridge().readiness)

    with pytest.raises(BridgeError, match=r"set BRIDGE_HTTP_HOST or BRIDGE_HTTP_PORT"):
        async with serving(app, "192.0.2.1", 0):
            pytest.fail("it serves")
