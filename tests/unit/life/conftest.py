"""A rack of real slots whose drivers are made here: a reader with a simulated card, and a power switch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from esim_bench import ports
from esim_bench.errors import DeviceTimeout
from esim_bench.ports import CardCapabilities, DriverContext, Exchange, Proof, StopRule
from esim_bench.rack.model import Rack, load_rack
from esim_bench.rack.world import World
from esim_bench.scenario.context import Bench
from esim_bench.scenario.registry import Scenario
from esim_drivers.sim import reader as sim_reader
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.iot.standards import Standards
from esim_drivers.sim.personality import personality

RACK = """\
[rack]
name = "lab"

[[slot]]
name = "A1"
form_factor = "4FF"
card = { driver = "fake-reader", reader = "usb:9-1.1" }
power = { driver = "fake-power", location = "9-1", port = 1, proof = "none", off_s = 0.01, on_s = 0.01 }

[[slot]]
name = "A2"
form_factor = "4FF"
card = { driver = "fake-reader", reader = "usb:9-1.2" }
power = { driver = "fake-power", location = "9-1", port = 2, proof = "none", off_s = 0.01, on_s = 0.01 }
"""


@dataclass
class Device:
    """What stands at one place of the fake rack, over all openings of it."""

    card: SimCard
    powered: bool = True
    behaviour: str = "good"
    """good; silent: no answer until its power is cut; deaf: nor does it hear a cancellation; stone: deaf for ever."""
    close_hangs: bool = False
    switch_fails: bool = False
    opened: int = 0
    closed: int = 0
    log: list[str] = field(default_factory=list)
    link: Any = None


class FakeLink:
    """A CardLink."""

    def __init__(self, device: Device, context: DriverContext) -> None:
        self.device = device
        device.link = self
        self.reader = sim_reader.SimReader(device.card, context.sink, random.Random(1), removable=True)

    @property
    def capabilities(self) -> CardCapabilities:
        return self.reader.capabilities

    async def connect(self) -> bytes:
        self.device.opened += 1
        if self.device.powered:
            self.reader.power_on()
        return await self.reader.connect()

    async def reset(self) -> bytes:
        return await self.reader.reset()

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        while self.device.behaviour in ("deaf", "stone"):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.device.log.append("deaf")
        if self.device.behaviour == "silent":
            await asyncio.sleep(0.05)
            raise DeviceTimeout("the card does not answer")
        self.device.log += [command.hex() for command in commands if command[1] == 0x70]
        return await self.reader.exchange(commands, stop, session)

    async def open_session(self, aid: bytes) -> int:
        raise NotImplementedError

    async def close_session(self, session: int) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        if self.device.close_hangs:
            await asyncio.sleep(3600)
        self.device.closed += 1
        await self.reader.close()


class FakeSwitch:
    """A PowerSwitch."""

    proofs: frozenset[Proof] = frozenset()

    def __init__(self, device: Device) -> None:
        self.device = device

    async def off(self) -> None:
        self.device.log.append("off")
        self.device.powered = False
        if self.device.behaviour in ("silent", "deaf"):
            self.device.behaviour = "good"

    async def on(self) -> None:
        if self.device.switch_fails:
            raise DeviceTimeout("the relay sticks")
        self.device.log.append("on")
        self.device.powered = True

    async def is_off(self, proof: Proof) -> bool:
        return not self.device.powered

    async def close(self) -> None:
        self.device.log.append("switch closed")


class FakeDrivers:
    """The drivers ``fake-reader`` and ``fake-power``."""

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self.devices = devices

    def open_card(self, spec: Mapping[str, Any], context: DriverContext) -> FakeLink:
        return FakeLink(self.devices[spec["reader"]], context)

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> FakeSwitch:
        return FakeSwitch(self.devices[f"usb:{spec['location']}.{spec['port']}"])


@dataclass
class FakeRack:
    rack: Rack
    a1: Device
    a2: Device
    link: type[FakeLink] = FakeLink


def _card(slot: str) -> SimCard:
    world = World(load_rack("sim-3"), "0")
    return SimCard(
        identity=world.identity(slot),
        personality=personality("4ff"),
        randomness=world.randomness(slot),
        preload=(),
        form_factor=ports.FormFactor.FF4,
        nvm=None,
        standards=Standards.of(("sgp22",)),
    )


@pytest.fixture
def bench_rack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRack:
    """Two real slots in reach of the fake drivers, found as any out-of-tree driver is: by entry point."""
    monkeypatch.setattr(sim_reader, "BOOT_SECONDS", 0.0)
    devices = {"usb:9-1.1": Device(_card("A1")), "usb:9-1.2": Device(_card("A2"))}
    drivers = FakeDrivers(devices)

    class Point(EntryPoint):
        def load(self) -> Any:
            return drivers

    points = [Point(name, "tests:drivers", ports.DRIVER_GROUP) for name in ("fake-reader", "fake-power")]
    monkeypatch.setattr(ports.drivers, "entry_points", lambda group: points)
    (tmp_path / "rack.toml").write_text(RACK)
    return FakeRack(load_rack(tmp_path / "rack.toml"), *devices.values())


class Nothing(BaseModel):
    """No parameters."""


def as_scenario(run: Callable[[Bench, Any], Any]) -> Scenario:
    return Scenario("test", "", "", Nothing, run)


@pytest.fixture
def scenario() -> Callable[[Callable[[Bench, Any], Awaitable[None]]], Scenario]:
    return as_scenario


@pytest.fixture
def no_parameters() -> BaseModel:
    return Nothing()
