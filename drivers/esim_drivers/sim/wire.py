"""A simulated modem's serial port: a ByteLink in memory that gives the sans-IO modem time and delivery."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Literal

from esim_bench.errors import TransportError
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.nvm import PowerLost


class Wire:
    """The port's side of a simulated modem. All times are those of the running loop.

    ``on_first_byte`` is called when the modem says something for the first time after each power on. When the card
    loses its power in the middle of a write the supply of the whole device dips: the modem reboots, links are lost.
    """

    def __init__(self, modem: SimModem, on_first_byte: Callable[[], None]) -> None:
        self._modem = modem
        self._on_first_byte = on_first_byte
        self._silent = True
        self._powered = False
        self._links: list[MemoryLink] = []
        self._queue: list[tuple[float, int, bytes]] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._enumeration = modem.enumeration
        self._attached = modem.attached
        self.pins: dict[str, Literal["power_key", "reset"]] = {}
        """Which of the module's pins DTR and RTS pull."""
        self._pulled: dict[str, float] = {}

    @property
    def powered(self) -> bool:
        """Tell whether the modem has power."""
        return self._powered

    def open(self) -> MemoryLink:
        """Open the port; what the modem said before is lost. Raises TransportError without power."""
        if not self._powered:
            raise TransportError("no AT port", expected="a modem with power", found="none", hint="power the slot on")
        if not self._modem.attached:
            raise TransportError("no AT port", expected="the modem on its bus", found="none", hint="it boots: wait")
        link = MemoryLink(self)
        self._links.append(link)
        return link

    def power_on(self) -> None:
        """Give the modem power; nothing happens when it has it already."""
        if not self._powered:
            self._powered = True
            self._silent = True
            self._take(lambda now: self._modem.power_on(now))

    def power_off(self) -> None:
        """Take the power away: modem and card stop at this instant, what was on the wire is gone."""
        self._powered = False
        self._modem.power_off()
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._enumeration = self._modem.enumeration
        self._attached = False
        self._pulled.clear()
        self._lose(TransportError("the modem lost its power"))

    def _lose(self, reason: TransportError) -> None:
        links, self._links = self._links, []
        for link in links:
            link.lose(reason)

    def remove_card(self) -> None:
        """Pull the card out of the modem's holder."""
        self._take(self._modem.remove_card)

    def insert_card(self) -> None:
        """Put it back."""
        self._take(self._modem.insert_card)

    def set_line(self, line: str, asserted: bool) -> None:
        """Pull or release the pin that a control line is wired to. Raises TransportError where it is wired to none."""
        pin = self.pins.get(line)
        if pin is None:
            raise TransportError("this port has no control lines", expected="wired pins", found=line.upper())
        now = asyncio.get_running_loop().time()
        if asserted:
            self._pulled.setdefault(line, now)
        elif line in self._pulled:
            held = now - self._pulled.pop(line)
            act = self._modem.power_key if pin == "power_key" else self._modem.reset
            self._take(lambda time: act(time, held))

    def write(self, data: bytes) -> None:
        """Hand bytes to the modem."""
        self._take(lambda now: self._modem.feed(data, now))

    def forget(self, link: MemoryLink) -> None:
        """Deliver nothing more to a link."""
        if link in self._links:
            self._links.remove(link)

    # ------------------------------------------------------------------------------------------------- delivery

    def _take(self, step: Callable[[float], list[tuple[float, bytes]]]) -> None:
        """Let the modem work at the present time, queue what it says, and set the timer for what comes next."""
        try:
            out = step(asyncio.get_running_loop().time())
        except PowerLost:
            self.power_off()
            self.power_on()
            return
        for due, data in out:
            self._number += 1
            # Two lines of one instant keep their order.
            heapq.heappush(self._queue, (due, self._number, data))
        if self._modem.enumeration != self._enumeration:
            self._enumerate()
        self._arm()

    def _enumerate(self) -> None:
        """The port vanished, and perhaps came back: what was said before is delivered, links are lost."""
        self._enumeration = self._modem.enumeration
        was_there, self._attached = self._attached, self._modem.attached
        if not was_there:
            return
        now = asyncio.get_running_loop().time()
        while self._queue and self._queue[0][0] <= now:
            self._deliver(heapq.heappop(self._queue)[2])
        self._queue.clear()
        self._lose(TransportError("the modem's port vanished", hint="it was reset and comes back under another name"))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        times = [due for due in (self._modem.deadline, self._queue[0][0] if self._queue else None) if due is not None]
        if times:
            when = min(times)
            self._timer = asyncio.get_running_loop().call_at(when, self._due, when)

    def _due(self, when: float) -> None:
        self._timer = None
        # A real loop may call a hair too early.
        now = max(when, asyncio.get_running_loop().time())
        self._take(lambda _: self._modem.feed(b"", now))
        while self._queue and self._queue[0][0] <= now:
            self._deliver(heapq.heappop(self._queue)[2])
        self._arm()

    def _deliver(self, data: bytes) -> None:
        if self._silent:
            self._silent = False
            self._on_first_byte()
        for link in tuple(self._links):
            link.deliver(data)


class MemoryLink:
    """A ByteLink to a simulated modem."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lost: TransportError | None = None
        self._on_data: Callable[[bytes], None] = lambda data: None
        self._on_lost: Callable[[Exception | None], None] = lambda reason: None

    def set_receiver(self, on_data: Callable[[bytes], None], on_lost: Callable[[Exception | None], None]) -> None:
        """Say who hears of received bytes and of the loss of the link."""
        self._on_data, self._on_lost = on_data, on_lost

    def write(self, data: bytes) -> None:
        """Send bytes. Raises TransportError when the link is lost."""
        if self._lost is not None:
            raise self._lost
        self._wire.write(data)

    def set_line(self, line: Literal["dtr", "rts"], asserted: bool) -> None:
        """Assert or release a control line. Raises TransportError: wired to nothing, a lost link."""
        if self._lost is not None:
            raise self._lost
        self._wire.set_line(line, asserted)

    def close(self) -> None:
        """Close the link; never raises."""
        self._lost = self._lost or TransportError("the AT port was closed")
        self._wire.forget(self)

    def deliver(self, data: bytes) -> None:
        """Hand received bytes on."""
        self._on_data(data)

    def lose(self, reason: TransportError) -> None:
        """Be lost."""
        if self._lost is None:
            self._lost = reason
            self._on_lost(reason)
