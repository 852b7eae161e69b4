"""Take the card out while the slot works, and put it in again: removable cards only; the operator lends a hand.

The removal must be seen (where the way to the card can tell), a command to the missing card must end in an error in
time, and after the insertion the same eUICC must answer. SKIPPED where nobody is there, and for what is soldered or
inside the modem.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pydantic import BaseModel, ConfigDict, Field

from esim_bench.codec.apdu import Command
from esim_bench.errors import DeviceError, RigError
from esim_bench.ports import CardPresence
from esim_bench.rack.operator import Action
from esim_bench.scenario import common
from esim_bench.scenario.context import Bench
from esim_bench.scenario.results import CheckFailed, Skip

NAME = "hot_swap"
ANSWER_SECONDS = 60.0
"""How long a command to a missing card may take until its error comes."""
_STATUS = Command(0x80, 0xF2, 0x00, 0x0C)


class Params(BaseModel):
    """How long the operator is waited for, and how long the card stays out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wait_s: float = Field(300.0, gt=0.0, le=86_400.0, description="seconds until an unanswered question is given up")
    out_s: float = Field(2.0, ge=0.0, le=3600.0, description="seconds that the card stays out at least")


async def run(bench: Bench, params: Params) -> None:
    """Swap one slot's card, out and in."""
    slot = bench.slot
    async with bench.step("operator") as step:
        if not slot.form_factor.removable:
            raise Skip("nobody can take it out", expected="2FF, 3FF or 4FF", found=slot.form_factor.value)
        bench.need_operator(Action.REMOVE_CARD)
        step.detail = "somebody is there"
    await common.start(bench)
    await common.identify(bench)
    eid = await slot.lpa.eid()
    async with bench.step("card out") as step:
        await bench.ask(
            f"take the {slot.form_factor.value} out of {slot.name}",
            action=Action.REMOVE_CARD,
            until=_seen(bench, there=False),
            seconds=params.wait_s,
        )
        step.detail = "seen" if _tells(bench) else "the operator says so"
    async with bench.step("command to the missing card") as step:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await slot.card.command(_STATUS)
        except DeviceError as exc:
            step.detail = exc.what
        else:
            raise CheckFailed("a card that is out", expected="an error", found=f"status word {response.sw:04X}")
        await asyncio.sleep(params.out_s)
    async with bench.step("card in") as step:
        await bench.ask(
            f"put the same {slot.form_factor.value} into {slot.name} again",
            action=Action.INSERT_CARD,
            until=_seen(bench, there=True),
            seconds=params.wait_s,
        )
        step.detail = "seen" if _tells(bench) else "the operator says so"
    async with bench.step("start again") as step:
        step.detail = await _start_again(bench)
    async with bench.step("verify") as step:
        bench.check("EID", expected=eid, found=await slot.lpa.eid())
        step.detail = f"EID {eid}"


def _tells(bench: Bench) -> bool:
    return isinstance(bench.slot.link, CardPresence)


def _seen(bench: Bench, *, there: bool) -> Callable[[], Awaitable[bool]] | None:
    """Return what looks whether the card is there, or gone; None where the way to the card cannot tell."""
    link = bench.slot.link
    if not isinstance(link, CardPresence):
        return None

    async def look() -> bool:
        return await link.present() is there

    return look


async def _start_again(bench: Bench) -> str:
    """Start the card; a modem that takes no notice of a new card gets its power cut."""
    slot = bench.slot
    try:
        await slot.start()
    except DeviceError as exc:
        if slot.modem is None or (slot.spec.power is None and not slot.spec.simulated):
            raise
        try:
            await slot.power_cycle(orderly=True)
        except DeviceError as again:
            raise RigError(f"the card does not come back: {again}; before that: {exc}") from again
        return f"after a power cycle, because the module took no notice of the card: {exc.what}"
    atr = slot.card.atr.hex().upper()
    return f"ATR {atr}" if atr else "ready"
