"""Tells rig from device: goes up a slot part by part, with a card in it that is known to be good.

A part that fails with the known-good card in place is the rig's fault; where no card is known to be good, or another
one is in place, what the card does is not the rig's word, and the device is suspect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from esim_bench import clock, data
from esim_bench.errors import BenchError, ConfigError, DeviceError, InUseError, PowerError
from esim_bench.events import EventSink, NullSink
from esim_bench.ports import ModemLink
from esim_bench.rack.model import KnownGood, Rack, SlotSpec
from esim_bench.rack.opening import open_for_work
from esim_bench.rack.safe_state import within
from esim_bench.rack.slot import Slot
from esim_bench.rack.state import load_state
from esim_bench.rack.world import World

PART_SECONDS: Final = 300.0
"""Longest for one part: a module may take a minute to boot, and another one to power down."""
CYCLES: Final = 3
_BOOT_SECONDS, _AT_SECONDS = 60.0, 5.0


class Verdict(Enum):
    """What a part of the self-test says."""

    OK = "rig ok"
    BROKEN = "rig broken"
    SUSPECT = "device suspect"
    SKIPPED = "not tested"


_SEVERITY: Final = (Verdict.SKIPPED, Verdict.OK, Verdict.SUSPECT, Verdict.BROKEN)


@dataclass(slots=True)
class Part:
    """One part of a slot, and what was found."""

    name: str
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """Return the part as JSON values."""
        return {
            "part": self.name,
            "verdict": self.verdict.value,
            "detail": self.detail,
            "seconds": round(self.seconds, 6),
        }


@dataclass(slots=True)
class SelfTest:
    """What the self-test found of a slot."""

    slot: str
    form_factor: str
    parts: list[Part] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """Return the worst of the parts."""
        return max((part.verdict for part in self.parts), key=_SEVERITY.index, default=Verdict.SKIPPED)

    def document(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "slot": self.slot,
            "form_factor": self.form_factor,
            "verdict": self.verdict.value,
            "parts": [part.document() for part in self.parts],
        }


class _Over(Exception):
    """A part failed: what is above it cannot be tested."""


async def self_test(
    rack: Rack,
    specs: list[SlotSpec],
    *,
    cycles: int = CYCLES,
    tell: Callable[[str], None] = lambda text: None,
    sink: EventSink | None = None,
) -> list[SelfTest]:
    """Test slots at the same time. Nothing is written to a card; the slots are left in their safe state."""
    results = [SelfTest(spec.name, spec.form_factor.value) for spec in specs]
    async with asyncio.TaskGroup() as group:
        for spec, result in zip(specs, results, strict=True):
            test = _Test(rack, spec, result, cycles, tell, sink or NullSink())
            group.create_task(test.run(), name=spec.name)
    return results


class _Test:
    def __init__(
        self, rack: Rack, spec: SlotSpec, result: SelfTest, cycles: int, tell: Callable[[str], None], sink: EventSink
    ) -> None:
        self._rack = rack
        self._spec = spec
        self._result = result
        self._cycles = cycles
        self._tell = tell
        self._sink = sink
        # The bench's good card can be put into slots only that a person can put a card into.
        self._good: KnownGood | None = spec.known_good or (rack.head.known_good if spec.form_factor.removable else None)
        self._atr = b""
        self._identity: dict[str, str | None] = {}
        numbers = {"EID": self._good.eid, "ICCID": self._good.iccid} if self._good is not None else {}
        self._numbers = {name: number for name, number in numbers.items() if number is not None}

    @property
    def _card_verdict(self) -> Verdict:
        return Verdict.BROKEN if self._good is not None else Verdict.SUSPECT

    async def run(self) -> None:
        slot: Slot | None = None
        try:
            async with self._part("open", Verdict.BROKEN) as part:
                slot = await self._open()
                part.detail = "the drivers take the rack file" + (
                    "" if self._spec.simulated else ", the locks are ours"
                )
            assert slot is not None
            await self._go_up(slot)
        except _Over:
            pass
        finally:
            if slot is not None:
                try:
                    await slot.close()
                except BenchError as exc:
                    self._result.parts.append(Part("safe state", Verdict.BROKEN, str(exc)))

    async def _open(self) -> Slot:
        spec = self._spec
        remembered = load_state(self._rack, spec.name) if spec.simulated else None
        world = World(self._rack, remembered.seed if remembered else "0")
        state = remembered.nvm if remembered else None
        return await open_for_work(spec, world, self._sink, state=state, note="self-test", tell=self._tell)

    async def _go_up(self, slot: Slot) -> None:
        async with self._part("power on", Verdict.BROKEN) as part:
            await self._limited(slot.restore_power())
            part.detail = "on" if self._switched else "not switched: always on"
        if slot.modem is not None:
            async with self._part("modem", Verdict.BROKEN) as part:
                await self._limited(self._boot(slot, slot.modem))
                part.detail = " ".join(slot.record.modem.values()) or "it answers, and does not say who it is"
        # With a card that is known to be good, no ATR means contacts, reader or module.
        async with self._part("card", self._card_verdict) as part:
            await self._limited(slot.start())
            self._atr = slot.card.atr
            part.detail = f"ATR {self._atr.hex().upper()}" if self._atr else "the module has its SIM"
        async with self._part("identity", self._card_verdict) as part:
            self._identity = await self._limited(self._identify(slot))
            self._hold_against_the_good_one(part)
        if self._switched:
            async with self._part("power cycles", Verdict.BROKEN) as part:
                await self._cycle(slot, part)
        else:
            self._result.parts.append(Part("power cycles", Verdict.SKIPPED, "this slot's power cannot be switched"))

    async def _boot(self, slot: Slot, modem: ModemLink) -> None:
        """Wait until the module answers at all; whether it has its SIM is the card's part. Raises DeviceError."""
        deadline = clock.now() + (data.module(self._spec.module).boot.timeout_s if self._spec.module else _BOOT_SECONDS)
        while True:
            try:
                await modem.command("AT", _AT_SECONDS)
            except DeviceError:
                if clock.now() >= deadline:
                    raise
                await asyncio.sleep(1.0)
            else:
                break
        await slot.record.saw_modem(slot)

    @property
    def _switched(self) -> bool:
        return self._spec.simulated or self._spec.power is not None

    async def _identify(self, slot: Slot) -> dict[str, str | None]:
        """Read the numbers by which the card is known: the EID, or what the known-good card is known by."""
        names = self._numbers or ("EID",)
        return {name: await (slot.lpa.eid() if name == "EID" else slot.card.read_iccid()) for name in names}

    def _hold_against_the_good_one(self, part: Part) -> None:
        said = ", ".join(f"{name} {number}" for name, number in self._identity.items())
        others = {name: number for name, number in self._numbers.items() if self._identity[name] != number}
        if self._good is None:
            said += ", no known_good in the rack file: nothing to hold it against"
        elif others:
            part.verdict = Verdict.SUSPECT
            said += ", not the known-good card: " + ", ".join(f"{name} {number}" for name, number in others.items())
            # Another card: what it does from here on says nothing of the rig for sure.
            self._good = None
        part.detail = said

    async def _cycle(self, slot: Slot, part: Part) -> None:
        for number in range(1, self._cycles + 1):
            try:
                await self._limited(slot.power_cycle(0.0, orderly=True))
            except PowerError as exc:
                raise PowerError(f"cycle {number} of {self._cycles}: {exc}") from exc
            except BenchError:
                part.verdict = self._card_verdict
                part.detail = f"cycle {number} of {self._cycles}: the card did not come back"
                raise
            identity = await self._limited(self._identify(slot))
            if (slot.card.atr, identity) != (self._atr, self._identity):
                part.verdict = self._card_verdict
                part.detail = f"cycle {number} of {self._cycles}: ATR {slot.card.atr.hex().upper()}, {identity}"
                raise _Over
        part.detail = f"{self._cycles} times off and on, the same ATR and the same card each time"

    @asynccontextmanager
    async def _part(self, name: str, fault: Verdict) -> AsyncIterator[Part]:
        """Test a part; an error in it is ``fault``, unless the error itself or the part says more."""
        part = Part(name, Verdict.OK)
        began = clock.now()
        try:
            yield part
        except _Over:
            self._end(part, began)
            raise
        except Exception as exc:
            if part.verdict is Verdict.OK:
                # Whatever card is in place: power, locks and the rack file are the rig's.
                part.verdict = Verdict.BROKEN if isinstance(exc, PowerError | ConfigError | InUseError) else fault
            said = str(exc) if isinstance(exc, BenchError) else f"{type(exc).__name__}: {exc}"
            part.detail = f"{part.detail}: {said}" if part.detail else said
            if part.verdict is Verdict.SUSPECT and self._good is None:
                part.detail += "; a card that is known to be good would tell whether it is the rig"
            self._end(part, began)
            raise _Over from exc
        self._end(part, began)

    def _end(self, part: Part, began: float) -> None:
        part.seconds = clock.now() - began
        self._result.parts.append(part)

    async def _limited(self, job: Any) -> Any:
        # On the virtual loop nothing hangs, and no task of ours is to change the order of things.
        return await (job if clock.is_virtual() else within(PART_SECONDS, job, "no end"))
