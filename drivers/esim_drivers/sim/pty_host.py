"""A simulated modem on a pseudo terminal: a serial port of the kernel's, in real time, for any program.

``link`` is the port's stable name, as /dev/serial/by-path has them: it is there while the modem is on its bus and leads
to another pty after each enumeration. Who has the old one open sees a hang-up, as with a USB modem that was reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import heapq
import os
import termios
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Final

from esim_bench import clock
from esim_bench.errors import TransportError
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.nvm import PowerLost
from esim_drivers.sim.pty_bus import PtyBus, link_to
from esim_drivers.sim.pty_watch import OpenWatch

_READ_SIZE: Final = 4096
_MOST_WAITING: Final = 4096
"""Characters of commands that wait inside the modem before it holds the host back (flow control)."""
_MOST_UNSENT: Final = 64 * 1024
"""Bytes that wait for a host that does not read; what comes then is lost."""
_LINGER: Final = 0.02
"""Real seconds that a port stays after its last line: a hang-up throws away what was not read yet."""


class _Pty:
    """One pair. The slave stays open here too, so that the master never sees a hang-up, and its settings are ours."""

    def __init__(self) -> None:
        try:
            self.master, self.slave = os.openpty()
        except OSError as exc:
            raise TransportError(f"no pseudo terminal: {exc.strerror}", hint="is /dev/pts there?") from exc
        self.node = os.ttyname(self.slave)
        os.set_blocking(self.master, False)
        self.tidy()

    def tidy(self) -> None:
        """Undo what the last user set: raw, no echo (it would be taken for commands), open for everybody."""
        with contextlib.suppress(OSError, termios.error):
            tty.setraw(self.slave)
            fcntl.ioctl(self.slave, termios.TIOCNXCL)
            termios.tcflush(self.slave, termios.TCIFLUSH)

    def close(self) -> None:
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)


class PtyModem:
    """Puts a SimModem on a pty. Made inside a running loop; many share one loop. ``close`` it in the end.

    ``rate``: seconds of the modem in a real one (10: boots in a tenth of the time). ``interface``: where it hangs on
    ``bus`` (``1-1.3:1.2``). ``on_port``: called with the node's path when the port comes, with None when it goes.
    """

    def __init__(
        self,
        modem: SimModem,
        link: Path,
        watch: OpenWatch,
        *,
        rate: float = 1.0,
        bus: PtyBus | None = None,
        interface: str | None = None,
        on_port: Callable[[str | None], None] = lambda node: None,
    ) -> None:
        self.modem = modem
        self.link = link
        self.lost = 0
        """Bytes to a host that did not read and so were lost."""
        self._loop = asyncio.get_running_loop()
        self._watch = watch
        self._rate = rate
        self._bus = bus
        self._interface = interface
        self._on_port = on_port
        self._powered = False
        self._enumeration = modem.enumeration
        self._pty: _Pty | None = None
        self._next: _Pty | None = None
        self._watched: int | None = None
        self._opened = 0
        self._paused = False
        self._unsent = bytearray()
        self._last_sent = 0.0
        self._queue: list[tuple[float, int, bytes]] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ahead = 0.0

    @property
    def node(self) -> str | None:
        """Return the path of the pty, None while the modem is not on its bus."""
        return self._pty.node if self._pty is not None else None

    @property
    def powered(self) -> bool:
        """Tell whether the modem has power."""
        return self._powered

    @property
    def opened(self) -> bool:
        """Tell whether somebody has the port open."""
        if self._opened == 0 and self._watch.works:
            self._watch.poll()
        return self._opened > 0 or (self._pty is not None and self._watched is None)

    # ------------------------------------------------------------------------------------------------- control

    def power_on(self) -> None:
        """Give the modem power; nothing happens when it has it already."""
        if not self._powered:
            self._powered = True
            self._take(self.modem.power_on)

    def power_off(self) -> None:
        """Cut the power: the port hangs up at this instant."""
        self._powered = False
        self.modem.power_off()
        self._enumeration = self.modem.enumeration
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._vanish(linger=False)

    def skip(self, seconds: float) -> None:
        """Have so many seconds of the modem's time pass at once: a boot that nobody wants to wait for."""
        end = self._now() + seconds
        while self._powered and (due := self.modem.deadline) is not None and due <= end:
            self._ahead += max(0.0, due - self._now())
            self._take(lambda now: self.modem.feed(b"", now), max(due, self._now()))
        self._ahead += max(0.0, end - self._now())
        self._take(lambda now: self.modem.feed(b"", now))

    def remove_card(self) -> None:
        """Pull the card out."""
        self._take(self.modem.remove_card)

    def insert_card(self) -> None:
        """Put it back."""
        self._take(self.modem.insert_card)

    def power_key(self, held_s: float) -> None:
        """Release PWRKEY after so many seconds of the modem's time."""
        self._take(lambda now: self.modem.power_key(now, held_s))

    def reset(self, held_s: float) -> None:
        """Release RESET after so many seconds of the modem's time."""
        self._take(lambda now: self.modem.reset(now, held_s))

    def hang_up(self) -> None:
        """Have the port vanish and come back under another name at once, as a cable that is pulled and put back."""
        if self._pty is not None:
            self._vanish(linger=False)
            self._appear()

    def close(self) -> None:
        """Cut the power and leave nothing behind."""
        self.power_off()
        if self._next is not None:
            self._next.close()
            self._next = None

    # ------------------------------------------------------------------------------------------------- the port

    def _appear(self) -> None:
        pty, self._next = self._next or _Pty(), None
        self._pty = pty
        self._opened = 0
        self._paused = False
        self._watched = self._watch.add(Path(pty.node), self._changed)
        self._loop.add_reader(pty.master, self._readable)
        link_to(self.link, pty.node)
        if self._bus is not None and self._interface is not None:
            self._bus.plug(self._interface, pty.node)
        self._on_port(pty.node)

    def _vanish(self, *, linger: bool) -> None:
        pty, self._pty = self._pty, None
        self._queue.clear()
        self._unsent.clear()
        if pty is None:
            return
        # Made before the old one is gone: the kernel can't give it the same name.
        self._next = _Pty()
        self._watch.remove(self._watched)
        self._watched = None
        self._loop.remove_reader(pty.master)
        self._loop.remove_writer(pty.master)
        with contextlib.suppress(OSError):
            if os.readlink(self.link) == pty.node:
                self.link.unlink()
        if self._bus is not None and self._interface is not None:
            self._bus.unplug(self._interface)
        left = self._last_sent + _LINGER - time.monotonic()
        if linger and left > 0:
            self._loop.call_later(left * clock.rate(), pty.close)
        else:
            pty.close()
        self._on_port(None)

    def _changed(self, step: int) -> None:
        """Somebody opened the port (1) or closed it (-1); 0: nobody knows."""
        self._opened = max(0, self._opened + step) if step else max(1, self._opened)
        if self._opened == 0 and self._pty is not None:
            self._unsent.clear()
            self._loop.remove_writer(self._pty.master)
            self._pty.tidy()

    def _readable(self) -> None:
        if self._pty is None:
            return
        try:
            data = os.read(self._pty.master, _READ_SIZE)
        except OSError:
            return
        self._take(lambda now: self.modem.feed(data, now))

    def _flow(self) -> None:
        """Hold the host back while the modem has more to do than it can remember."""
        if self._pty is None:
            return
        if not self._paused and self.modem.unread > _MOST_WAITING:
            self._paused = True
            self._loop.remove_reader(self._pty.master)
        elif self._paused and self.modem.unread <= _MOST_WAITING // 2:
            self._paused = False
            self._loop.add_reader(self._pty.master, self._readable)

    # ------------------------------------------------------------------------------------------------- delivery

    def _now(self) -> float:
        return self._loop.time() * self._rate + self._ahead

    def _take(self, step: Callable[[float], list[tuple[float, bytes]]], now: float | None = None) -> None:
        """Let the modem work at the present time, deliver what is due, and set the timer for what comes next."""
        if now is None:
            now = self._now()
        try:
            out = step(now)
        except PowerLost:
            # The supply of the whole device dipped.
            self.power_off()
            self.power_on()
            return
        for due, data in out:
            self._number += 1
            heapq.heappush(self._queue, (due, self._number, data))
        if self.modem.enumeration != self._enumeration:
            self._deliver(now)
            vanished = self._pty is not None
            self._enumeration = self.modem.enumeration
            if vanished:
                self._vanish(linger=True)
            if self.modem.attached:
                self._appear()
        self._deliver(now)
        self._flow()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        times = [due for due in (self.modem.deadline, self._queue[0][0] if self._queue else None) if due is not None]
        if times:
            when = min(times)
            self._timer = self._loop.call_at((when - self._ahead) / self._rate, self._fall_due, when)

    def _fall_due(self, when: float) -> None:
        self._timer = None
        # The loop may call a hair too early.
        self._take(lambda now: self.modem.feed(b"", now), max(when, self._now()))

    def _deliver(self, now: float) -> None:
        data = b""
        while self._queue and self._queue[0][0] <= now:
            data += heapq.heappop(self._queue)[2]
        if not data or self._pty is None or not self.opened:
            return
        self._last_sent = time.monotonic()
        if self._unsent:
            room = _MOST_UNSENT - len(self._unsent)
            self.lost += max(0, len(data) - room)
            self._unsent += data[: max(0, room)]
            return
        self._unsent += data
        self._send()

    def _send(self) -> None:
        if self._pty is None:
            return
        try:
            sent = os.write(self._pty.master, self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self._unsent)
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._pty.master, self._send)
        else:
            self._loop.remove_writer(self._pty.master)
