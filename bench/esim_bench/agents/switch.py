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
_NO_REASON: Final = "undefinedError"
_ALREADY: Final = ("profileNotInDisabledState", "profileNotInEnabledState")
"""Refusals that may mean: it is as it should be, by an earlier order whose answer was lost."""


Order = Callable[[bytes, bool], Awaitable[None]]
"""Orders the change: of a profile by ICCID or ISD-P AID, with refreshFlag or without."""


async def switch_profile(lpa: Lpa, iccid: bytes, *, refresh: bool, recover: Recover) -> None:
    """Make a profile the enabled one and verify it by EF.ICCID and the profile list.

    ``refresh``: the refreshFlag that is tried first. Some makes of eUICC take one value alone, or the ISD-P AID alone:
    where an order ends in undefinedError the others are tried. Raises AgentError (refused, with the result's name; or
    the card shows another profile), DeviceError.
    """

    async def order(profile: bytes, flag: bool) -> None:
        await lpa.enable(profile, refresh=flag)

    await _change(lpa, iccid, refresh, recover, order, lambda: _is_enabled(lpa, iccid))
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
    """Make a profile a disabled one, and verify it by the profile list. Parameters and errors as ``switch_profile``."""

    async def order(profile: bytes, flag: bool) -> None:
        await lpa.disable(profile, refresh=flag)

    async def is_disabled() -> bool:
        return not await _is_enabled(lpa, iccid)

    await _change(lpa, iccid, refresh, recover, order, is_disabled)


async def order_enable(lpa: Lpa, iccid: bytes, *, refresh: bool) -> None:
    """Order a switch, in whatever way the eUICC takes, and leave it at that: nothing is reset, nothing verified.

    catBusy is taken for an order that may have been followed. Raises AgentError, DeviceError.
    """
    for by_aid, flag in ((False, refresh), *_others(refresh)):
        try:
            await lpa.enable(await _aid(lpa, iccid) if by_aid else iccid, refresh=flag)
        except AgentError as exc:
            if exc.code == "catBusy":
                return
            if exc.code != _NO_REASON:
                raise
        else:
            return
    raise AgentError("the eUICC refused EnableProfile in all its forms", code=_NO_REASON)


def _others(refresh: bool) -> list[tuple[bool, bool]]:
    """Return what else can be tried than the ICCID with a refreshFlag: by AID or not, with which flag."""
    return [(False, not refresh), (True, refresh), (True, not refresh)]


async def _change(
    lpa: Lpa, iccid: bytes, refresh: bool, recover: Recover, order: Order, is_done: Callable[[], Awaitable[bool]]
) -> None:
    by_aid, flag = False, refresh
    others = _others(refresh)
    attempt = 0
    while True:
        attempt += 1
        error: AgentError | DeviceError | None = None
        try:
            await order(await _aid(lpa, iccid) if by_aid else iccid, flag)
        except AgentError as exc:
            if exc.code in _ALREADY and await is_done():
                return
            # A refusal is final; catBusy alone goes away, and may even stand for a switch that took place.
            if exc.code not in ("catBusy", _NO_REASON):
                raise
            error = exc
        except DeviceError as exc:
            error = exc
        await recover()
        if await _look(is_done):
            return
        if error is None:
            raise AgentError("the eUICC said ok, but the profile's state did not change", code="stateNotChanged")
        if isinstance(error, AgentError) and error.code == _NO_REASON:
            if not others:
                raise error
            by_aid, flag = others.pop(0)
            name, value = "ISD-P AID" if by_aid else "ICCID", "with" if flag else "without"
            lpa.card.mark(f"undefinedError: once more by {name}, {value} refreshFlag")
            attempt = 0
        elif attempt == TRIES:
            raise error


async def _aid(lpa: Lpa, iccid: bytes) -> bytes:
    """Return the ISD-P AID of a profile. Raises AgentError."""
    for profile in await lpa.profiles():
        if profile.iccid == iccid and profile.isdp_aid is not None:
            return profile.isdp_aid
    raise AgentError("the eUICC does not tell the ISD-P AID of the profile", code="iccidOrAidNotFound")


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
