"""Slots for work by hand, by a command or by the desk: alone on them, and (simulated) from where they were left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from esim_bench.agents.ipa import MemoryState
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.events import EventSink
from esim_bench.rack.device_store import device_state, rack_folder
from esim_bench.rack.locks import DeviceLocks, take
from esim_bench.rack.model import Rack, SlotSpec
from esim_bench.rack.opening import open_for_work
from esim_bench.rack.slot import Slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.state import SimState, load_state, save_state
from esim_bench.rack.world import World, is_own
from esim_bench.store.home import home

FACTORY_SEED: Final = "0"
"""Of simulated slots that no run has used yet."""
SIM_PATIENCE: Final = 30.0
"""Seconds that work by hand waits for other work by hand on the same simulated slot."""


def lock_simulated(rack: Rack, spec: SlotSpec, wait: float, note: str = "") -> DeviceLocks:
    """Keep other work by hand off a simulated slot: each goes on from the memory that the one before left.

    A real slot has its devices' locks: nothing is locked. Blocks for up to ``wait`` seconds; raises InUseError then.
    """
    if not spec.simulated:
        return DeviceLocks(())
    place = home() / "locks"
    place.mkdir(parents=True, exist_ok=True)
    return take(
        [f"simulated slot {spec.name} of {rack.path.resolve()}"],
        slot=spec.name,
        note=note,
        place=place,
        wait=wait,
    )


def remembered(rack: Rack, spec: SlotSpec) -> SimState | None:
    """Return a simulated slot as it was left; None for a new one, and for a real one. Raises ConfigError."""
    return load_state(rack, spec.name) if spec.simulated else None


async def open_by_hand(
    spec: SlotSpec,
    world: World,
    sink: EventSink,
    state: SimState | None,
    *,
    allow_destructive: bool = False,
    note: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> Slot:
    """Open a slot in a world of its seed, with what its card and its device have kept. Raises as ``open_for_work``."""
    slot = await open_for_work(
        spec,
        world,
        sink,
        state=state.nvm if state else None,
        allow_destructive=allow_destructive,
        note=note,
        tell=tell,
    )
    slot.flash = MemoryState(state.flash if state else {}) if spec.simulated else device_state(world.rack, spec.name)
    return slot


def keep(slot: Slot) -> None:
    """Remember a simulated slot as it is now; a real one keeps itself. Raises OSError."""
    if slot.hardware.snapshot is not None:
        save_state(slot.world.rack, slot.name, slot.sim_state())


async def close_by_hand(slot: Slot) -> None:
    """Close a slot, and remember it, whatever its closing says. Raises RigError, OSError."""
    try:
        await slot.close()
    finally:
        keep(slot)


def eim_folder(rack: Rack, seed: str) -> Path:
    """Return the folder in which the bench's own eIMs are kept from one work by hand to the next."""
    # Another seed is another world: its eIM has other keys. Racks with a PKI of their own have one eIM for good.
    which = "pki" if rack.pki_dir is not None else hashlib.sha256(seed.encode()).hexdigest()[:8]
    return home() / "eim" / rack_folder(rack) / which


def is_foreign(source: ProfileSource) -> bool:
    """Tell whether a profile comes from a server outside this process."""
    return source.activation_code is not None and not is_own(ActivationCode.parse(source.activation_code).address)
