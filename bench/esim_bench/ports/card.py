"""What a way to a card must be, and how a card is built into its device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias, runtime_checkable


class FormFactor(Enum):
    """How the eUICC is built into the device."""

    FF2 = "2FF"
    FF3 = "3FF"
    FF4 = "4FF"
    MFF2 = "MFF2"
    ISIM = "iSIM"

    @property
    def removable(self) -> bool:
        """Tell whether a person can take the card out (euiccFormFactorType 0)."""
        return self in (FormFactor.FF2, FormFactor.FF3, FormFactor.FF4)

    @property
    def integrated(self) -> bool:
        """Tell whether the secure element is part of a larger chip (treProperties isIntegrated)."""
        return self is FormFactor.ISIM


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command as it was sent and its response with status word; stamps in wall-clock nanoseconds."""

    command: bytes
    response: bytes
    at_ns: int
    duration_ns: int

    @property
    def sw(self) -> int:
        """Return the status word."""
        return int.from_bytes(self.response[-2:], "big")

    @property
    def data(self) -> bytes:
        """Return the response data without the status word."""
        return self.response[:-2]


StopRule: TypeAlias = Callable[[bytes, bytes], bytes | bool]
"""What follows a response, decided in the driver's own worker: ``rule(command, response)`` returns bytes to send next,
before the remaining commands (GET RESPONSE, the same command with the right Le); True to go on with the next command;
False to stop. Pure: no I/O, no await. An exception in it ends the exchange and reaches the caller."""


@dataclass(frozen=True, slots=True)
class CardCapabilities:
    """What a way to a card can and cannot do."""

    raw_channels: bool = True
    """MANAGE CHANNEL and SELECT go through as they are; the CLA carries the channel."""
    sessions: bool = False
    """The link opens applications itself (AT+CCHO) and names them by opaque handles; the CLA channel bits stay 0."""
    resets_card: bool = True
    """``reset`` really resets the card (a reader does; many modems can't)."""
    terminal: bool = False
    """A terminal stands between (a modem): it does the terminal start-up and fetches proactive commands itself."""
    max_data: int = 255
    """The most command data bytes (Lc) that get through."""
    removable: bool | None = None
    """Whether the card can be taken out, where the link can tell."""


class CardLink(Protocol):
    """A way to one card. Emits an ApduEvent for each exchange and an AtrEvent for each ATR to its slot's sink."""

    @property
    def capabilities(self) -> CardCapabilities:
        """Return what the link can do: fixed once ``connect`` has returned, but for ``max_data``, which may shrink."""

    async def connect(self) -> bytes:
        """Power the card up (or attach to it) and return the ATR; b"" where the link cannot see it.

        Raises TransportError when there is no card, DeviceTimeout when it does not answer.
        """

    async def reset(self) -> bytes:
        """Reset the card as well as the link can (warm or cold), forget sessions, return the ATR (b"" where unseen)."""

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        """Send commands in order, asking ``stop`` after each response; return all exchanges made.

        Raises TransportError when the card vanishes or the link is closed, DeviceTimeout when it stays silent.
        """

    async def open_session(self, aid: bytes) -> int:
        """Open a session with an application (only with ``capabilities.sessions``); return its handle.

        Raises CardStatusError (6A82 when the application is not there), TransportError.
        """

    async def close_session(self, session: int) -> None:
        """Close a session; closing one that is already gone is no error."""

    async def close(self) -> None:
        """Release the card; never raises."""


@runtime_checkable
class CardPresence(Protocol):
    """What a card link offers when it can see whether a card is there without disturbing it."""

    async def present(self) -> bool:
        """Tell whether a card is there now; a reader that is gone has none. Raises TransportError if unknowable."""
