"""What happened on a slot, and the sink that hears of it.

Every driver gets a sink and tells it all that crosses its border, with wall-clock stamps in nanoseconds. The trace, the
screen and the tests are sinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class ApduEvent:
    """One C-APDU and its R-APDU (data and status word), as they crossed the card's interface."""

    at_ns: int
    command: bytes
    response: bytes
    duration_ns: int
    session: int = 0
    """The application session or logical channel that the link used, where the CLA does not tell (a modem's handle)."""


@dataclass(frozen=True, slots=True)
class AtrEvent:
    """The card answered a reset."""

    at_ns: int
    atr: bytes
    cold: bool


class PowerAction(Enum):
    """What was done to the power of a slot, and what was seen of it."""

    ON = "on"
    OFF = "off"
    PROOF = "proof"


@dataclass(frozen=True, slots=True)
class PowerEvent:
    """Power was switched, or a switch was proven (``detail`` says by what)."""

    at_ns: int
    action: PowerAction
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AtEvent:
    """One line on the AT interface: ``>`` to the modem, ``<`` from it, ``!`` an unsolicited result code."""

    at_ns: int
    direction: Literal[">", "<", "!"]
    line: str


@dataclass(frozen=True, slots=True)
class RspEvent:
    """One request to an RSP server and its answer (``status``: HTTP status or the failure)."""

    at_ns: int
    url: str
    request: bytes
    response: bytes
    status: str
    duration_ns: int


@dataclass(frozen=True, slots=True)
class MarkEvent:
    """A step began or ended, a cut point was passed, something worth a line in the time line."""

    at_ns: int
    text: str


Event: TypeAlias = ApduEvent | AtrEvent | PowerEvent | AtEvent | RspEvent | MarkEvent


class EventSink(Protocol):
    """Hears of everything that happens on one slot."""

    def emit(self, event: Event) -> None:
        """Take one event; must not block and must not raise for a well-formed event."""


class NullSink:
    """A sink that forgets."""

    def emit(self, event: Event) -> None:
        """Forget the event."""


class ListSink:
    """A sink that keeps everything, for tests and for looking back."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)


class TeeSink:
    """A sink that passes every event on to several others."""

    def __init__(self, *sinks: EventSink) -> None:
        self._sinks = sinks

    def emit(self, event: Event) -> None:
        """Pass the event on."""
        for sink in self._sinks:
            sink.emit(event)
