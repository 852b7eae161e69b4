"""Simulated modems on ptys of the kernel's, with the AT driver at their other end; time runs faster."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock, data
from esim_bench.data import Dialect
from esim_bench.events import AtEvent, ListSink
from esim_bench.ports import ByteLink
from esim_drivers.at import AtCard, AtModem
from esim_drivers.at.serial_link import SerialLink
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.pty_bus import PtyBus
from esim_drivers.sim.pty_host import PtyModem
from esim_drivers.sim.pty_watch import OpenWatch
from esim_drivers.sim.wire import Wire

IMEI = "352906110000018"
ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
READ = bytes.fromhex("80E2910003BF3E00")
RATE = 20.0
LIMIT = 20.0
"""Real seconds that a body may take."""
BOOT_SECONDS = 120.0


class ModemRig:
    """One simulated modem, on a pty or on a wire in memory, and the driver that speaks to it."""

    def __init__(
        self, host: PtyModem | Wire, sim: SimModem, opener: Callable[[], ByteLink], bus: PtyBus, device: Any
    ) -> None:
        self.host, self.sim, self.bus, self.device = host, sim, bus, device
        self.sink = ListSink()
        self.modem = AtModem(opener, sim.dialect, self.sink)
        self.card = AtCard(self.modem, self.sink)

    def heard(self, direction: str = "!") -> list[str]:
        """Return the lines that came unasked (or "<" answers, ">" commands)."""
        return [event.line for event in self.sink.events if isinstance(event, AtEvent) and event.direction == direction]

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for something, in the modem's time."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.05)

    async def iccid(self) -> str:
        """Return the end of the ICCID that the modem tells."""
        answer = await self.modem.command(self.modem.dialect.sim.iccid_command)
        return answer.lines[0][-2:] if answer.lines else answer.final

    async def read(self) -> str:
        """Open the ISD-R, have it give something back, close it; return the response."""
        session = await self.card.open_session(ISD_R)
        try:
            (exchange,) = await self.card.exchange([READ], lambda command, response: True, session)
        finally:
            await self.card.close_session(session)
        return exchange.response.hex()


def changed_dialect(module: str, changes: dict[str, dict[str, Any]]) -> Dialect:
    """Return a module's row with other values in some of its tables."""
    row = data.module(module)
    tables: dict[str, Any] = {}
    for name, values in changes.items():
        table = getattr(row, name)
        tables[name] = type(table).model_validate({**table.model_dump(), **values})
    return row.model_copy(update=tables)


Body = Callable[[ModemRig], Awaitable[None]]


async def on_pty(body: Body, dialect: Dialect, device: Any, folder: Path, seed: int, booted: bool, rate: float) -> None:
    """Run a body with a modem on a pty."""
    watch, bus, link = OpenWatch(), PtyBus(folder / "sys"), folder / "modem"
    sim = SimModem(dialect, device, rng=random.Random(seed), imei=IMEI)
    host = PtyModem(sim, link, watch, bus=bus, interface="1-1.3:1.2")
    rig = ModemRig(host, sim, lambda: SerialLink(str(link)), bus, device)
    try:
        if booted:
            host.power_on()
            host.skip(BOOT_SECONDS)
        await asyncio.wait_for(body(rig), LIMIT * rate)
    finally:
        await rig.modem.close()
        host.close()
        watch.close()
    assert not link.is_symlink()


async def on_wire(body: Body, dialect: Dialect, device: Any, folder: Path, seed: int, booted: bool) -> None:
    """Run a body with a modem on a wire in memory."""
    sim = SimModem(dialect, device, rng=random.Random(seed), imei=IMEI)
    wire = Wire(sim, lambda: None)
    rig = ModemRig(wire, sim, wire.open, PtyBus(folder / "sys"), device)
    if booted:
        wire.power_on()
        await asyncio.sleep(BOOT_SECONDS)
    await asyncio.wait_for(body(rig), 3600)
    await rig.modem.close()


@pytest.fixture
def pty_rig(tmp_path: Path, scripted_card: Callable[[], Any]) -> Callable[..., None]:
    """Run a body with a modem of a dialect on a pty, booted unless ``booted=False``; ``quirks={...}``: other values."""

    def run(
        body: Body,
        module: str = "sim-generic",
        *,
        booted: bool = True,
        seed: int = 1,
        rate: float = RATE,
        **changes: dict[str, Any],
    ) -> None:
        dialect = changed_dialect(module, changes)
        clock.run_scaled(on_pty(body, dialect, scripted_card(), tmp_path, seed, booted, rate), rate)

    return run


@pytest.fixture(params=["wire", "pty"])
def modem_rig(
    request: pytest.FixtureRequest, tmp_path: Path, pty_rig: Callable[..., None], scripted_card: Callable[[], Any]
) -> Callable[..., None]:
    """Run a body with a modem of a dialect, in memory (virtual time) and on a pty (scaled time)."""
    if request.param == "pty":
        return pty_rig

    def run(
        body: Body, module: str = "sim-generic", *, booted: bool = True, seed: int = 1, **changes: dict[str, Any]
    ) -> None:
        dialect = changed_dialect(module, changes)
        clock.run_virtual(on_wire(body, dialect, scripted_card(), tmp_path, seed, booted))

    return run
