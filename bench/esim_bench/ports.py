"""What a driver must be: protocols and capability flags. The core knows drivers by these alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

from esim_bench.codec.at_status import RegistrationState, Signal, SimStatus
from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import BenchError, ConfigError
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

    async def hang_up(self) -> None:
        """Close connections that are kept for the next request, as when the device loses its network; never raises."""


# ---------------------------------------------------------------------------------------------------------------- power


class PowerControl(Protocol):
    """Power of one slot. Each change is proven as the rack file says; the proof is told to the slot's sink."""

    async def off(self) -> None:
        """Cut the power, cold. Raises PowerError when the proof does not come."""

    async def on(self) -> None:
        """Restore the power; returns when the supply is on, not when the device has booted.

        Raises PowerError: the supply does not come on, or the device shows that it had not been off.
        """

    async def close(self) -> None:
        """Release the switch, which stays as it is; never raises."""


class Proof(Enum):
    """What shows that a device has really lost its power. Hubs and relays say "off" while the supply stays."""

    CARD_GONE = "card-gone"
    """The reader sees no card any more, or is gone itself."""
    USB_GONE = "usb-gone"
    """The USB device at the slot's place is gone."""
    BOOT_URC = "boot-urc"
    """After the power came back the modem's boot lines came: it was off."""
    CURRENT_BELOW = "current-below"
    """A meter shows less current than a device takes that lives."""
    NONE = "none"
    """Nobody looks; the operator has decided that this is enough."""


@runtime_checkable
class PowerSwitch(Protocol):
    """What a power driver opens: a switch, nothing more. Whether the device lost its power is proven beside it."""

    @property
    def proofs(self) -> frozenset[Proof]:
        """Return the proofs that the switch itself can give (a supply that measures: CURRENT_BELOW)."""

    async def off(self) -> None:
        """Switch off. Raises TransportError (gone, refused), DeviceTimeout."""

    async def on(self) -> None:
        """Switch on. Raises TransportError, DeviceTimeout."""

    async def is_off(self, proof: Proof) -> bool:
        """Look once whether a proof of ``proofs`` is there now. Raises TransportError, DeviceTimeout."""

    async def close(self) -> None:
        """Release the device, which stays as it is; never raises."""


@runtime_checkable
class OrderlySwitch(PowerSwitch, Protocol):
    """A switch that is the module itself."""

    @property
    def orderly(self) -> bool:
        """Tell whether ``off`` lets the module power down in order: nobody else needs to ask it for that."""


@runtime_checkable
class Supply(PowerSwitch, Protocol):
    """A switch that is a supply: it sets a voltage and measures a current."""

    async def set_voltage(self, volts: float) -> None:
        """Set the voltage, output on or off. Raises PowerError for one beyond its limit, TransportError."""

    async def measure_current(self) -> float:
        """Measure the current now, in amperes. Raises TransportError, DeviceTimeout, ProtocolError."""

    async def ramp(self, start: float, end: float, seconds: float) -> None:
        """Go from one voltage to another in small steps that take ``seconds`` together; the output is on."""

    async def brown_out(self, volts: float, seconds: float) -> None:
        """Lower the voltage for ``seconds``, then restore what it was, also when this is cancelled."""


@runtime_checkable
class CardPresence(Protocol):
    """What a card link offers when it can see whether a card is there without disturbing it."""

    async def present(self) -> bool:
        """Tell whether a card is there now; a reader that is gone has none. Raises TransportError if unknowable."""


# ------------------------------------------------------------------------------------------------------------ observing


class Observer(Protocol):
    """Something that listens beside the bench's own links (a sniffer, a debug UART, a meter), and tells the sink."""

    async def start(self) -> None:
        """Begin to listen. Raises TransportError, DeviceTimeout."""

    async def stop(self) -> None:
        """End, tell what is still buffered, release the device; never raises."""


@runtime_checkable
class LosesDevice(Protocol):
    """What an observer offers beside ``Observer`` when its device may vanish while it listens."""

    @property
    def trouble(self) -> BenchError | None:
        """Return why it has not heard what it should; None as long as all is well."""


# ------------------------------------------------------------------------------------------------------------ discovery


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """One thing that is plugged in, as a driver found it."""

    kind: Literal["reader", "module", "port", "hub", "relay", "supply", "mux", "sniffer"]
    name: str
    """For people: model, reader name."""
    table: Mapping[str, Any]
    """The table of a rack file that opens it, ``driver`` included: ``{"driver": "pcsc", "reader": "usb:1-1.2"}``."""
    usb: str | None = None
    """Where it hangs: bus and ports, ``1-1.3``."""
    serial: str | None = None
    paths: tuple[str, ...] = ()
    """Device nodes that it is reached by now."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What it said of itself: ATR, manufacturer, model, revision, imei, ports, ..."""
    trouble: str | None = None
    """Why it cannot be used now (no right, held by whom), with what to do."""


@runtime_checkable
class DiscoveringDriver(Protocol):
    """A driver that can look for its devices."""

    async def discover(self) -> Sequence[FoundDevice]:
        """Look around without disturbing anybody: nothing is reset, nothing in use is opened.

        Raises ConfigError when a library or service is missing, saying how to get it.
        """


@runtime_checkable
class PortProbingDriver(Protocol):
    """A driver that can ask on a port which nothing lists (a UART, a port over the network) who is there."""

    async def look(self, leave_alone: Callable[[FoundDevice], str | None]) -> Sequence[FoundDevice]:
        """Look around as ``discover`` does, but ask no port for which ``leave_alone`` returns why ("": no trouble)."""

    async def probe_port(
        self, port: str, leave_alone: Callable[[FoundDevice], str | None] = lambda port: None
    ) -> FoundDevice:
        """Ask one port, unless it is in use. Raises ConfigError for what is no port, TransportError: none there."""


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
    modem: ModemLink | None = None
    """Power drivers only: the slot's modem, where it has one."""
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
    observers: list[Observer] = field(default_factory=list)
    """What listens beside the slot, from before its power comes on until it is closed."""


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

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> PowerSwitch:
        """Open the switch (no I/O yet). Raises ConfigError for an unusable table.

        ``spec`` holds the driver's own keys; ``proof``, ``proof_timeout_s``, ``off_s``, ``on_s`` and ``usb`` are the
        rack's.
        """


@runtime_checkable
class ObserverDriver(Protocol):
    """A driver that listens beside a slot, from an entry of its ``observe = [...]`` list."""

    def open_observer(self, spec: Mapping[str, Any], context: DriverContext) -> Observer:
        """Open the observer (no I/O yet). Raises ConfigError for an unusable table."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How simulated slots are given to other programs."""

    folder: Path
    """An existing one for stable names of ports and the like."""
    name: str
    """Of the rack, for the names of its readers."""
    host: str = "127.0.0.1"
    """Address on which readers' cards wait for vpcd."""
    port: int = 0
    """The first of their ports; 0: free ones."""
    vpcd: Sequence[tuple[str, int]] = ()
    """Addresses of vpcds that listen: the cards connect to them, instead of waiting."""
    rate: float = 1.0
    """Seconds of the simulated devices in a real one."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where other programs find a slot."""

    slot: str
    kind: Literal["reader", "port"]
    address: str
    """``host:port`` of the card's vpcd connection, or the stable path of the serial port."""
    name: str | None
    """What PC/SC calls the reader; the device node of the port now, None while it is not there."""
    powered: bool
    details: Mapping[str, str] = field(default_factory=dict)


class ServedRack(Protocol):
    """Simulated slots that other programs use now."""

    reader_config: str
    """Text for pcscd's reader.conf; empty without readers."""

    def served(self) -> Sequence[Served]:
        """Return where the slots are now, in the rack's order."""

    def act(self, slot: str, action: str, seconds: float | None = None) -> None:
        """Do something to a slot: on, off, cycle, unplug, insert, hang-up, power-key, reset.

        ``seconds``: how long the power is away, or a key pulled. Raises ConfigError for what makes no sense there.
        """

    def state(self, slot: str) -> tuple[int, Callable[[], bytes]]:
        """Return how often a card's memory was written, and what takes its snapshot."""

    async def close(self) -> None:
        """Take everything away; never raises."""


@runtime_checkable
class ServingDriver(Protocol):
    """A driver that gives simulated slots to other programs, as readers and serial ports."""

    async def serve(
        self, slots: Sequence[tuple[Mapping[str, Any], DriverContext]], settings: ServeSettings
    ) -> ServedRack:
        """Make the slots (their ``sim = {...}`` tables), power them on. Raises ConfigError, TransportError."""


Driver: TypeAlias = (
    SlotDriver | CardDriver | ModemDriver | PowerDriver | ObserverDriver | DiscoveringDriver | ServingDriver
)


def load_driver(name: str) -> Driver:
    """Load a driver by its entry point name. Raises ConfigError when there is none of that name."""
    found = {point.name: point for point in entry_points(group=DRIVER_GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none installed"
        raise ConfigError("unknown driver", expected=f"one of {known}", found=repr(name))
    return cast(Driver, found[name].load())
