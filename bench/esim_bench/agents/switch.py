"""Switching profiles as a state machine.

Enable (or disable), REFRESH or none, reset of card or modem, start-up again, then look: what counts is the state that
the card shows afterwards, not what was answered on the way. "Command failed" is not "card unchanged".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from esim_bench.agents.lpa import Lpa
from esim_bench.codec import es10
from esim_bench.errors import AgentError, CardStatusError, DeviceError

Recover = Callable[[], Awaitable[None]]
"""Brings card and terminal to a fresh start: a reset of the card or of the modem, a power cycle."""

TRIES: Final = 3
LOOKS: Final = 10
LOOK_SECONDS: Final = 0.25
"""Readers and modems show the old ICCID for a while."""
_ALREADY: Final = ("profileNotInDisabledState", "profileNotInEnabledState")
"""Refusals that may mean: it is as it should be, by an earlier order whose answer was lost."""


async def switch_profile(lpa: Lpa, iccid: bytes, *, refresh: bool, recover: Recover) -> None:
    """Make a profile the enabled one and verify it by EF.ICCID and the profile list.

    Raises AgentError (refused, with the result's name; or the card shows another profile), DeviceError.
    """
    await _change(lpa, recover, lambda: lpa.enable(iccid, refresh=refresh), lambda: _is_enabled(lpa, iccid))
    expected = es10.iccid_to_text(iccid)
    shown: str | None = None
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(LOOK_SECONDS)
        try:
            shown = await lpa.card.read_iccid()
        except CardStatusError:
            if look == LOOKS - 1:
                raise
            continue
        if shown == expected:
            return
    raise AgentError(f"the card shows EF.ICCID {shown} after enabling {expected}", code="iccidNotChanged")


async def disable_profile(lpa: Lpa, iccid: bytes, *, refresh: bool, recover: Recover) -> None:
    """Make a profile a disabled one, and verify it by the profile list. Raises as ``switch_profile``."""

    async def is_disabled() -> bool:
        return not await _is_enabled(lpa, iccid)

    await _change(lpa, recover, lambda: lpa.disable(iccid, refresh=refresh), is_disabled)


async def _change(
    lpa: Lpa, recover: Recover, change: Callable[[], Awaitable[None]], is_done: Callable[[], Awaitable[bool]]
) -> None:
    for attempt in range(1, TRIES + 1):
        error: AgentError | DeviceError | None = None
        try:
            await change()
        except AgentError as exc:
            if exc.code in _ALREADY and await is_done():
                return
            # A refusal is final; catBusy alone goes away, and may even stand for a switch that took place.
            if exc.code != "catBusy":
                raise
            error = exc
        except DeviceError as exc:
            error = exc
        await recover()
        if await _look(is_done):
            return
        if error is None:
            raise AgentError("the eUICC said ok, but the profile's state did not change", code="stateNotChanged")
        if attempt == TRIES:
            raise error


async def _look(is_done: Callable[[], Awaitable[bool]]) -> bool:
    """Read the state; a card that was just reset may refuse for a moment."""
    for look in range(LOOKS):
        try:
            return await is_done()
        except CardStatusError:
            if look == LOOKS - 1:
                raise
            await asyncio.sleep(LOOK_SECONDS)
    return False


async def _is_enabled(lpa: Lpa, iccid: bytes) -> bool:
    return any(profile.iccid == iccid and profile.enabled for profile in await lpa.profiles())
