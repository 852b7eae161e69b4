"""A slot for a command by hand: opened, started, used, and (simulated) remembered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from esim_bench.cli.common import note
from esim_bench.cli.signals import terminated_as_interrupted
from esim_bench.errors import DeviceTimeout, InUseError
from esim_bench.events import EventSink, NullSink
from esim_bench.rack.by_hand import (
    FACTORY_SEED,
    SIM_PATIENCE,
    close_by_hand,
    eim_folder,
    is_foreign,
    lock_simulated,
    open_by_hand,
    remembered,
)
from esim_bench.rack.model import Rack, SlotSpec, load_rack
from esim_bench.rack.slot import Slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.world import World
from esim_bench.scenario.engine import in_time

T = TypeVar("T")


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
    state = remembered(rack, spec)
    world = World(rack, state.seed if state else FACTORY_SEED, tls_roots=tls_roots)
    real_time = real_time or (source is not None and is_foreign(source))

    async def session() -> T:
        slot = await open_by_hand(
            *(spec, world, sink, state),
            allow_destructive=allow_destructive,
            tell=lambda text: note(f"note: {text}"),
        )
        try:
            if keep_eims:
                world.keep_eims(eim_folder(rack, world.seed))
            if start:
                await slot.start()
            result = await job(slot)
        except BaseException as exc:
            slot.timed_out = isinstance(exc, DeviceTimeout)
            try:
                await close_by_hand(slot)
            except Exception as trouble:
                # The first error is what the command ends with.
                note(f"error: {trouble}")
            raise
        else:
            await close_by_hand(slot)
            return result
        finally:
            world.close()

    return in_time(rack, real_time, session())


@contextmanager
def alone(rack: Rack, spec: SlotSpec) -> Iterator[None]:
    """Keep other commands by hand off a simulated slot: each goes on from the memory that the one before left.

    A real slot has its devices' locks. Raises InUseError after a while.
    """
    try:
        locks = lock_simulated(rack, spec, wait=1.0)
    except InUseError as exc:
        note(f"waiting: {exc}")
        locks = lock_simulated(rack, spec, wait=SIM_PATIENCE)
    try:
        yield
    finally:
        locks.release()
