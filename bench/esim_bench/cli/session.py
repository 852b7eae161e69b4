"""A slot for a command by hand: opened, started, used, and (simulated) remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from esim_bench.agents.ipa import MemoryState
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.events import EventSink, NullSink
from esim_bench.rack.device_store import device_state, rack_folder
from esim_bench.rack.model import Rack, load_rack
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.state import load_state, save_state
from esim_bench.rack.world import World, is_own
from esim_bench.scenario.engine import in_time
from esim_bench.store.home import home

T = TypeVar("T")

FACTORY_SEED = "0"


def on_slot(
    rack_name: str | None,
    slot_name: str,
    job: Callable[[Slot], Awaitable[T]],
    *,
    source: ProfileSource | None = None,
    tls_roots: Path | None = None,
    sink: EventSink | None = None,
    start: bool = True,
    allow_destructive: bool = False,
    real_time: bool = False,
    keep_eims: bool = False,
) -> T:
    """Do something on one slot. A simulated card goes on from where the last command left it.

    ``source``: where the job will download from; a foreign server makes simulated time real, as ``real_time`` does.
    ``keep_eims``: the eIM of this process goes on from the last such command.
    Raises ConfigError.
    """
    rack = load_rack(rack_name)
    spec = rack.one(slot_name)
    remembered = load_state(rack, spec.name) if spec.simulated else None
    world = World(rack, remembered.seed if remembered else FACTORY_SEED, tls_roots=tls_roots)
    real_time = real_time or (source is not None and is_foreign(source))

    simulated = spec.simulated

    async def session() -> T:
        state = remembered.nvm if remembered else None
        slot = open_slot(spec, world, sink or NullSink(), state=state, allow_destructive=allow_destructive)
        slot.flash = MemoryState(remembered.flash if remembered else {}) if simulated else device_state(rack, spec.name)
        try:
            if keep_eims:
                world.keep_eims(_eim_folder(rack, world.seed))
            if start:
                await slot.start()
            return await job(slot)
        finally:
            await slot.close()
            if slot.hardware.snapshot is not None:
                save_state(rack, spec.name, slot.sim_state())
            world.close()

    return in_time(rack, real_time, session())


def _eim_folder(rack: Rack, seed: str) -> Path:
    # Another seed is another world: its eIM has other keys. Racks with a PKI of their own have one eIM for good.
    which = "pki" if rack.pki_dir is not None else hashlib.sha256(seed.encode()).hexdigest()[:8]
    return home() / "eim" / rack_folder(rack) / which


def is_foreign(source: ProfileSource) -> bool:
    """Tell whether a profile comes from a server outside this process."""
    return source.activation_code is not None and not is_own(ActivationCode.parse(source.activation_code).address)
