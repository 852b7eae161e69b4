"""How a real slot is left, however its work ended: with power, its channels closed, nothing open; in bounded time.

Before a slot is cut, a file says so; it goes when the power is back. What a killed process left dark the next start
finds by these files, and powers again before it does anything else.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from esim_bench import clock
from esim_bench.codec.apdu import Command
from esim_bench.errors import BenchError, DeviceTimeout, InUseError, RigError
from esim_bench.rack import interrupts
from esim_bench.rack.device_store import rack_folder
from esim_bench.rack.devices import devices
from esim_bench.rack.holder import Holder
from esim_bench.rack.locks import take
from esim_bench.rack.model import Rack, RackFile, RackHead, SlotSpec
from esim_bench.store.files import write_whole
from esim_bench.store.home import home

if TYPE_CHECKING:
    from esim_bench.rack.slot import Slot

T = TypeVar("T")

CLOSE_SECONDS: Final = 10.0
"""Longest for anything that lets go: a channel, a port, an observer."""
POWER_SECONDS: Final = 180.0
"""Longest for the power to come back: least times and an orderly power-down included."""
PROBE_SECONDS: Final = 5.0
GRACE_SECONDS: Final = 5.0
"""How long one waits for what was cancelled, before it is left behind."""
_STATUS: Final = Command(0x80, 0xF2, 0x00, 0x0C)


# --------------------------------------------------------------------------------------------------------------- limits


async def yielding(job: Coroutine[Any, Any, T]) -> T:
    """Await a job that may not end when it is cancelled: then it is left behind after a while."""
    task = asyncio.ensure_future(job)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await _abandon(task, GRACE_SECONDS)
        raise
    return task.result()


async def within(seconds: float, job: Awaitable[T], what: str) -> T:
    """Await a job for so long. Raises DeviceTimeout; a job that ignores its cancellation is left behind."""
    task = asyncio.ensure_future(job)
    if isinstance(task, asyncio.Task) and clock.is_protected(asyncio.current_task()):
        clock.protect(task)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _abandon(task, GRACE_SECONDS)
        raise
    if not done:
        await _abandon(task, min(seconds, GRACE_SECONDS))
        raise DeviceTimeout(what, expected=f"its end within {seconds:g} s", found="nothing")
    return task.result()


async def _abandon(task: asyncio.Future[Any], grace: float) -> None:
    task.cancel()
    clock.give_up(task)
    task.add_done_callback(lambda ended: None if ended.cancelled() else ended.exception())
    with suppress(asyncio.CancelledError):
        await asyncio.wait({task}, timeout=grace)


async def undisturbed(job: Coroutine[Any, Any, T]) -> T:
    """Await a job to its end, although this task is cancelled meanwhile; the cancellation comes afterwards."""
    task = asyncio.create_task(job)
    clock.protect(task)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()


# -------------------------------------------------------------------------------------------------------------- leaving


async def leave(slot: Slot) -> None:
    """Bring a real slot into its safe state and let go of it. Raises RigError that tells all that did not work."""
    with interrupts.held():
        await undisturbed(_leave(slot))


async def _leave(slot: Slot) -> None:
    troubles: list[str] = []

    async def attempt(what: str, job: Awaitable[object], seconds: float = CLOSE_SECONDS) -> bool:
        try:
            await within(seconds, job, "no end")
        except Exception as exc:
            troubles.append(f"{what}: {exc if isinstance(exc, BenchError) else f'{type(exc).__name__}: {exc}'}")
            return False
        return True

    try:
        ours = slot.locks is None or slot.locks.intact
        if ours:
            # Somebody else's device is no more ours to close channels of, or to power.
            await _rest(slot, attempt)
        await attempt("connections to servers do not close", slot._hang_up())
        for observer in slot.hardware.observers:
            await attempt("an observer does not stop", observer.stop())
        await attempt("the card's link does not close", slot.link.close())
        if slot.modem is not None:
            await attempt("the modem's port does not close", slot.modem.close())
        await attempt("the power switch does not close", slot.hardware.power.close())
        if not ours:
            slot.mark("somebody else has taken the slot: it is left as it is")
    finally:
        if slot.locks is not None:
            slot.locks.release()
    if troubles:
        raise RigError(
            "the slot could not be left as it should: " + "; ".join(troubles),
            hint="look at its power and its ports before the next run",
        )


async def _rest(slot: Slot, attempt: Callable[..., Awaitable[bool]]) -> None:
    stuck = slot.timed_out and slot.powered and not await _answers(slot)
    if stuck:
        if slot.spec.power is None:
            slot.mark("the device is stuck, and nothing of this slot can cut its power")
        else:
            slot.mark("the device is stuck: its power is cut, and restored")
            # Told below where it comes to nothing: then the slot is dark.
            await attempt("the stuck device's power cannot be cut", slot.cut(), POWER_SECONDS)
    elif slot.powered:
        try:
            await within(CLOSE_SECONDS, slot.card.close_isd_r(), "closing the ISD-R's channel")
        except Exception as exc:  # what broke the link was told when it broke
            slot.mark(f"the ISD-R's channel could not be closed: {exc}")
    if (
        slot.dark
        and not slot.stays_dark
        and await attempt("the power does not come back", slot.restore_power(), POWER_SECONDS)
    ):
        slot.mark("power restored")


async def _answers(slot: Slot) -> bool:
    """Ask for a sign of life: what timed out may have been a server, or one command."""
    try:
        if slot.modem is not None:
            await within(PROBE_SECONDS, slot.modem.command("AT", PROBE_SECONDS), "no answer to AT")
        else:
            await within(PROBE_SECONDS, slot.card.command(_STATUS), "no answer to STATUS")
    except Exception:
        return False
    return True


# ----------------------------------------------------------------------------------------------------------- the files


@dataclass(frozen=True, slots=True)
class DarkSlot:
    """A slot whose power was cut by a process that has not said that it is back."""

    rack: str
    file: str
    slot: SlotSpec
    holder: Holder

    @classmethod
    def parse(cls, text: bytes) -> DarkSlot | None:
        """Read a file; None where it is nothing of ours."""
        try:
            document = json.loads(text)
            holder = Holder.parse(json.dumps(document["holder"]).encode())
            spec = SlotSpec.model_validate(document["slot"])
            return None if holder is None else cls(str(document["rack"]), str(document["file"]), spec, holder)
        except (ValueError, TypeError, KeyError):
            return None


def _folder() -> Path:
    return home() / "dark"


def record(rack: Rack, spec: SlotSpec, run: str | None) -> Path:
    """Write down that a slot is about to lose its power. Raises RigError where that cannot be written."""
    path = _folder() / f"{rack_folder(rack)}-{spec.name}.json"
    document = {
        "rack": rack.name,
        "file": str(rack.path.absolute()),
        "slot": spec.model_dump(mode="json", exclude_none=True),
        "holder": Holder.here(spec.name, slot=spec.name, run=run).document(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(document, indent=1))
    except OSError as exc:
        hint = "without this file nobody would find the slot dark after a crash, so it is not cut"
        raise RigError("cannot note that the slot is cut", where=str(path), found=exc.strerror, hint=hint) from exc
    return path


def dark_slots() -> list[tuple[Path, DarkSlot]]:
    """Return what is on record of slots without power, their processes living or not."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            entry = DarkSlot.parse(path.read_bytes())
        except OSError:
            continue
        if entry is not None:
            found.append((path, entry))
    return found


async def restore(tell: Callable[[str], None], open_slot: Callable[[SlotSpec, Rack], Slot]) -> None:
    """Power the slots again that dead processes left without; what is done, or not, is told. Never raises BenchError.

    A slot whose device somebody holds is left to them: they power it when they start it.
    """
    if not _folder().is_dir():
        return
    for path, entry in dark_slots():
        if entry.holder.pid == os.getpid() or not (entry.holder.gone or not entry.holder.same_machine):
            continue
        name = f"slot {entry.slot.name} of rack {entry.rack}"
        try:
            locks = take(devices(entry.slot), slot=entry.slot.name, note="restoring its power")
        except InUseError:
            continue
        except BenchError as exc:
            tell(f"{name} may be without power: {exc}")
            continue
        try:
            rack = Rack(Path(entry.file), RackFile(rack=RackHead(name=entry.rack), slot=[entry.slot]))
            slot = open_slot(entry.slot, rack)
            try:
                await within(POWER_SECONDS, slot.hardware.power.on(), "its power does not come back")
            finally:
                links = (slot.link, slot.modem, slot.hardware.power)
                for close in [link.close for link in links if link is not None]:
                    with suppress(Exception):
                        await within(CLOSE_SECONDS, close(), "no end")
        except (BenchError, OSError) as exc:
            tell(f"{name} was left without power by {entry.holder}, and cannot be powered again: {exc}")
        else:
            path.unlink(missing_ok=True)
            tell(f"{name} was left without power by {entry.holder}: it has power again")
        finally:
            locks.release()
