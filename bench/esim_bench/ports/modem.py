"""What a modem must be, and the byte stream that it is spoken to over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from esim_bench.codec.at_status import RegistrationState, Signal, SimStatus


@dataclass(frozen=True, slots=True)
class AtResponse:
    """The answer to one AT command: information lines and the final result code."""

    lines: tuple[str, ...]
    final: str

    @property
    def ok(self) -> bool:
        """Tell whether the final result code is OK."""
        return self.final == "OK"


@dataclass(frozen=True, slots=True)
class ModemStatus:
    """What a modem says of itself, its SIM and its network at one moment; None for what it does not tell."""

    sim: SimStatus
    iccid: str | None
    """Of the profile that the modem believes to be enabled, without filler."""
    imsi: str | None
    imei: str | None
    functionality: int | None
    """+CFUN (27.007 8.2), one of ``codec.at_status.Functionality`` or a maker's own."""
    registration: Mapping[str, RegistrationState]
    """By domain: cs, ps, eps, 5gs, as far as the modem answers."""
    signal: Signal

    @property
    def registered(self) -> bool:
        """Tell whether the modem is registered in any domain."""
        return any(state.registered for state in self.registration.values())


class ModemLink(Protocol):
    """A modem, spoken to by AT commands. What it refuses to tell is None; all raise DeviceTimeout, TransportError."""

    async def command(self, line: str, timeout: float | None = None, text: str | None = None) -> AtResponse:
        """Send one command line (without CR) and wait for its final result code.

        ``text``: what is given to it when it prompts for data. An ERROR is a result, not an exception.
        """

    async def sim_state(self) -> SimStatus:
        """Return how the SIM is (AT+CPIN?)."""

    async def iccid(self) -> str | None:
        """Return the ICCID that the modem shows, which may be that of the profile before."""

    async def imsi(self) -> str | None:
        """Return the IMSI that the modem read (AT+CIMI)."""

    async def wait_iccid(self, iccid: str, timeout: float | None = None) -> str | None:
        """Wait until the modem shows this ICCID; return what it shows in the end, None where it tells none."""

    async def functionality(self) -> int | None:
        """Return the level of functionality (AT+CFUN?)."""

    async def set_functionality(self, level: int) -> None:
        """Set the level of functionality. Raises TransportError when the modem refuses."""

    async def registration(self) -> Mapping[str, RegistrationState]:
        """Return the state of registration by domain (AT+CREG?, +CGREG?, +CEREG?, +C5GREG?)."""

    async def signal(self) -> Signal:
        """Return the signal (AT+CSQ, AT+CESQ)."""

    async def status(self) -> ModemStatus:
        """Return all of this at once."""

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the modem has booted and its SIM is ready. Raises DeviceTimeout."""

    async def identity(self) -> Mapping[str, str]:
        """Return what the modem says of itself: manufacturer, model, revision, imei (as far as it answers)."""

    async def close(self) -> None:
        """Release the port; never raises."""


@runtime_checkable
class Measurable(Protocol):
    """What a modem offers beside ``ModemLink`` when its manners can be found out by trying."""

    async def measure(self, tell: Callable[[str], None], *, reboot: bool = False) -> Mapping[str, Any]:
        """Find out how the module speaks and how it reaches the card; return the tables of a file of hw/modules.

        Nothing is written to the card. ``reboot``: the module may be reset, to see how it boots; ``tell`` hears what is
        tried. The modem must be ready. Raises DeviceTimeout, TransportError.
        """


@runtime_checkable
class LineWatch(Protocol):
    """What a modem offers beside ``ModemLink`` when its unsolicited lines can be listened to."""

    def watch(self, on_line: Callable[[str], None]) -> Callable[[], None]:
        """Call a function with each unsolicited line, also after the port was opened anew; return what ends that."""

    def listening(self) -> bool:
        """Open the port unless it is open; tell whether lines can be heard now. Never raises."""


@runtime_checkable
class PowersDown(Protocol):
    """What a modem offers beside ``ModemLink`` when it can power itself down in order."""

    async def power_down(self, awake_since: float | None) -> str | None:
        """Power down, keeping the module's least time awake, and wait for its last line; return what it said.

        ``awake_since``: by the loop's clock, None if unknown. Returns None, having done nothing, where the module has
        no command for it. Raises TransportError, DeviceTimeout.
        """


@runtime_checkable
class ControlLines(Protocol):
    """What a modem offers beside ``ModemLink`` when its port has DTR and RTS, wired to PWRKEY or RESET."""

    def set_line(self, line: Literal["dtr", "rts"], asserted: bool) -> None:
        """Assert or release a control line. Raises TransportError: a port without such lines, a lost one."""


class ByteLink(Protocol):
    """A byte stream to a device: a serial descriptor, or memory."""

    def set_receiver(self, on_data: Callable[[bytes], None], on_lost: Callable[[Exception | None], None]) -> None:
        """Say who hears of received bytes and of the loss of the link."""

    def write(self, data: bytes) -> None:
        """Send bytes. Raises TransportError when the link is lost."""

    def close(self) -> None:
        """Close the link; never raises."""
