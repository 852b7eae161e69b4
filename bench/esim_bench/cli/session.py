"""A slot for a command by hand: opened, started, used, and (simulated) remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from esim_bench.agents.ipa import MemoryState
from esim_bench.cli.common import note
from esim_bench.cli.signals import terminated_as_interrupted
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.errors import DeviceTimeout, InUseError
from esim_bench.events import EventSink, NullSink
from esim_bench.rack.device_store import device_state, rack_folder
from esim_bench.rack.locks import take
from esim_bench.rack.model import Rack, SlotSpec, load_rack
from esim_bench.rack.opening import open_for_work
from esim_bench.rack.slot import Slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.state import load_state, save_state
from esim_bench.rack.world import World, is_own
from esim_bench.scenario.engine import in_time
from esim_bench.store.home import home

T = TypeVar("T")

FACTORY_SEED = "0"
SIM_PATIENCE = 30.0
"""Seconds that a command waits for another one on the same simulated slot."""


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
    """Do something on one slot, alone. A simulated card goes on from where the last command left it.

    ``source``: where the job will download from; a foreign server makes simulated time real, as ``real_time`` does.
    ``keep_eims``: the eIM of this process goes on from the last such command.
    A real slot is left in its safe state, whatever ends the job. Raises ConfigError, InUseError.
    """
    rack = load_rack(rack_name)
    spec = rack.one(slot_name)
    with alone(rack, spec), terminated_as_interrupted():
        return _on_slot(
            *(rack, spec, job),
            source=source,
            tls_roots=tls_roots,
            sink=sink or NullSink(),
            start=start,
            allow_destructive=allow_destructive,
            real_time=real_time,
            keep_eims=keep_eims,
        )


def _on_slot(
    rack: Rack,
    spec: SlotSpec,
    job: Callable[[Slot], Awaitable[T]],
    *,
    source: ProfileSource | None,
    tls_roots: Path | None,
    sink: EventSink,
    start: bool,
    allow_destructive: bool,
    real_time: bool,
    keep_eims: bool,
) -> T:
    remembered = load_state(rack, spec.name) if spec.simulated else None
    world = World(rack, remembered.seed if remembered else FACTORY_SEED, tls_roots=tls_roots)
    real_time = real_time or (source is not None and is_foreign(source))

    simulated = spec.simulated

    async def session() -> T:
        state = remembered.nvm if remembered else None
        slot = await open_for_work(
            spec, world, sink, state=state, allow_destructive=allow_destructive, tell=lambda text: note(f"note: {text}")
        )
        slot.flash = MemoryState(remembered.flash if remembered else {}) if simulated else device_state(rack, spec.name)
        try:
            if keep_eims:
                world.keep_eims(_eim_folder(rack, world.seed))
            if start:
                await slot.start()
            result = await job(slot)
        except BaseException as exc:
            slot.timed_out = isinstance(exc, DeviceTimeout)
            try:
                await close(slot)
            except Exception as trouble:
                # The first error is what the command ends with.
                note(f"error: {trouble}")
            raise
        else:
            await close(slot)
            return result
        finally:
            world.close()

    async def close(slot: Slot) -> None:
        try:
            await slot.close()
        finally:
            if slot.hardware.snapshot is not None:
                save_state(rack, spec.name, slot.sim_state())

    return in_time(rack, real_time, session())


@contextmanager
def alone(rack: Rack, spec: SlotSpec) -> Iterator[None]:
    """Keep other commands by hand off a simulated slot: each goes on from the memory that the one before left.

    A real slot has its devices' locks. Raises InUseError after a while.
    """
    if not spec.simulated:
        yield
        return
    place = home() / "locks"
    place.mkdir(parents=True, exist_ok=True)
    names = [f"simulated slot {spec.name} of {rack.path.resolve()}"]
    try:
        locks = take(names, slot=spec.name, place=place, wait=1.0)
    except InUseError as exc:
        note(f"waiting: {exc}")
        locks = take(names, slot=spec.name, place=place, wait=SIM_PATIENCE)
    try:
        yield
    finally:
        locks.release()


def _eim_folder(rack: Rack, seed: str) -> Path:
    # Another seed is another world: its eIM has other keys. Racks with a PKI of their own have one eIM for good.
    which = "pki" if rack.pki_dir is not None else hashlib.sha256(seed.encode()).hexdigest()[:8]
    return home() / "eim" / rack_folder(rack) / which


def is_foreign(source: ProfileSource) -> bool:
    """Tell whether a profile comes from a server outside this process."""
    return source.activation_code is not None and not is_own(ActivationCode.parse(source.activation_code).address)
