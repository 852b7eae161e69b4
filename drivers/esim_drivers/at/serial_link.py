"""A ByteLink over a serial device: a non-blocking descriptor on the loop, never a blocking read.

Ports are named by where they are plugged in, ``usb:1-1.3:1.2`` (bus and ports, configuration, interface), or by a path;
ttyUSB numbers move after each reset of a modem, so names are resolved at each opening.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
import tty
from collections.abc import Callable
from typing import Literal

from esim_bench.errors import ConfigError, InUseError, TransportError
from esim_drivers.usbtree import holders, resolve_port

_READ_SIZE = 4096
_NO_LINES = (errno.ENOTTY, errno.EINVAL)
"""What drivers of ports without control lines answer."""
_MOST_UNSENT = 64 * 1024


class SerialLink:
    """An open serial port, ours alone. Made inside a running loop.

    Raises TransportError when it can't be opened, InUseError, naming the process that has it.
    """

    def __init__(self, name: str, *, baud: int = 115200) -> None:
        self._path = resolve_port(name)
        self._on_data: Callable[[bytes], None] = lambda data: None
        self._on_lost: Callable[[Exception | None], None] = lambda reason: None
        self._unsent = bytearray()
        self._waits = False
        self._loop = asyncio.get_running_loop()
        self._fd = _open(self._path, baud)
        self._loop.add_reader(self._fd, self._readable)

    def set_receiver(self, on_data: Callable[[bytes], None], on_lost: Callable[[Exception | None], None]) -> None:
        """Say who hears of received bytes and of the loss of the link."""
        self._on_data, self._on_lost = on_data, on_lost

    def write(self, data: bytes) -> None:
        """Send bytes; what the port does not take at once goes out later. Raises TransportError when it is lost."""
        if self._fd < 0:
            raise TransportError("the serial port is closed", where=self._path)
        if len(self._unsent) + len(data) > _MOST_UNSENT:
            raise TransportError(
                "the serial port takes nothing", where=self._path, hint="flow control, or a dead modem"
            )
        self._unsent += data
        self._writable()

    def set_line(self, line: Literal["dtr", "rts"], asserted: bool) -> None:
        """Assert or release a control line. Raises TransportError: a port without such lines (a pty), a closed one."""
        if self._fd < 0:
            raise TransportError("the serial port is closed", where=self._path)
        request = termios.TIOCMBIS if asserted else termios.TIOCMBIC
        bits = termios.TIOCM_DTR if line == "dtr" else termios.TIOCM_RTS
        try:
            fcntl.ioctl(self._fd, request, struct.pack("I", bits))
        except OSError as exc:
            hint = "a pty has none, nor has a USB port without a UART" if exc.errno in _NO_LINES else None
            raise TransportError(f"cannot set {line.upper()}: {exc.strerror}", where=self._path, hint=hint) from exc

    def close(self) -> None:
        """Close the port; never raises."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            with contextlib.suppress(OSError):
                os.close(fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError as exc:
            self._lose(exc)
            return
        if data:
            self._on_data(data)
        else:
            self._lose(None)

    def _writable(self) -> None:
        try:
            sent = os.write(self._fd, self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            self._lose(exc)
            return
        del self._unsent[:sent]
        # Looked up before: both calls cost as much as the write itself.
        if self._unsent and not self._waits:
            self._loop.add_writer(self._fd, self._writable)
        elif self._waits and not self._unsent:
            self._loop.remove_writer(self._fd)
        self._waits = bool(self._unsent)

    def _lose(self, reason: OSError | None) -> None:
        self.close()
        text = reason.strerror if reason is not None else "end of file"
        self._on_lost(TransportError(f"the serial port vanished: {text}", where=self._path))


def _open(path: str, baud: int) -> int:
    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise ConfigError("unusable speed", where=path, expected="a usual one, as 115200", found=baud)
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise _refused(path, exc) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.ioctl(fd, termios.TIOCEXCL)
        tty.setraw(fd)
        settings = termios.tcgetattr(fd)
        settings[2] |= termios.CLOCAL | termios.CREAD
        settings[4] = settings[5] = speed
        termios.tcsetattr(fd, termios.TCSANOW, settings)
        termios.tcflush(fd, termios.TCIFLUSH)
    except (OSError, termios.error) as exc:
        os.close(fd)
        raise _refused(path, exc) from exc
    return fd


def _refused(path: str, exc: Exception) -> TransportError | InUseError:
    number = exc.args[0] if exc.args else None
    hint = None
    if number in (errno.EBUSY, errno.EAGAIN):
        who = ", ".join(holders(path)) or "another program"
        hint = "end that program, or wait for it; ModemManager is told to keep off by a udev rule"
        return InUseError(f"the serial port is held by {who}", where=path, hint=hint)
    if number == errno.EACCES:
        hint = "become a member of the group dialout, and log in again"
    elif number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        hint = "is the modem on and plugged in?"
    elif number == errno.ENOTTY:
        hint = "this is not a serial port"
    text = exc.args[1] if len(exc.args) > 1 else str(exc)
    return TransportError(f"cannot open the serial port: {text}", where=path, hint=hint)
