"""What a driver must be: protocols and capability flags. The core knows drivers by these alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import ConfigError
from esim_bench.events import EventSink

DRIVER_GROUP = "esim_bench.drivers"


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


# ----------------------------------------------------------------------------------------------------------------- card


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
        """Return what the link can do; fixed while it is open."""

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


# ---------------------------------------------------------------------------------------------------------------- modem


@dataclass(frozen=True, slots=True)
class AtResponse:
    """The answer to one AT command: information lines and the final result code."""

    lines: tuple[str, ...]
    final: str

    @property
    def ok(self) -> bool:
        """Tell whether the final result code is OK."""
        return self.final == "OK"


class ModemLink(Protocol):
    """A modem, spoken to by AT commands."""

    async def command(self, line: str, timeout: float | None = None) -> AtResponse:
        """Send one command line (without CR) and wait for its final result code.

        An ERROR is a result, not an exception. Raises DeviceTimeout, TransportError.
        """

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the modem has booted and its SIM is ready. Raises DeviceTimeout."""

    async def identity(self) -> Mapping[str, str]:
        """Return what the modem says of itself: manufacturer, model, revision, imei (as far as it answers)."""

    async def close(self) -> None:
        """Release the port; never raises."""


class ByteLink(Protocol):
    """A byte stream to a device: a serial descriptor, or memory."""

    def set_receiver(self, on_data: Callable[[bytes], None], on_lost: Callable[[Exception | None], None]) -> None:
        """Say who hears of received bytes and of the loss of the link."""

    def write(self, data: bytes) -> None:
        """Send bytes. Raises TransportError when the link is lost."""

    def close(self) -> None:
        """Close the link; never raises."""


# --------------------------------------------------------------------------------------------------------------- bearer


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Bearer(Protocol):
    """A slot's way to the servers. Emits an RspEvent for each request to the slot's sink."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        """POST and return the answer, whatever its status. Redirects are not followed.

        Raises TransportError (no way to the server, TLS refused: the message says why), DeviceTimeout.
        """


# ---------------------------------------------------------------------------------------------------------------- power


class PowerControl(Protocol):
    """Power of one slot. Each change is proven as the rack file says; the proof is told to the slot's sink."""

    async def off(self) -> None:
        """Cut the power, cold. Raises TransportError when the proof does not come."""

    async def on(self) -> None:
        """Restore the power; returns when the supply is on, not when the device has booted."""


# --------------------------------------------------------------------------------------------------------------- driver


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What the rack hands to a driver when it opens a part of a slot."""

    slot: str
    form_factor: FormFactor
    sink: EventSink
    rng: random.Random
    """The slot's own randomness for timing jitter and the like; seeded on simulated racks."""
    randomness: Randomness
    """The slot's source of challenges and keys."""
    dialect: Any = None
    """The module's row of hw/modules, an ``esim_bench.data.Dialect``, where the slot has a module."""
    identity: EuiccIdentity | None = None
    """Simulated slots only: the eUICC's EID, key and certificates."""
    preload: Sequence[PreloadedProfile] = ()
    """Simulated slots only: profiles installed at the factory."""
    state: bytes | None = None
    """Simulated slots only: the card's NVM as ``SlotHardware.snapshot`` gave it, to go on from there."""


@dataclass(frozen=True, slots=True)
class PreloadedProfile:
    """A profile that a simulated card is born with."""

    metadata: bytes
    """StoreMetadataRequest (BF25)."""
    package: bytes
    """The unprotected profile package: concatenated profile elements."""
    enabled: bool


@dataclass(slots=True)
class SlotHardware:
    """The opened parts of a slot."""

    card: CardLink
    power: PowerControl
    modem: ModemLink | None = None
    snapshot: Callable[[], bytes] | None = None
    """Simulated slots only: the card's persistent memory, to be handed to ``DriverContext.state`` later."""
    extras: dict[str, Any] = field(default_factory=dict)
    """What a driver offers beyond the ports, by name (a simulated slot: ``sim``, its card)."""


@runtime_checkable
class SlotDriver(Protocol):
    """A driver that opens a whole slot (simulated hardware)."""

    def open_slot(self, spec: Mapping[str, Any], context: DriverContext) -> SlotHardware:
        """Open all parts of a slot from its ``sim = {...}`` table. Raises ConfigError for an unusable table."""


@runtime_checkable
class CardDriver(Protocol):
    """A driver that opens a way to a card from a slot's ``card = {...}`` table."""

    def open_card(self, spec: Mapping[str, Any], context: DriverContext) -> CardLink:
        """Open the link (no I/O yet). Raises ConfigError for an unusable table."""


@runtime_checkable
class ModemDriver(Protocol):
    """A driver that opens a modem, and the card behind it, from a slot's ``modem = {...}`` table."""

    def open_modem(self, spec: Mapping[str, Any], context: DriverContext) -> tuple[ModemLink, CardLink]:
        """Open both (no I/O yet). Raises ConfigError for an unusable table."""


@runtime_checkable
class PowerDriver(Protocol):
    """A driver that switches power, from a slot's ``power = {...}`` table."""

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> PowerControl:
        """Open the control (no I/O yet). Raises ConfigError for an unusable table."""


Driver: TypeAlias = SlotDriver | CardDriver | ModemDriver | PowerDriver


def load_driver(name: str) -> Driver:
    """Load a driver by its entry point name. Raises ConfigError when there is none of that name."""
    found = {point.name: point for point in entry_points(group=DRIVER_GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none installed"
        raise ConfigError("unknown driver", expected=f"one of {known}", found=repr(name))
    return cast(Driver, found[name].load())
