"""A simulated modem with a card in it: boot, AT commands, sessions, REFRESH. Sans-IO: a host gives it time and a wire.

Its manners are those of a dialect, the same row of hw/modules that the AT driver reads. ``feed`` takes what was written
to the port, and the time; it returns what comes out of the port and when. Between two calls things fall due inside (a
boot goes on, the SIM is reset): ``deadline`` says when ``feed(b"", deadline)`` is wanted.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence

from esim_bench.data import Dialect, Urc
from esim_drivers.sim.modem_card import ModemCard, SimState
from esim_drivers.sim.modem_commands import Interpreter, Result
from esim_drivers.sim.terminal import Card

_GAP = 0.001
"""Seconds between the lines of an answer; an unsolicited line can fall into it."""
_LONGEST_INPUT = 64 * 1024


class SimModem:
    """A modem of one dialect. It has no power at first. Times in seconds of the host's clock.

    ``rng``: the only source of chance. Methods raise PowerLost when the card's power vanishes in the middle of a write.
    """

    def __init__(self, dialect: Dialect, card: Card, *, rng: random.Random, imei: str) -> None:
        self.dialect = dialect
        self.sim = ModemCard(dialect, card)
        self._rng = rng
        self._at = Interpreter(dialect, self.sim, imei)
        self._powered = False
        self._due: list[tuple[float, int, int | None, Callable[[float], None]]] = []
        self._number = 0
        self._sim_life = 0
        self._out: list[tuple[float, bytes]] = []
        self._wire_free = 0.0
        self._listens = False
        self._busy = False
        self._typed = bytearray()
        self._waiting: deque[str] = deque()

    # ------------------------------------------------------------------------------------------------- power

    def power_on(self, now: float) -> list[tuple[float, bytes]]:
        """Give it power: it boots. Returns what comes out of the port, as ``feed`` does."""
        if not self._powered:
            self._powered = True
            self._wire_free = now
            self._boot(now)
        return self.feed(b"", now)

    def power_off(self) -> None:
        """Take the power away from modem and card, at any moment."""
        self._powered = False
        self._stop()

    @property
    def deadline(self) -> float | None:
        """Return when something falls due inside; None: nothing will happen by itself."""
        return self._due[0][0] if self._due else None

    def _stop(self) -> None:
        self._sim_life += 1
        self._due.clear()
        self._out.clear()
        self._listens = False
        self._busy = False
        self._typed.clear()
        self._waiting.clear()
        self.sim.power_off()

    def _boot(self, now: float) -> None:
        boot = self.dialect.boot
        self._at.defaults()
        self._at.cfun = boot.cfun
        self._at_time(now + self._late(boot.port_s), self._listen)
        # Lines after the SIM has power are about the SIM, and go silent with it.
        self._announce([urc for urc in boot.urcs if urc.at_s < boot.sim_s], now, boot.jitter_s)
        if boot.cfun:
            self._at_time(now + self._late(boot.sim_s), lambda due: self._boot_sim(due, now))

    def _listen(self, _due: float) -> None:
        self._listens = True

    # ------------------------------------------------------------------------------------------------- the SIM

    def _start_sim(self, now: float, ready: float, *, cold: bool) -> None:
        self._sim_life += 1
        seconds = self.sim.start(cold=cold)
        self._at_time(max(ready, now + seconds), self._sim_ready, sim=True)

    def _boot_sim(self, now: float, booted: float) -> None:
        boot = self.dialect.boot
        self._start_sim(now, booted + boot.ready_s, cold=True)
        self._announce([urc for urc in boot.urcs if urc.at_s >= boot.sim_s], booted, boot.jitter_s, sim=True)

    def _restart_sim(self, now: float, *, cold: bool) -> None:
        self._start_sim(now, now + self.dialect.sim.restart_s, cold=cold)
        self._announce(self.dialect.sim.urcs, now, self.dialect.boot.jitter_s / 4, sim=True)

    def _sim_ready(self, _due: float) -> None:
        self.sim.state = SimState.READY

    def _stop_sim(self) -> None:
        self._sim_life += 1
        self.sim.power_off()

    # ------------------------------------------------------------------------------------------------- time

    def feed(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        """Take what was written to the port; return what comes out of it: (due time, bytes), in order of time."""
        self._run(now)
        if data and self._powered:
            self._type(data, now)
            self._run(now)
        out, self._out = self._out, []
        return sorted(out, key=lambda item: item[0])

    def _run(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            due, _, sim_life, action = heapq.heappop(self._due)
            if sim_life in (None, self._sim_life):
                action(due)

    def _at_time(self, due: float, action: Callable[[float], None], *, sim: bool = False) -> None:
        """Do something later; ``sim``: unless the SIM loses its power or is reset before."""
        self._number += 1
        heapq.heappush(self._due, (due, self._number, self._sim_life if sim else None, action))

    def _announce(self, urcs: Sequence[Urc], now: float, jitter: float, *, sim: bool = False) -> None:
        for urc in urcs:
            at = now + urc.at_s + self._rng.random() * jitter
            self._at_time(at, lambda due, line=urc.line: self._say(line, due), sim=sim)  # type: ignore[misc]

    def _late(self, seconds: float) -> float:
        return seconds + self._rng.random() * self.dialect.boot.jitter_s

    # ------------------------------------------------------------------------------------------------- the port

    def _type(self, data: bytes, now: float) -> None:
        arrived = now + self._wire(len(data))
        if not self._listens:
            return
        for byte in data:
            if byte == 0x0D:
                line = self._typed.decode("latin-1")
                self._typed.clear()
                if self._at.echo:
                    self._send(line.encode("latin-1") + b"\r", arrived)
                self._waiting.append(line.strip())
            elif byte != 0x0A and len(self._typed) < _LONGEST_INPUT:
                self._typed.append(byte)
        if self._waiting and not self._busy:
            self._busy = True
            self._at_time(arrived, self._next)

    def _next(self, now: float) -> None:
        """Execute the next line that waits; the port is busy until its answer is out."""
        if not self._waiting:
            self._busy = False
            return
        result = self._at.execute(self._waiting.popleft())
        if result is None:
            self._next(now)
            return
        at = self.dialect.at
        self._at_time(
            now + result.seconds + at.answer_s + self._rng.random() * at.jitter_s, lambda due: self._answer(result, due)
        )

    def _answer(self, result: Result, now: float) -> None:
        for line in result.lines:
            self._say(line, now)
            now += _GAP
        self._at_time(now, lambda due: self._end(result, due))

    def _end(self, result: Result, now: float) -> None:
        self._say(result.final, now)
        if result.sim_power is not None:
            if result.sim_power:
                self._restart_sim(now, cold=True)
            else:
                self._stop_sim()
        if result.refresh:
            self._at_time(now + self.dialect.sim.refresh_s, lambda due: self._restart_sim(due, cold=False), sim=True)
        if result.reboot:
            out, self._out = self._out, []
            self._stop()
            self._out = out
            self._boot(now)
            return
        self._at_time(max(now, self._wire_free), self._next)

    def _say(self, line: str, now: float) -> None:
        self._send(b"\r\n" + line.encode("latin-1") + b"\r\n", now)

    def _send(self, data: bytes, now: float) -> None:
        self._wire_free = max(self._wire_free, now) + self._wire(len(data))
        self._out.append((self._wire_free, data))

    def _wire(self, characters: int) -> float:
        return characters * 10 / self.dialect.at.baud if self.dialect.at.baud else 0.0
