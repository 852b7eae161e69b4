"""Whether a slot's enabled profile gives connectivity: the bench carries what it sends, a modem must be registered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from esim_bench.errors import DeviceTimeout, TransportError
from esim_bench.ports import Bearer, HttpResponse, ModemLink

LOOK_SECONDS: Final = 1.0
"""Between two looks at a modem's registration."""


async def registered(modem: ModemLink) -> bool:
    """Tell whether a modem is registered in any domain; one that tells of none is believed to be.

    Raises TransportError, DeviceTimeout.
    """
    states = await modem.registration()
    return not states or any(state.registered for state in states.values())


async def wait_registered(modem: ModemLink, seconds: float) -> bool:
    """Tell whether a modem is registered, waiting for it; one that does not answer meanwhile is asked again."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            if await registered(modem):
                return True
        except (TransportError, DeviceTimeout):
            # What is wrong with it says whoever needs it next.
            pass
        left = deadline - loop.time()
        if left <= 0:
            return False
        await asyncio.sleep(min(LOOK_SECONDS, left))


class Radio:
    """The attachment of one device. It changes only when the device starts anew: then the network is asked for again.

    ``iccid``: reads the digits of the card's EF.ICCID, None where no profile shows one.
    """

    def __init__(self, iccid: Callable[[], Awaitable[str | None]]) -> None:
        self._iccid = iccid
        self._out: set[str] = set()
        self.attached: str | None = None
        """ICCID of the profile that the device came up with."""
        self._looked = False

    async def attach(self) -> None:
        """Look for a network with the profile that the card shows now. Raises DeviceError."""
        self.attached = await self._iccid()
        self._looked = True

    def detach(self) -> None:
        """Lose the network with the power; until the next ``attach`` there is no profile to ask about."""
        self.attached = None
        self._looked = False

    def outage(self, iccid: str) -> None:
        """Let the network fail a profile, by the digits of its ICCID."""
        self._out.add(iccid)

    def restore(self, iccid: str) -> None:
        """Let the network serve a profile again."""
        self._out.discard(iccid)

    @property
    def connected(self) -> bool:
        """Tell whether there is a network; a device that never looked is believed to have one."""
        return not self._looked or (self.attached is not None and self.attached not in self._out)


class RadioBearer:
    """A bearer that needs the radio: without a network nothing leaves the device."""

    def __init__(self, bearer: Bearer, radio: Radio) -> None:
        self._bearer = bearer
        self._radio = radio

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        """POST over the bearer. Raises TransportError where there is no network, else what the bearer raises."""
        if not self._radio.connected:
            who = f"profile {self._radio.attached}" if self._radio.attached else "no enabled profile"
            raise TransportError("no network", expected="connectivity of the enabled profile", found=who)
        return await self._bearer.post(url, headers, body, timeout)

    async def hang_up(self) -> None:
        """Close what connections are kept; never raises."""
        await self._bearer.hang_up()
