"""One slot of the desk: opened by the first job that needs it, one job at a time, kept open for a while after the last.

A cut of the power waits for nobody: the job that is under way loses its device, and is told so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from esim_bench.codec.apdu import Command
from esim_bench.desk.api import Busy, DeskError, JournalOpened, SlotTrouble, Trouble
from esim_bench.desk.recorder import Recorder
from esim_bench.desk.tempo import Tempo
from esim_bench.desk.worlds import Worlds
from esim_bench.errors import (
    ApduRefusedError,
    DeviceTimeout,
    InUseError,
    RigError,
    TransportError,
)
from esim_bench.ports import CardPresence
from esim_bench.rack import by_hand
from esim_bench.rack.locks import DeviceLocks
from esim_bench.rack.model import Rack, SlotSpec
from esim_bench.rack.observing import trouble_of
from esim_bench.rack.safe_state import GRACE_SECONDS, PROBE_SECONDS, within
from esim_bench.rack.slot import Slot
from esim_bench.rack.world import World

T = TypeVar("T")
Job = Callable[[Slot], Awaitable[T]]

CURRENT: Final[ContextVar[str]] = ContextVar("slot", default="")
"""The slot that a task works for: who finds its task dead knows whose it was."""
IDLE_SECONDS: Final = 60.0
"""Real seconds after its last job after which a slot is released."""
SIM_IDLE_SECONDS: Final = 20.0
"""The same of a simulated one: less than a command by hand in another terminal waits for it."""
LOCK_SECONDS: Final = 5.0
"""How long one waits for a command by hand that has the simulated slot just now."""
SOON_SECONDS: Final = 5.0
"""How long a job may take to notice that its device has no power any more."""
_STATUS: Final = Command(0x80, 0xF2, 0x00, 0x0C)


class Need(Enum):
    """What a job wants of the slot before it begins."""

    NOTHING = 0
    POWER = 1
    """A device with power, which may still be booting."""
    CARD = 2
    """A card that was started."""


class Keeper:
    """One slot. ``tell``: hears the notices."""

    def __init__(
        self, rack: Rack, spec: SlotSpec, worlds: Worlds, tempo: Tempo, journal: Path, tell: Callable[[Any], None]
    ) -> None:
        self.spec = spec
        self.slot: Slot | None = None
        """While it is open."""
        self.dark = False
        """Its power was cut by hand: nobody gives it back but who is told to."""
        self.in_run: str | None = None
        """What is told of the run that has the slot now."""
        self.recorder = Recorder(
            spec, journal, lambda path: tell(JournalOpened(slot=spec.name, path=str(path))), self._journal_failed
        )
        self._rack = rack
        self._worlds = worlds
        self._tempo = tempo
        self._tell = tell
        self._turn = asyncio.Lock()
        self._job: asyncio.Task[Any] | None = None
        self._left: asyncio.Future[None] | None = None
        """Done when nobody waits for the job any more."""
        self._what = ""
        self._cut = False
        """The power is being cut, or was, under the job that runs."""
        self._cutting = asyncio.Lock()
        self._world: World | None = None
        self._locks = DeviceLocks(())
        self._started = False
        self._broken = False
        self._troubled = False
        self._journal_trouble: Trouble | None = None
        self._idle_since = time.monotonic()

    @property
    def name(self) -> str:
        """Return the slot's name."""
        return self.spec.name

    @property
    def busy(self) -> bool:
        """Tell whether a job runs or waits."""
        return self._turn.locked()

    @property
    def powered(self) -> bool:
        """Tell whether the slot has power, as far as is known: one that nobody works with has."""
        return not self.dark and not (self.slot is not None and self.recorder.off)

    # ----------------------------------------------------------------------------------------------------------- jobs

    async def work(
        self, what: str, job: Job[T], need: Need = Need.CARD, *, outside: bool = False, lights_up: bool = False
    ) -> T:
        """Do a job when all before it are done. Raises DeskError.

        ``outside``: a server that is not of this process takes part. ``lights_up``: also on a slot that was left dark.
        """
        self.refuse_in_run()
        async with self._turn:
            return await self._alone(what, job, need, outside=outside, lights_up=lights_up)

    async def _alone(self, what: str, job: Job[T], need: Need, *, outside: bool, lights_up: bool) -> T:
        self.refuse_in_run()
        if self.dark and not lights_up:
            raise DeskError(self._is_dark())
        self._cut, self._what = False, what
        self._tell(Busy(slot=self.name, what=what))
        task: asyncio.Task[T] = asyncio.create_task(self._do(job, need), name=f"{self.name}: {what}")
        self._job = task
        try:
            with self._tempo.work(outside=outside):
                await self._ended(task)
            if not task.done():
                # Its driver is deaf to everything: it is left behind, and the next job opens the devices anew.
                self._broken = True
                raise DeskError(self._cut_off())
            try:
                result = task.result()
            except asyncio.CancelledError:
                raise DeskError(self._cut_off() if self._cut else _given_up(what)) from None
            except Exception as exc:
                raise DeskError(await self._failed(exc)) from exc
            self._clear()
            return result
        finally:
            self._job = None
            self._remember()
            self._idle_since = time.monotonic()
            self._tell(Busy(slot=self.name, what=None))

    async def _ended(self, task: asyncio.Task[Any]) -> None:
        """Wait for a job, or until it is left behind. Who is cancelled meanwhile ends it."""
        self._left = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({task, self._left}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE_SECONDS)
            raise

    async def _do(self, job: Job[T], need: Need) -> T:
        CURRENT.set(self.name)
        self.recorder.begin()
        slot = await self.open()
        if need is Need.CARD and not (self._started and slot.powered):
            await slot.start()
            self._started = True
        elif need is Need.POWER and not slot.powered:
            await slot.restore_power()
        return await job(slot)

    def refuse_in_run(self) -> None:
        """Raise DeskError while a run has the slot."""
        if self.in_run is not None:
            raise DeskError(
                Trouble(
                    kind="InUseError",
                    what=f"slot {self.name} is in a run",
                    found=self.in_run,
                    hint="wait for its end, or abort it",
                )
            )

    def needs_start(self) -> None:
        """Have the next job start the card anew: this one may have reset it behind our back."""
        self._started = False

    # ---------------------------------------------------------------------------------------------- open and release

    async def open(self) -> Slot:
        """Open the slot, unless it is. Raises InUseError, ConfigError and what its drivers raise."""
        if self.slot is not None and self._broken:
            await self._close()
        if self.slot is not None:
            return self.slot
        self._locks = await self._lock_simulated()
        try:
            state = by_hand.remembered(self._rack, self.spec)
            self._world = self._worlds.enter(state.seed if state else by_hand.FACTORY_SEED)
            self.slot = await by_hand.open_by_hand(
                *(self.spec, self._world, self.recorder, state), note="the desk", tell=self.recorder.mark
            )
        except BaseException:
            self._let_go()
            raise
        self._started = self._broken = False
        return self.slot

    async def _lock_simulated(self) -> DeviceLocks:
        if not self.spec.simulated:
            return DeviceLocks(())
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return await asyncio.to_thread(by_hand.lock_simulated, self._rack, self.spec, 0.5, "the desk")
            except InUseError:
                if time.monotonic() >= end:
                    raise

    async def release(self) -> None:
        """Close the slot when no job is left. Raises DeskError when it could not be left as it should."""
        async with self._turn:
            await self._release()

    async def _release(self) -> None:
        if self.slot is None:
            return
        try:
            await self._close()
        except Exception as exc:
            trouble = Trouble.of(exc)
            self._trouble(trouble)
            raise DeskError(trouble) from exc

    async def _close(self) -> None:
        slot, self.slot = self.slot, None
        self._started = self._broken = False
        if slot is not None:
            try:
                # A simulated card was remembered after its last job; a run of somebody else may have used it since.
                await slot.close()
            finally:
                self._let_go()

    def _remember(self) -> None:
        """Keep a simulated card as it is now: whatever becomes of this process, the next one goes on from it."""
        if self.slot is not None:
            try:
                by_hand.keep(self.slot)
            except OSError as exc:
                hint = "make room in ESIM_BENCH_HOME: the simulated card forgets what was done since"
                self._trouble(Trouble.of(exc).model_copy(update={"hint": hint}))

    def _let_go(self) -> None:
        self._locks.release()
        world, self._world = self._world, None
        if world is not None:
            self._worlds.leave(world)

    async def end(self) -> None:
        """Give up what runs, leave the slot in its safe state, close its journal; never raises."""
        job = self._job
        if job is not None:
            job.cancel()
            await asyncio.wait({job}, timeout=GRACE_SECONDS)
        with suppress(DeskError):
            await self._release()
        self.recorder.close()

    # -------------------------------------------------------------------------------------------------------- failure

    async def _failed(self, exc: Exception) -> Trouble:
        """Return what is told of a job that failed, and see what its failure means for the slot."""
        if self._cut:
            return self._cut_off(exc)
        slot, trouble = self.slot, Trouble.of(exc)
        if slot is None or isinstance(exc, RigError):
            # Whoever has the slot just now is no trouble of the slot.
            if slot is not None or not isinstance(exc, InUseError):
                self._trouble(trouble)
        elif _of_the_link(exc) and not (self._started and await self._alive(slot)):
            self._trouble(trouble)
            slot.timed_out = isinstance(exc, DeviceTimeout)
            self._broken = True
        if trouble.kind == "crash" or isinstance(exc, RigError):
            self._broken = True
        if self._broken and self.slot is not None:
            self._remember()
            # What broke its link stays with the next job otherwise: that one begins with devices opened anew.
            with suppress(DeskError):
                await self._release()
        return trouble

    async def _alive(self, slot: Slot) -> bool:
        """Ask the card for a sign of life: what failed may have been a server, or one command."""
        if not slot.powered:
            return False
        try:
            await within(PROBE_SECONDS, slot.card.command(_STATUS), "no answer to STATUS")
        except Exception:
            return False
        return True

    def _trouble(self, trouble: Trouble) -> None:
        self._troubled = True
        self._tell(SlotTrouble(slot=self.name, trouble=trouble))

    def _clear(self) -> None:
        if self._troubled:
            self._troubled = False
            self._tell(SlotTrouble(slot=self.name, trouble=self._journal_trouble))

    def _journal_failed(self, trouble: Trouble | None) -> None:
        self._journal_trouble = trouble
        self._tell(SlotTrouble(slot=self.name, trouble=trouble))

    def _cut_off(self, exc: BaseException | None = None) -> Trouble:
        return Trouble(
            kind="PowerCut",
            what=f"the power was cut during: {self._what}",
            found="" if exc is None else str(exc),
            where=self.name,
            hint="power it on, then see which profiles and notifications there are",
        )

    def _is_dark(self) -> Trouble:
        return Trouble(
            kind="PowerError", what="the slot was left without power", where=self.name, hint="power it on first"
        )

    # ---------------------------------------------------------------------------------------------------------- power

    async def power_off(self) -> None:
        """Cut the power, cold, at once: a job that runs loses its device. Raises DeskError."""
        self.refuse_in_run()
        self._need_switch()
        async with self._cutting:
            self.dark = True
            try:
                await self._power_off()
            except Exception as exc:
                # Nobody knows what it is now: what comes next finds out.
                self.dark = False
                if isinstance(exc, DeskError):
                    raise
                trouble = Trouble.of(exc)
                self._trouble(trouble)
                raise DeskError(trouble) from exc

    def _need_switch(self) -> None:
        """Raise DeskError where nothing can switch the power: then a job that runs is left in peace."""
        if self.spec.power is None and not self.spec.simulated:
            raise DeskError(
                Trouble(
                    kind="ConfigError",
                    what="this slot's power cannot be switched",
                    expected="a power table in the rack file",
                    where=self.name,
                )
            )

    async def _power_off(self) -> None:
        job, slot = self._job, self.slot
        if job is not None and slot is not None and slot.powered:
            self._cut = True
            self.recorder.mark(f"power cut by hand during: {self._what}")
            with self._tempo.work():
                try:
                    await slot.cut()
                    slot.leave_dark()
                finally:
                    self._started = False
                    await self._give_up(job)
            self._remember()
            return
        if job is not None:
            self._cut = True
            await self._give_up(job, 0.0)
        async with self._turn:
            await self._alone("power off", self._go_dark, Need.NOTHING, outside=False, lights_up=True)

    async def _give_up(self, job: asyncio.Task[Any], patience: float = SOON_SECONDS) -> None:
        """Wait for a job that lost its device; then cancel it; then leave it behind."""
        await asyncio.wait({job}, timeout=patience)
        if not job.done():
            job.cancel()
            await asyncio.wait({job}, timeout=GRACE_SECONDS)
        if not job.done() and self._left is not None and not self._left.done():
            self._left.set_result(None)

    async def _go_dark(self, slot: Slot) -> None:
        if slot.stays_dark and not slot.powered:
            return
        if self.spec.simulated and not slot.powered:
            await slot.restore_power()
        self._started = False
        await slot.cut()
        slot.leave_dark()

    async def power_on(self) -> None:
        """Give the power back, and start the card. Raises DeskError."""

        async def job(slot: Slot) -> None:
            self.dark = slot.stays_dark = False
            await slot.start()
            self._started = True

        async with self._cutting:
            pass  # a cut that is under way comes first
        await self.work("power on", job, Need.NOTHING, lights_up=True)

    async def power_cycle(self, seconds: float) -> None:
        """Cut the power, wait, start again. Raises DeskError."""

        async def job(slot: Slot) -> None:
            if self.spec.simulated and not slot.powered:
                await slot.restore_power()
            self._started = self.dark = slot.stays_dark = False
            await slot.cut()
            self.recorder.mark(f"without power for {seconds:g} s")
            await asyncio.sleep(seconds)
            await slot.start()
            self._started = True

        self._need_switch()
        async with self._cutting:
            pass
        await self.work(f"power cycle, {seconds:g} s", job, Need.NOTHING, lights_up=True)

    # ----------------------------------------------------------------------------------------------------------- looks

    async def look(self) -> None:
        """Look after a slot that nobody works with just now: whether it is still there, and long enough idle."""
        if self.busy or self.slot is None:
            return
        async with self._turn:
            patience = SIM_IDLE_SECONDS if self.spec.simulated else IDLE_SECONDS
            if time.monotonic() - self._idle_since >= patience:
                with suppress(DeskError):
                    await self._release()
            elif self.slot is not None and not self._broken:
                trouble = await self._lost(self.slot)
                if trouble is not None:
                    self.broke(trouble)

    async def _lost(self, slot: Slot) -> Trouble | None:
        """Return what was lost of an idle slot; None when all is there."""
        try:
            if slot.locks is not None:
                slot.locks.check()
            observer = trouble_of(slot.hardware.observers)
            if observer is not None:
                raise observer
            reader = slot.link if slot.powered and self._started and isinstance(slot.link, CardPresence) else None
            if reader is not None and not await within(PROBE_SECONDS, reader.present(), "the reader does not answer"):
                hint = "put it back, then try again"
                raise TransportError("the card is gone", expected="a card in its reader", hint=hint)
        except Exception as exc:
            trouble = Trouble.of(exc)
            return trouble.model_copy(update={"where": trouble.where or self.name})
        return None

    def broke(self, trouble: Trouble) -> None:
        """Take it that something of the open slot broke: it is told, and the next job opens it anew."""
        self._broken = True
        self._trouble(trouble)


def _of_the_link(exc: Exception) -> bool:
    return isinstance(exc, TransportError | DeviceTimeout) and not isinstance(exc, ApduRefusedError)


def _given_up(what: str) -> Trouble:
    return Trouble(kind="Aborted", what=f"given up: {what}", hint="the desk ends")
