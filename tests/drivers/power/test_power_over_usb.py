"""Whole runs over pyusb: an honest hub, one that lies, a relay that sticks, side by side; each slot ends as it must."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from esim_bench.rack.model import load_rack
from esim_bench.scenario import engine, registry
from esim_bench.scenario.results import Outcome
from esim_drivers.relay import hid
from esim_drivers.sim.usb_fakes import FakeSocket, bus_of, usb2_hub, usb3_hub, usb_relay
from esim_drivers.usb_hub import driver as usb_hub

TIMES = "off_s = 0.1, on_s = 0.0, proof_timeout_s = 1.0"
RACK = f"""
[rack]
name = "three switches"

[[slot]]
name = "honest"
form_factor = "4FF"
card = {{ driver = "bench-card" }}
power = {{ driver = "usb-hub", location = "1-1", port = 1, {TIMES} }}

[[slot]]
name = "lying"
form_factor = "4FF"
card = {{ driver = "bench-card" }}
power = {{ driver = "usb-hub", location = "1-1", port = 2, {TIMES} }}

[[slot]]
name = "sticky"
form_factor = "4FF"
card = {{ driver = "bench-card" }}
power = {{ driver = "relay-hid", serial = "BITFT", channel = 1, {TIMES} }}

[[slot]]
name = "welded"
form_factor = "4FF"
card = {{ driver = "bench-card" }}
power = {{ driver = "relay-hid", serial = "WELDS", channel = 1, {TIMES} }}
"""


@pytest.fixture
def rig(bench_drivers: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Put a reader into each socket and behind each relay."""
    sockets = {"honest": FakeSocket(), "lying": FakeSocket(lies=True)}
    both = {1: sockets["honest"], 2: sockets["lying"]}
    relays = {
        "sticky": usb_relay("1-2", sticky=frozenset({1})),
        "welded": usb_relay("1-3", board_serial="WELDS", sticky=frozenset({1}), honest=False),
    }
    bus = bus_of(usb2_hub("1-1", both), usb3_hub("2-1", both), *relays.values())
    monkeypatch.setattr(usb_hub, "driver", usb_hub.UsbHubDriver(bus, tmp_path))
    monkeypatch.setattr(hid, "driver", hid.HidRelayDriver(bus))
    real = bench_drivers.open_card

    def open_card(spec: Any, context: Any) -> Any:
        reader = real(spec, context)
        loop = asyncio.get_running_loop()

        def feed(on: bool) -> None:
            loop.call_soon_threadsafe(reader.power_on if on else reader.power_off)

        if context.slot in sockets:
            reader.power_on()
            sockets[context.slot].on_vbus = feed
        else:
            relays[context.slot].on_contact = lambda channel, closed: feed(closed)
        return reader

    bench_drivers.entries["bench-card"].open_card = open_card
    return SimpleNamespace(bus=bus, sockets=sockets, relays=relays)


def test_each_slot_ends_as_its_switch_deserves(rig: Any, tmp_path: Path) -> None:
    path = tmp_path / "rack.toml"
    path.write_text(RACK)
    rack = load_rack(path)
    scenario = registry.scenario("power_cycle")
    params = scenario.parse({"cut": "idle", "off_s": 0.0})
    result, _ = engine.run_scenario(rack, list(rack.slots), scenario, params, engine.RunOptions())
    found = {slot.slot: (slot.outcome, slot.steps) for slot in result.slots}
    assert [(step.name, step.detail) for step in found["honest"][1] if step.outcome is not Outcome.PASS] == []
    assert {name: outcome for name, (outcome, _) in found.items()} == {
        "honest": Outcome.PASS,
        "lying": Outcome.ERROR,
        "sticky": Outcome.ERROR,
        "welded": Outcome.ERROR,
    }
    why = {
        name: next(step for step in steps if step.outcome is Outcome.ERROR).detail
        for name, (_, steps) in found.items()
        if name != "honest"
    }
    assert "nothing proves that it is" in why["lying"]
    assert "a relay sticks" in why["sticky"]
    assert "nothing proves that it is" in why["welded"]
    # All devices were let go.
    assert [device.open_handles for device in rig.bus.enumerate_devices()] == [0, 0, 0, 0]
