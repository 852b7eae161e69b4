"""Looks at a rack file beyond its grammar: does everything that it names exist, and what is known of each slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from esim_bench import tomlfile
from esim_bench.errors import BenchError, ConfigError
from esim_bench.events import NullSink
from esim_bench.ports import load_driver
from esim_bench.rack.devices import devices
from esim_bench.rack.model import Rack, SlotSpec
from esim_bench.rack.observing import open_observer
from esim_bench.rack.parts import context_of
from esim_bench.rack.power_plan import check_power
from esim_bench.rack.reservations import in_words
from esim_bench.rack.slot import open_slot
from esim_bench.rack.state import load_state
from esim_bench.rack.world import World, factory_profile


def check(rack: Rack, slots: Sequence[SlotSpec] | None = None) -> None:
    """Check that every driver, profile and personality of a rack (or of some of its slots) exists.

    Nothing is touched: real devices are neither opened nor looked for. Raises ConfigError with all complaints.
    """
    complaints: list[str] = []
    text = tomlfile.load(rack.path, "rack file")[1]
    world = World(rack, "check")
    for index, slot in enumerate(rack.slots):
        if slots is not None and slot not in slots:
            continue
        try:
            for part in (slot.card, slot.modem, slot.power):
                if part is not None:
                    load_driver(part.driver)
            for observed in slot.observe:
                open_observer(observed, context_of(slot, world, NullSink()))
            if slot.power is not None:
                check_power(slot, slot.power, context_of(slot, world, NullSink()))
            if slot.sim is not None:
                if slot.sim.profile is not None:
                    factory_profile(slot.sim.profile)
                open_slot(slot, world, NullSink())
        except BenchError as exc:
            line = tomlfile.line_of(text, ["slot", index, "name"])
            complaints.append(f"{rack.path}:{line}: slot {slot.name}: {exc}")
    if complaints:
        raise ConfigError("\n".join(complaints))


def describe(rack: Rack, slot: SlotSpec) -> dict[str, Any]:
    """Return what is known of a slot without touching it, as JSON values."""
    if slot.sim is not None:
        way = f"simulated {slot.sim.personality}"
        power = "simulated"
        state = "used" if load_state(rack, slot.name) else "as from the factory"
    else:
        table = slot.card or slot.modem
        way = table.driver if table else "-"
        power = slot.power.driver if slot.power else "not switched"
        state = in_words(devices(slot)) or "free, not looked at"
    return {
        "slot": slot.name,
        "form_factor": slot.form_factor.value,
        "module": slot.module,
        "card": way,
        "power": power,
        "protected": slot.protected,
        "simulated": slot.simulated,
        "state": state,
    }
