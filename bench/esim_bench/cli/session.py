"""A slot for a command by hand: opened, started, used, and (simulated) remembered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from esim_bench.codec.activation_code import ActivationCode
from esim_bench.events import EventSink, NullSink
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.state import SimState, load_state, save_state
from esim_bench.rack.world import World, is_own
from esim_bench.scenario.engine import in_time

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
) -> T:
    """Do something on one slot. A simulated card goes on from where the last command left it.

    ``source``: where the job will download from; a foreign server makes simulated time real, as ``real_time`` does.
    Raises ConfigError.
    """
    rack = load_rack(rack_name)
    spec = rack.one(slot_name)
    remembered = load_state(rack, spec.name) if spec.simulated else None
    world = World(rack, remembered.seed if remembered else FACTORY_SEED, tls_roots=tls_roots)
    real_time = real_time or (source is not None and is_foreign(source))

    async def session() -> T:
        state = remembered.nvm if remembered else None
        slot = open_slot(spec, world, sink or NullSink(), state=state, allow_destructive=allow_destructive)
        try:
            if start:
                await slot.start()
            return await job(slot)
        finally:
            await slot.close()
            if slot.hardware.snapshot is not None:
                save_state(rack, spec.name, SimState(world.seed, slot.hardware.snapshot()))

    return in_time(rack, real_time, session())


def is_foreign(source: ProfileSource) -> bool:
    """Tell whether a profile comes from a server outside this process."""
    return source.activation_code is not None and not is_own(ActivationCode.parse(source.activation_code).address)
