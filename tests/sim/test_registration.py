"""Connectivity is two things: the network serves the profile, and a modem is registered."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from esim_bench import clock
from esim_bench.codec.identifiers import iccid_to_bytes
from esim_bench.errors import TransportError
from esim_bench.events import AtEvent, ListSink
from esim_bench.rack.model import Rack, load_rack
from esim_bench.rack.parts import context_of, open_parts
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.world import EIM_ADDRESS, World
from esim_bench.scenario.steering import without_network

T = TypeVar("T")

SIMULATED = """\
[rack]
name = "registration"
[[slot]]
name = "A1"
form_factor = "MFF2"
{module}
sim = {{ personality = "mff2", {profile} rsp = ["sgp32-1.2"], quirks = {quirks} }}
"""
REAL = """\
[rack]
name = "registration"
[[slot]]
name = "A1"
form_factor = "MFF2"
{module}
{device}
ipa = {{ version = "1.2" }}
"""


def rack_of(folder: Path, text: str, **values: str) -> Rack:
    path = folder / "rack.toml"
    path.write_text(text.format(**values))
    return load_rack(path)


def simulated(
    folder: Path, module: str = "", more: str = "", profile: str = "bootstrap-global", quirks: str = "{}"
) -> Rack:
    line = f'module = "{module}"\n{more}' if module else more
    chosen = f'profile = "{profile}",' if profile else ""
    return rack_of(folder, SIMULATED, module=line, profile=chosen, quirks=quirks)


def on(rack: Rack, do: Callable[[Slot], Awaitable[T]]) -> tuple[T, list[str]]:
    """Do something with the started slot; return what came of it and the AT commands that went out."""
    sink = ListSink()

    async def main() -> T:
        slot = open_slot(rack.slots[0], World(rack, "0"), sink)
        await slot.start()
        try:
            return await do(slot)
        finally:
            await slot.close()

    found = clock.run_virtual(main())
    return found, [event.line for event in sink.events if isinstance(event, AtEvent) and event.direction == ">"]


async def shown(slot: Slot) -> bytes:
    text = await slot.card.read_iccid()
    assert text is not None
    return iccid_to_bytes(text)


@pytest.mark.parametrize(
    ("module", "device"),
    [
        ("", 'card = { driver = "pcsc" }'),
        ("quectel-eg25", 'modem = { driver = "at", port = "/dev/null" }'),
    ],
)
def test_the_bench_can_fail_the_network_of_a_real_slot(tmp_path: Path, module: str, device: str) -> None:
    # The bench is the bearer of the slot, so what it does not carry has not left the device.
    rack = simulated(tmp_path, module)
    line = f'module = "{module}"' if module else ""
    real = rack_of(tmp_path, REAL, module=line, device=device)

    async def main() -> list[bool]:
        world, sink = World(rack, "0"), ListSink()
        parts = open_parts(rack.slots[0], context_of(rack.slots[0], world, sink, None))
        slot = Slot(real.slots[0], world, sink, parts)
        await slot.start()
        found = [await slot.connected()]
        with without_network(slot, await shown(slot)):
            found.append(await slot.connected())
            with pytest.raises(TransportError, match="no network"):
                await slot.bearer.post(f"https://{EIM_ADDRESS}/gsma/rsp2/asn1", {}, b"")
        found.append(await slot.connected())
        await slot.close()
        return found

    assert clock.run_virtual(main()) == [True, False, True]


def test_a_modem_that_is_not_registered_has_no_connectivity(tmp_path: Path) -> None:
    async def offline(slot: Slot) -> tuple[bool, bool, bool]:
        assert slot.modem is not None
        before = await slot.connected()
        await slot.modem.set_functionality(4)
        return before, await slot.connected(), slot.radio.connected

    assert on(simulated(tmp_path, "quectel-eg25"), offline)[0] == (True, False, True)


def test_a_started_slot_has_waited_for_its_registration(tmp_path: Path) -> None:
    async def at_once(slot: Slot) -> tuple[bool, bool]:
        first = await slot.connected()
        await slot.recover()
        return first, await slot.connected()

    assert on(simulated(tmp_path, "quectel-eg25"), at_once)[0] == (True, True)


def test_a_module_that_its_operator_configuration_keeps_out_is_prepared_once(tmp_path: Path) -> None:
    async def twice(slot: Slot) -> tuple[bool, bool]:
        first = await slot.connected()
        await slot.power_cycle()
        return first, await slot.connected()

    found, sent = on(simulated(tmp_path, "quectel-ec20"), twice)
    assert found == (True, True)
    assert sent.count('AT+QMBNCFG="Select","ROW_Generic_3GPP"') == 1


def test_patience_with_the_network_has_an_end(tmp_path: Path) -> None:
    # Nobody knows that this module would want another operator configuration: it never registers.
    async def start(slot: Slot) -> tuple[float, bool]:
        return asyncio.get_running_loop().time(), await slot.connected()

    def started(seconds: int) -> tuple[float, bool]:
        more = f'ipa = {{ version = "1.2", register_s = {seconds} }}'
        return on(simulated(tmp_path, "quectel-eg25", more, quirks='{ mbn = "CMCC" }'), start)[0]

    (short, _), (long, connected) = started(10), started(100)
    assert long - short == pytest.approx(90, abs=1)
    assert not connected


def test_a_network_that_the_bench_fails_is_not_waited_for(tmp_path: Path) -> None:
    async def recover(slot: Slot) -> float:
        begin = asyncio.get_running_loop().time()
        with without_network(slot, await shown(slot)):
            await slot.recover()
        return asyncio.get_running_loop().time() - begin

    assert on(simulated(tmp_path, "quectel-eg25", 'ipa = { version = "1.2", register_s = 1000 }'), recover)[0] < 100


def test_without_a_profile_nothing_is_waited_for(tmp_path: Path) -> None:
    async def state(slot: Slot) -> tuple[float, bool]:
        return asyncio.get_running_loop().time(), await slot.connected()

    seconds, connected = on(simulated(tmp_path, "quectel-eg25", profile=""), state)[0]
    assert not connected
    assert seconds < 60
