"""Simulated cards in the virtual readers of vsmartcard's vpcd, so that the real PC/SC service has them.

vpcd is a reader driver that pcscd loads. It speaks TCP to a card: each message is a length (2 bytes, big-endian) and as
many bytes. One byte is a control: 00 power off, 01 power on, 02 reset, 04 say the ATR (which alone is answered, and by
which pcscd asks every 0.4 s whether there is a card); anything else is a command APDU, answered by a response APDU. The
end of the connection says that there is no card; an answer of length zero would hang vpcd for good.

Things to know of vpcd 3.3 and pcscd 1.9:

* vpcd sends length and payload apart. Unless its peer acknowledges at once (TCP_QUICKACK, which the kernel forgets
  after each use) every APDU takes 44 ms instead of 0.1.
* It has two slots, on two ports in a row. With ``DEVICENAME /dev/null:PORT`` it listens, on all interfaces, and cards
  come and go as they connect and hang up. With ``DEVICENAME 127.0.0.1:PORT`` it connects to the cards, once: when a
  connection ends, or one of the two ports is not served, pcscd aborts. So there a card can't be pulled.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from esim_bench.errors import ConfigError, TransportError
from esim_drivers.sim.nvm import PowerLost
from esim_drivers.sim.terminal import Card

SLOTS: Final = 2
"""Slots of one vpcd, on ports in a row."""
LIBRARY: Final = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
"""Where Debian's vsmartcard-vpcd has it."""
OFF, ON, RESET, ATR = 0x00, 0x01, 0x02, 0x04
_NO_CARD: Final = b""
_SOME_ATR: Final = b"\x3b\x00"
_NOTHING_ON_IT: Final = b"\x6f\x00"
_RETRY_SECONDS: Final = 0.1
_TRIES: Final = 50


class VirtualReader:
    """One slot of vpcd: a card can be put in and pulled out at any moment, from any thread.

    ``rate``: how much of a command's simulated duration really passes (1 real time, 0 none). ``on_apdu``: called with
    each command and response, in the reader's thread.
    """

    def __init__(
        self,
        card: Card | None = None,
        *,
        rate: float = 1.0,
        on_apdu: Callable[[bytes, bytes], None] | None = None,
    ) -> None:
        self.rate = rate
        self.on_apdu = on_apdu
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._card: Card | None = None
        self._atr = _SOME_ATR
        self._powered = False
        self._pulled = threading.Event()
        if card is not None:
            self.insert(card)

    @property
    def card(self) -> Card | None:
        """Return the card that is in the slot."""
        return self._card

    @property
    def powered(self) -> bool:
        """Tell whether the reader gives the card power."""
        return self._powered

    def insert(self, card: Card) -> None:
        """Put a card in. Raises TransportError where there is one already."""
        with self._lock:
            if self._card is not None:
                raise TransportError("the virtual reader is taken", hint="pull the card out first")
            self._card = card
            self._powered = False
            # Asked for the ATR before it gives power, vpcd wants to know only whether there is a card.
            self._atr = _SOME_ATR
            self._pulled = threading.Event()
            self._changed.notify_all()

    def remove(self) -> Card | None:
        """Pull the card out, also in the middle of a command, which then gets no answer; return it."""
        with self._lock:
            card, self._card = self._card, None
            self._pulled.set()
            if card is not None:
                card.power_off()
            self._powered = False
            return card

    def wait_for_card(self, seconds: float) -> bool:
        """Wait until there is a card; tell whether there is."""
        with self._lock:
            return self._changed.wait_for(lambda: self._card is not None, seconds)

    # ------------------------------------------------------------------------------------------------- the protocol

    def answer(self, message: bytes) -> bytes | None:
        """Return what a message of vpcd is answered with, None for nothing; b"": there is no card, hang up."""
        if len(message) == 1:
            return self._control(message[0])
        with self._lock:
            card, pulled = self._card, self._pulled
            if card is None or not self._powered:
                return _NO_CARD
            try:
                response, seconds = card.transmit(message)
            except PowerLost:
                self._powered = False
                return _NO_CARD
        # Outside of the lock: this is when a card is pulled.
        if self.rate and seconds and pulled.wait(seconds * self.rate):
            return _NO_CARD
        if self.on_apdu is not None:
            self.on_apdu(message, response)
        return response

    def _control(self, control: int) -> bytes | None:
        with self._lock:
            card = self._card
            if control == ATR:
                return self._atr if card is not None else _NO_CARD
            if card is None:
                return None
            try:
                if control == OFF:
                    card.power_off()
                    self._powered = False
                elif control == RESET and self._powered:
                    self._atr = card.reset()
                elif control in (ON, RESET):
                    self._atr = card.power_on()
                    self._powered = True
            except PowerLost:
                self._powered = False
            return None

    def unplugged(self) -> None:
        """Take the power away: the reader's driver is gone."""
        with self._lock:
            if self._card is not None:
                self._card.power_off()
            self._powered = False


class VpcdHost:
    """Serves virtual readers to a vpcd, each on a thread and a port of its own. Close it in the end.

    Made by ``connecting`` (vpcd listens: DEVICENAME /dev/null:PORT) or ``listening`` (vpcd connects: DEVICENAME
    127.0.0.1:PORT).
    """

    def __init__(self, readers: Sequence[VirtualReader], address: str, port: int, listeners: Sequence[socket.socket]):
        """Use ``listening`` or ``connecting``."""
        self.readers = tuple(readers)
        self.address = address
        self.port = port
        """The first of the ports."""
        self._listeners = tuple(listeners)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads = []
        for index, reader in enumerate(self.readers):
            if listeners:
                work, source = self._listen, listeners[index]
                thread = threading.Thread(target=work, args=(reader, source), name=f"vpcd {port + index}", daemon=True)
            else:
                thread = threading.Thread(
                    target=self._connect, args=(reader, port + index), name=f"vpcd {port + index}", daemon=True
                )
            self._threads.append(thread)
            thread.start()

    @classmethod
    def listening(cls, readers: Sequence[VirtualReader], address: str = "127.0.0.1", port: int = 0) -> VpcdHost:
        """Wait for a vpcd that connects; port 0: a free one with free ports behind it.

        There are always two slots at least, as vpcd has. A slot without a card shows one that has nothing on it, as a
        connection that ends would abort pcscd. Raises TransportError when the ports are taken.
        """
        readers = [*readers, *(VirtualReader() for _ in range(SLOTS - len(readers)))]
        for _ in range(_TRIES if port == 0 else 1):
            listeners: list[socket.socket] = []
            first = port
            try:
                for index in range(len(readers)):
                    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                    listeners.append(listener)
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listener.bind((address, first + index if first else 0))
                    first = first or listener.getsockname()[1]
                    listener.listen(4)
                return cls(readers, address, first, listeners)
            except (OSError, OverflowError) as exc:
                for listener in listeners:
                    listener.close()
                reason = exc
        raise TransportError(
            "no ports for the virtual readers",
            expected=f"{len(readers)} free ports in a row on {address}" + (f" from {port}" if port else ""),
            found=str(reason),
            hint="is another card server running?",
        )

    @classmethod
    def connecting(cls, readers: Sequence[VirtualReader], address: str = "127.0.0.1", port: int = 0x8C7B) -> VpcdHost:
        """Connect each card to a vpcd that listens, and again whenever that goes away."""
        return cls(readers, address, port, ())

    def __enter__(self) -> VpcdHost:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Take all cards away and give the ports back. A pcscd that connects to them should have ended before."""
        self._closed.set()
        for reader in self.readers:
            reader.remove()
        for listener in self._listeners:
            # Wakes the thread that accepts; closing alone does not.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(2.0)

    # ------------------------------------------------------------------------------------------------- threads

    def _listen(self, reader: VirtualReader, listener: socket.socket) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._serve(reader, connection)

    def _connect(self, reader: VirtualReader, port: int) -> None:
        while not self._closed.is_set():
            # While there is no card there is no connection: so vpcd sees it.
            if not reader.wait_for_card(_RETRY_SECONDS):
                continue
            try:
                connection = socket.create_connection((self.address, port), timeout=2.0)
            except OSError:
                self._closed.wait(_RETRY_SECONDS)
                continue
            if connection.getsockname() == connection.getpeername():
                # vpcd's usual ports are among those that the kernel hands out: nobody listened, and by chance the
                # connection got the same port at both ends. Held any longer it would keep vpcd from listening.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                continue
            connection.settimeout(None)
            self._serve(reader, connection)

    def _serve(self, reader: VirtualReader, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._closed.is_set():
                message = _receive(connection)
                if message is None:
                    return
                answer = reader.answer(message) if message else None
                if answer == _NO_CARD:
                    if not self._listeners:
                        return
                    answer = _SOME_ATR if len(message) == 1 else _NOTHING_ON_IT
                if answer is not None:
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)
        except OSError:
            pass
        finally:
            reader.unplugged()
            with self._lock:
                self._connections.discard(connection)
            _hang_up(connection)


def _hang_up(connection: socket.socket) -> None:
    # Unread bytes would turn the end into a reset, which vpcd takes for a message of undefined length.
    with contextlib.suppress(OSError):
        connection.setblocking(False)
        while connection.recv(4096):
            pass
    connection.close()


def _receive(connection: socket.socket) -> bytes | None:
    """Receive one message; None at the end of the connection."""
    length = _exactly(connection, 2)
    if length is None:
        return None
    return _exactly(connection, int.from_bytes(length, "big"))


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    if size == 0:
        return b""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    data = connection.recv(size, socket.MSG_WAITALL)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    return data if len(data) == size else None


def reader_conf(name: str, port: int, *, address: str | None = None, library: Path | None = None) -> str:
    """Return the entry of a reader.conf with a vpcd of two slots, which pcscd shows as NAME 00 00 and NAME 00 01.

    ``address``: where it connects to; None: it listens on ``port`` and the one after it. ``library``: vpcd's, by
    default the installed one. Raises ConfigError when vpcd is not installed, or the name has a quote in it.
    """
    if '"' in name or not name or len(name) > 100:
        raise ConfigError("name of a virtual reader", expected="1 to 100 characters without quotes", found=repr(name))
    library = library or LIBRARY
    if not library.exists():
        raise ConfigError("vpcd is not installed", expected=str(library), hint="apt install vsmartcard-vpcd")
    return (
        f'FRIENDLYNAME "{name}"\nDEVICENAME {address or "/dev/null"}:0x{port:04X}\n'
        f"LIBPATH {library}\nCHANNELID 0x{port:04X}\n"
    )
