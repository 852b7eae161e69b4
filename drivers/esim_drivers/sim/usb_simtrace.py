"""A SIMtrace2 on the fake USB bus: the sniffer firmware, beside a simulated card.

``Tap`` is a sink of events that lets it hear what a simulated reader and its card say to each other, in T=0.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from esim_bench.events import ApduEvent, AtrEvent, Event, PowerAction, PowerEvent
from esim_drivers.sim.usb_backend import BULK, INTERRUPT, FakeDevice, FakeEndpoint, FakeInterface, Gone, Silence
from esim_drivers.simtrace.messages import (
    SOUND,
    Change,
    ChangeMessage,
    DataMessage,
    FidiMessage,
    Flaw,
    Kind,
    Message,
    encode,
)

IN, OUT, INT = 0x82, 0x01, 0x83


class FakeSimtrace(FakeDevice):
    """Sniffer firmware. ``send`` puts messages into its queue; ``pieces`` says how long the transfers are that carry
    them, in turn, so that messages are cut anywhere."""

    def __init__(self, path: str = "1-1.4", *, subclass: int = 1, serial: str = "0001") -> None:
        endpoints = (FakeEndpoint(OUT, BULK), FakeEndpoint(IN, BULK), FakeEndpoint(INT, INTERRUPT))
        super().__init__(
            path,
            0x1D50,
            0x60E3,
            manufacturer="sysmocom",
            product_name="SIMtrace 2 compatible device",
            serial=serial,
            interfaces=(FakeInterface(0, 0xFF, subclass, endpoints=endpoints, name="SIMtrace Sniffer"),),
        )
        self.pieces: Sequence[int] = (4096,)
        self._turn = 0
        self._queue = bytearray()
        self._sequence = 0
        self._lock = Lock()

    def read(self, endpoint: int, size: int, timeout_ms: int) -> bytes:
        """Return the next transfer of the bulk endpoint."""
        if endpoint != IN:
            raise Silence
        with self._lock:
            if not self.present:
                raise Gone
            if not self._queue:
                raise Silence
            size = min(size, self.pieces[self._turn % len(self.pieces)])
            self._turn += 1
            data = bytes(self._queue[:size])
            del self._queue[:size]
            return data

    def raw(self, data: bytes) -> None:
        """Put bytes into the queue that are no message."""
        with self._lock:
            self._queue += data

    def change(self, flags: Change) -> None:
        """Tell of the card's lines."""
        self._put(ChangeMessage(self._next(), flags))

    def fidi(self, fidi: int) -> None:
        """Tell of a new speed."""
        self._put(FidiMessage(self._next(), fidi))

    def data(self, kind: Kind, data: bytes, flaws: Flaw = SOUND) -> None:
        """Tell of an ATR, a PPS or a TPDU."""
        self._put(DataMessage(self._next(), kind, data, flaws))

    def skip(self, count: int) -> None:
        """Lose messages: their numbers are left out."""
        self._sequence += count

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1 & 0xFF

    def _put(self, message: Message) -> None:
        self.raw(encode(message))


class Tap:
    """A sink beside a simulated reader: what happens there the sniffer hears."""

    def __init__(self, sniffer: FakeSimtrace) -> None:
        self._sniffer = sniffer

    def emit(self, event: Event) -> None:
        """Let the sniffer hear a reset or an exchange."""
        match event:
            case AtrEvent(atr=atr):
                self._sniffer.change(Change.RESET | Change.RELEASE)
                self._sniffer.data(Kind.ATR, atr)
            case ApduEvent(command=command, response=response):
                self._sniffer.data(Kind.TPDU, tpdu(command) + response)
            case PowerEvent(action=PowerAction.OFF):
                self._sniffer.change(Change.RESET)


def tpdu(command: bytes) -> bytes:
    """Return a command as T=0 carries it: always with P3, never with Le after data (ISO/IEC 7816-3 12.2)."""
    if len(command) == 4:
        return command + b"\0"
    return command[: 5 + command[4]] if len(command) > 5 else command
