"""Without a network nothing leaves the device; a device that has never looked for one is believed to have it."""

import asyncio
from collections.abc import Mapping

import pytest

from esim_bench.errors import TransportError
from esim_bench.ports import HttpResponse
from esim_bench.rack.radio import Radio, RadioBearer

BOOTSTRAP, OPERATIONAL = "8988211000000000003", "8988211000000000011"


class Wire:
    """Counts what leaves."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        self.sent.append(url)
        return HttpResponse(204, {}, b"")


class Shown:
    """A card that shows an ICCID."""

    iccid: str | None = BOOTSTRAP

    async def read(self) -> str | None:
        return self.iccid


def test_connectivity_is_that_of_the_profile_that_the_device_came_up_with() -> None:
    card = Shown()
    radio = Radio(card.read)
    radio.outage(BOOTSTRAP)
    assert radio.connected  # nobody has looked yet
    asyncio.run(radio.attach())
    assert not radio.connected
    card.iccid = OPERATIONAL
    assert not radio.connected  # it has not attached anew
    asyncio.run(radio.attach())
    assert radio.connected
    radio.outage(OPERATIONAL)
    assert not radio.connected
    radio.restore(OPERATIONAL)
    assert radio.connected
    card.iccid = None
    asyncio.run(radio.attach())
    assert not radio.connected


def test_without_a_network_nothing_leaves() -> None:
    card, wire = Shown(), Wire()
    radio = Radio(card.read)
    bearer = RadioBearer(wire, radio)
    asyncio.run(radio.attach())
    radio.outage(BOOTSTRAP)
    with pytest.raises(TransportError, match=f"no network.*{BOOTSTRAP}"):
        asyncio.run(bearer.post("https://testeim1.example.com/", {}, b""))
    assert wire.sent == []
    radio.restore(BOOTSTRAP)
    assert asyncio.run(bearer.post("https://testeim1.example.com/", {}, b"")).status == 204
