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


# ------------------------------------------------------------------------------------ heard beside the bench's own link


@dataclass(frozen=True, slots=True)
class SniffedApduEvent:
    """One exchange between a module and its card, heard on the wire between them: none of the bench's own.

    As T=0 carries it (ISO/IEC 7816-3 12.2): GET RESPONSE is an exchange of its own, and a command has no Le after data.
    """

    at_ns: int
    command: bytes
    response: bytes
    """Data and status word; b"" where the end was not heard."""
    duration_ns: int
    source: str
    """What heard it, as the rack file names it: ``simtrace usb:1-1.4``."""
    flaws: str = ""
    """What is wrong with it, where the sniffer knows: "incomplete", "overrun", "parity", ... in a row."""


class SniffKind(Enum):
    """What a sniffer hears beside APDUs."""

    ATR = "atr"
    PPS = "pps"
    SPEED = "speed"
    INSERT = "insert"
    EJECT = "eject"
    RESET = "reset"
    RELEASE = "release"
    TIMEOUT = "timeout"
    NOISE = "noise"


@dataclass(frozen=True, slots=True)
class SniffEvent:
    """The sniffed interface did something else than an exchange; ``data``: the ATR, the PPS, the bytes of noise."""

    at_ns: int
    kind: SniffKind
    source: str
    data: bytes = b""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class UartEvent:
    """One line of a debug UART; bytes that are no UTF-8 are lone surrogates (``surrogateescape``)."""

    at_ns: int
    source: str
    line: str
    ended: bool = True
    """False: nothing ended the line, the next one of this source goes on with it."""
    cut: int = 0
    """How many bytes of the line were left out, because it was too long."""


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """What a meter showed: current and voltage, None for what it does not measure."""

    at_ns: int
    source: str
    amperes: float | None
    volts: float | None = None


Event: TypeAlias = (
    ApduEvent
    | AtrEvent
    | PowerEvent
    | AtEvent
    | RspEvent
    | MarkEvent
    | SniffedApduEvent
    | SniffEvent
    | UartEvent
    | SampleEvent
)

AnyApdu: TypeAlias = ApduEvent | SniffedApduEvent
"""An exchange, the bench's own or one that was heard."""


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
