"""A device whose power is switched by something that may lie, and the drivers of a rack file that uses it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from esim_bench import clock, ports
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import TransportError
from esim_bench.ports import CardLink, DriverContext, ModemLink, Proof, SlotHardware
from esim_bench.rack.world import SMDP_ADDRESS
from esim_bench.servers.pki import create_pki, make_eid
from esim_drivers.sim.host import driver as sim_driver
from esim_drivers.sim.reader import SimReader


@dataclass
class Device:
    """A device with or without power, and the log of what its switch was told."""

    powered: bool = True
    offs: int = 0
    ons: int = 0
    deaf_until: int = 0
    """So many requests to switch off do nothing."""
    fails: Exception | None = None
    at: list[tuple[str, float]] = field(default_factory=list)
    on_power: Callable[[bool], None] = lambda on: None


class FakeSwitch:
    """A PowerSwitch of such a device."""

    def __init__(self, device: Device, proofs: frozenset[Proof] = frozenset()) -> None:
        self.device = device
        self.proofs = proofs
        self.closed = False

    async def off(self) -> None:
        self.device.at.append(("off", clock.now()))
        self.device.offs += 1
        if self.device.fails is not None:
            raise self.device.fails
        if self.device.offs > self.device.deaf_until:
            self.device.powered = False
            self.device.on_power(False)

    async def on(self) -> None:
        self.device.at.append(("on", clock.now()))
        self.device.ons += 1
        if not self.device.powered:
            self.device.powered = True
            self.device.on_power(True)

    async def is_off(self, proof: Proof) -> bool:
        return not self.device.powered

    async def close(self) -> None:
        self.closed = True


class WatchedReader(SimReader):
    """A reader that tells whether a card is there: one with power, in a reader with power."""

    async def present(self) -> bool:
        return self._ready_at is not None


class BenchDrivers:
    """Entry points for rack files of real slots: ``bench-card``, ``bench-modem``, ``bench-power``.

    The card is a simulated one of the PKI of seed 0; its power hangs at the fake switch alone.
    """

    def __init__(self) -> None:
        self.device = Device(powered=False)
        self.proofs: frozenset[Proof] = frozenset()
        self.settings: Mapping[str, Any] = {}
        self.entries: dict[str, Any] = {}

    def open_card(self, spec: Mapping[str, Any], context: DriverContext) -> CardLink:
        card = self._hardware(context, with_module=False).extras["sim"]
        reader = WatchedReader(card, context.sink, context.rng, removable=True)
        self.device.on_power = lambda on: reader.power_on() if on else reader.power_off()
        return reader

    def open_modem(self, spec: Mapping[str, Any], context: DriverContext) -> tuple[ModemLink, CardLink]:
        hardware = self._hardware(context, with_module=True)
        wire: Any = hardware.power._device  # type: ignore[attr-defined]
        self.device.on_power = lambda on: wire.power_on() if on else wire.power_off()
        assert hardware.modem is not None
        return hardware.modem, hardware.card

    def _hardware(self, context: DriverContext, *, with_module: bool) -> SlotHardware:
        pki = create_pki(
            SeededRandomness("0:pki"), curve=Curve.P256, hosts=[SMDP_ADDRESS], now_ns=clock.VIRTUAL_EPOCH_NS
        )
        identity = pki.issue_euicc(make_eid(4711), SeededRandomness("bench card"))
        full = replace(context, identity=identity, dialect=context.dialect if with_module else None)
        return sim_driver.open_slot({"personality": "standard", "rsp": ["sgp22"]}, full)

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> FakeSwitch:
        self.settings = spec
        return FakeSwitch(self.device, self.proofs)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def switch_of() -> Callable[..., FakeSwitch]:
    return FakeSwitch


@pytest.fixture
def bench_drivers(monkeypatch: pytest.MonkeyPatch) -> BenchDrivers:
    """Have rack files know the drivers bench-card, bench-modem and bench-power."""
    drivers = BenchDrivers()
    parts = {"bench-card": "open_card", "bench-modem": "open_modem", "bench-power": "open_power"}
    drivers.entries = {name: SimpleNamespace(**{part: getattr(drivers, part)}) for name, part in parts.items()}
    points = [SimpleNamespace(name=name, load=lambda one=one: one) for name, one in drivers.entries.items()]
    real = ports.drivers.entry_points
    monkeypatch.setattr(ports.drivers, "entry_points", lambda group: [*real(group=group), *points])
    return drivers


@pytest.fixture
def gone_error() -> TransportError:
    return TransportError("the hub vanished")
