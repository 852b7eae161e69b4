"""Opens slots for work, the one way in for runs and for commands by hand.

A real slot is locked first, and what a killed process left dark is powered again; from then on every exchange asks
whether the lock is still ours. A simulated slot has no device to lock.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from esim_bench.errors import RigError
from esim_bench.events import EventSink, NullSink
from esim_bench.ports import SlotHardware
from esim_bench.rack import safe_state
from esim_bench.rack.devices import devices
from esim_bench.rack.locks import DeviceLocks, take
from esim_bench.rack.model import Rack, SlotSpec
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.world import World

_ASKING: Final = {"card": ("connect", "reset", "exchange", "open_session"), "modem": ("command", "wait_ready")}


def _silent(text: str) -> None:
    pass


async def open_for_work(
    spec: SlotSpec,
    world: World,
    sink: EventSink,
    *,
    state: bytes | None = None,
    allow_destructive: bool = False,
    run: str | None = None,
    note: str = "",
    tell: Callable[[str], None] = _silent,
) -> Slot:
    """Open a slot as ``open_slot`` does, holding the locks of its devices until ``Slot.close``.

    ``run``, ``note``: what others read of us; ``tell``: hears what an operator should know (a stale lock, a slot that
    was left dark). Raises InUseError that names the holder, ConfigError.
    """
    if spec.simulated:
        return open_slot(spec, world, sink, state=state, allow_destructive=allow_destructive)
    said: list[str] = []

    def remember(text: str) -> None:
        said.append(text)
        tell(text)

    await safe_state.restore(remember, _open_alone)
    locks = take(devices(spec), slot=spec.name, run=run, note=note)
    try:
        slot = open_slot(spec, world, sink, allow_destructive=allow_destructive)
        _ask_first(slot.hardware, locks)
    except BaseException:
        locks.release()
        raise
    slot.locks = locks
    slot.run = run
    for text in locks.stale:
        remember(f"a stale lock was taken over: {text}")
    for text in said:
        slot.mark(text)
    return slot


def _open_alone(spec: SlotSpec, rack: Rack) -> Slot:
    return open_slot(spec, World(rack, "0"), NullSink())


def _ask_first(hardware: SlotHardware, locks: DeviceLocks) -> None:
    """Have the links ask whether the locks are still ours before anything goes out.

    It is done on the objects themselves, so a driver's links must take attributes: what else a link can do, others find
    out by looking at its class, and a wrapper would hide that. Raises RigError for one that does not.
    """
    for part, names in _ASKING.items():
        link = getattr(hardware, part)
        try:
            for name in names if link is not None else ():
                setattr(link, name, _asking(getattr(link, name), locks))
        except AttributeError as exc:
            raise RigError(
                f"the driver's {part} link cannot be watched",
                expected=f"an object with {', '.join(names)} that takes attributes (no __slots__)",
                found=str(exc),
            ) from exc


def _asking(function: Callable[..., Any], locks: DeviceLocks) -> Callable[..., Any]:
    @wraps(function)
    async def asking(*args: Any, **kwargs: Any) -> Any:
        locks.check()
        return await function(*args, **kwargs)

    return asking
