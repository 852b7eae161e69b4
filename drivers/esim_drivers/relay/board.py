"""A board of relays, and one channel of it as a power switch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from esim_bench.errors import ConfigError, TransportError
from esim_bench.ports import Proof

SETTLE_SECONDS = 0.03
"""A contact opens or closes, and bounces, within some 10 ms."""
TRIES = 3


class RelayBoard(Protocol):
    """Some relays behind one line."""

    name: str

    async def set(self, channel: int, energised: bool) -> None:
        """Energise a coil or let it go. Raises TransportError, DeviceTimeout; ConfigError for an unknown channel."""

    async def states(self) -> Mapping[int, bool] | None:
        """Read which relays are energised; None for a board that does not tell."""

    async def close(self) -> None:
        """Release the board, whose relays stay as they are; never raises."""


async def drive(board: RelayBoard, wanted: Mapping[int, bool]) -> None:
    """Bring coils into a state, and read it back where the board tells. Raises TransportError for one that sticks."""
    seen: Mapping[int, bool] | None = None
    for _ in range(TRIES):
        for channel, energised in wanted.items():
            await board.set(channel, energised)
        await asyncio.sleep(SETTLE_SECONDS)
        seen = await board.states()
        if seen is None or all(seen.get(channel) is energised for channel, energised in wanted.items()):
            return
    assert seen is not None
    stuck = next(channel for channel, energised in wanted.items() if seen.get(channel) is not energised)
    raise TransportError(
        "a relay sticks",
        where=f"{board.name} channel {stuck}",
        expected=_word(wanted[stuck]),
        found=_word(seen.get(stuck)),
        hint="welded contacts: replace the board, and look at the inrush current",
    )


def _word(energised: bool | None) -> str:
    return "unknown" if energised is None else "energised" if energised else "at rest"


class RelaySwitch:
    """A PowerSwitch: one channel. ``board`` is made when it is first used, ``release`` gives it back."""

    proofs: frozenset[Proof] = frozenset()

    def __init__(
        self,
        take: Callable[[], RelayBoard],
        release: Callable[[], Awaitable[None]],
        channel: int,
        *,
        powered_when_energised: bool,
    ) -> None:
        self._take = take
        self._release = release
        self._board: RelayBoard | None = None
        self._channel = channel
        self._powered_when_energised = powered_when_energised

    async def off(self) -> None:
        """Open the way of the supply. Raises TransportError: gone, or a relay that says that it sticks."""
        await self._drive(powered=False)

    async def on(self) -> None:
        """Close the way of the supply. Raises as ``off``."""
        await self._drive(powered=True)

    async def _drive(self, *, powered: bool) -> None:
        if self._board is None:
            self._board = self._take()
        await drive(self._board, {self._channel: powered is self._powered_when_energised})

    async def is_off(self, proof: Proof) -> bool:
        """Tell nothing: a coil proves no contact. Raises ConfigError."""
        raise ConfigError("a relay proves nothing by itself", found=proof.value)

    async def close(self) -> None:
        """Release the board, whose relays stay as they are; never raises."""
        if self._board is not None:
            self._board = None
            await self._release()


def read_channel(spec: Mapping[str, Any], where: str) -> int:
    """Return ``channel`` of a table, from 1. Raises ConfigError."""
    channel = spec.get("channel")
    if not isinstance(channel, int) or isinstance(channel, bool) or not 1 <= channel <= 64:
        raise ConfigError("channel", where=where, expected="the number of a relay, from 1", found=repr(channel))
    return channel


def read_wiring(spec: Mapping[str, Any], where: str) -> bool:
    """Return whether the device has power while the coil is energised (``wiring = "NO"``). Raises ConfigError."""
    wiring = spec.get("wiring", "NO")
    if wiring not in ("NO", "NC"):
        raise ConfigError(
            "wiring",
            where=where,
            expected='"NO" (power through the contact that closes) or "NC" (through the one that opens)',
            found=repr(wiring),
        )
    return bool(wiring == "NO")
