"""A simulated modem with a card in it: boot, AT commands, sessions, quirks. Sans-IO: a host gives it time and a wire.

Its manners are those of a dialect, the same row of hw/modules that the AT driver reads. ``feed`` takes what was written
to the port, and the time; it returns what comes out of the port and when. Between two calls things fall due inside (a
boot goes on, the SIM is reset): ``deadline`` says when ``feed(b"", deadline)`` is wanted. The port itself can vanish
and come back under a new name: ``attached`` says whether it is there, ``enumeration`` changes with each of the two.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence

from esim_bench.data import Dialect, Urc
from esim_drivers.sim.modem_card import ModemCard, SimState
from esim_drivers.sim.modem_commands import Interpreter, Result
from esim_drivers.sim.modem_network import Network
from esim_drivers.sim.terminal import Card

_GAP = 0.001
"""Seconds between the lines of an answer; an unsolicited line can fall into it."""
_LONGEST_INPUT = 64 * 1024
_LEAST_DOWN = 0.5
"""Seconds that an orderly power-down takes at least."""
_NOISE = bytes(byte for byte in range(1, 256) if byte not in b"\r\n")
"""What garbage on the line is made of; it has no line ends, so it stands before the first line."""


class SimModem:
    """A modem of one dialect. It has no power at first. Times in seconds of the host's clock.

    ``rng``: the only source of chance. Methods raise PowerLost when the card's power vanishes in the middle of a write.
    Those that return lists return what comes out of the port, as ``feed`` does.
    """

    def __init__(self, dialect: Dialect, card: Card, *, rng: random.Random, imei: str) -> None:
        self.dialect = dialect
        self.sim = ModemCard(dialect, card, rng)
        self.attached = False
        """Whether the port is there."""
        self.enumeration = 0
        """Counts how often the port came or went."""
        self._quirks = dialect.quirks
        self._rng = rng
        self._network = Network(dialect, self.sim, rng)
        self._at = Interpreter(dialect, self.sim, self._network, imei)
        self._powered = False
        self._running = False
        self._due: list[tuple[float, int, int | None, Callable[[float], None]]] = []
        self._number = 0
        self._sim_life = 0
        self._out: list[tuple[float, bytes]] = []
        self._wire_free = 0.0
        self._listens = False
        self._busy = False
        self._busy_until = 0.0
        self._typed = bytearray()
        self._waiting: deque[str] = deque()
        self._held = b""
        self._slow = 1.0

    # ------------------------------------------------------------------------------------------------- power

    def power_on(self, now: float) -> list[tuple[float, bytes]]:
        """Give it power: it boots."""
        if not self._powered:
            self._powered = True
            self._wire_free = now
            self._boot(now, "power")
        return self.feed(b"", now)

    def power_off(self) -> None:
        """Take the power away from modem and card, at any moment."""
        self._powered = False
        self._stop()
        self._out.clear()
        self._detach()

    def power_key(self, now: float, held_s: float) -> list[tuple[float, bytes]]:
        """Release PWRKEY (PWR_ON), which was pulled for a while: long enough, the module goes on, or off in order.

        Nothing happens without a supply.
        """
        times = self.dialect.power
        self._run(now)
        if self._powered and not self._running:
            if held_s * 1000 >= (times.on_pull_ms or 0):
                self._boot(now, "power")
        elif self._powered and held_s * 1000 >= (times.off_pull_ms or 0):
            self._go_down(now)
        return self.feed(b"", now)

    def reset(self, now: float, held_s: float) -> list[tuple[float, bytes]]:
        """Release RESET, which was pulled for a while: long enough, the module boots anew."""
        self._run(now)
        if self._powered and held_s * 1000 >= (self.dialect.power.reset_hold_ms or 0):
            self._stop()
            self._boot(now, "reboot")
        return self.feed(b"", now)

    @property
    def running(self) -> bool:
        """Tell whether it runs: it has power, and has not powered down."""
        return self._running

    @property
    def deadline(self) -> float | None:
        """Return when something falls due inside; None: nothing will happen by itself."""
        return self._due[0][0] if self._due else None

    @property
    def unread(self) -> int:
        """Return how many characters of commands wait to be executed: a host with flow control holds back then."""
        return sum(map(len, self._waiting))

    def _stop(self) -> None:
        """Stop everything at once; what is out already stays on the line."""
        self._sim_life += 1
        self._due.clear()
        self._running = False
        self._listens = False
        self._busy = False
        self._typed.clear()
        self._waiting.clear()
        self._held = b""
        self.sim.power_off()

    def _boot(self, now: float, cause: str) -> None:
        boot, quirks = self.dialect.boot, self._quirks
        self._running = True
        self._slow = quirks.slow_boot_factor if self._by_chance(quirks.slow_boot) else 1.0
        self._at.defaults()
        self._network.defaults()
        self._at.cfun = boot.cfun
        if cause in quirks.reenumerates:
            self._go_away(now)
        elif not self.attached:
            self._attach(now)
        port = now + self._late(boot.port_s)
        self._busy_until = port + quirks.busy_s
        self._at_time(port, self._listen)
        early = [urc for urc in boot.urcs if urc.at_s < boot.sim_s]
        if quirks.garbage:
            first = min([boot.port_s, *(urc.at_s for urc in boot.urcs)])
            noise = bytes(self._rng.choices(_NOISE, k=quirks.garbage))
            self._at_time(now + first * self._slow * 0.9, lambda due: self._send(noise, due))
        # Lines after the SIM has power are about the SIM, and go silent with it.
        self._announce(early, now, boot.jitter_s, factor=self._slow)
        if boot.cfun:
            self._at_time(now + self._late(boot.sim_s), lambda due: self._boot_sim(due, now))

    def _listen(self, _due: float) -> None:
        self._listens = True

    def _go_down(self, now: float) -> None:
        """Power down in order."""
        self._listens = False
        self._waiting.clear()
        most = self.dialect.power.power_down_s
        seconds = max(_LEAST_DOWN, most * (0.1 + 0.2 * self._rng.random())) if most else _LEAST_DOWN
        self._at_time(now + seconds, self._down)

    def _down(self, now: float) -> None:
        if self.dialect.power.down_urc is not None:
            self._say(self.dialect.power.down_urc, now)
        self._stop()
        if self._quirks.reenumerates:
            # A USB device: it leaves the bus when it is down, after its last line.
            self._at_time(self._wire_free + _GAP, lambda due: self._detach())

    # ------------------------------------------------------------------------------------------------- the port

    def _go_away(self, now: float) -> None:
        """Have the port vanish, and come back a while later."""
        self._detach()
        self._out = [item for item in self._out if item[0] <= now]
        self._at_time(now + self._quirks.away_s, self._attach)

    def _detach(self) -> None:
        self._typed.clear()
        self._waiting.clear()
        self._held = b""
        if self.attached:
            self.attached = False
            self.enumeration += 1

    def _attach(self, now: float) -> None:
        if not self.attached:
            self.attached = True
            self.enumeration += 1
            self._wire_free = now

    # ------------------------------------------------------------------------------------------------- the SIM

    def remove_card(self, now: float) -> list[tuple[float, bytes]]:
        """Pull the card out."""
        self._run(now)
        before = self.sim.state
        self._sim_life += 1
        self.sim.remove()
        if before in (SimState.STARTING, SimState.READY):
            self._tell_of_sim([*self.dialect.sim.removed_urcs, *self._network.lose()], now)
        return self.feed(b"", now)

    def insert_card(self, now: float) -> list[tuple[float, bytes]]:
        """Put the card back in; a modem that does not notice goes on without."""
        self._run(now)
        self.sim.inserted = True
        if self._quirks.hot_plug and self.sim.state is SimState.ABSENT:
            self._tell_of_sim(self.dialect.sim.inserted_urcs, now)
            self._restart_sim(now, cold=True)
        return self.feed(b"", now)

    def _start_sim(self, now: float, ready: float, *, cold: bool) -> None:
        self._sim_life += 1
        self._network.lose()
        seconds = self.sim.start(cold=cold)
        if self.sim.state is SimState.ABSENT:
            self._tell_of_sim(self.dialect.sim.absent_urcs, now)
        else:
            self._at_time(max(ready, now + seconds), self._sim_ready, sim=True)

    def _boot_sim(self, now: float, booted: float) -> None:
        boot = self.dialect.boot
        self._start_sim(now, booted + boot.ready_s * self._slow, cold=True)
        if self.sim.state is not SimState.ABSENT:
            later = [urc for urc in boot.urcs if urc.at_s >= boot.sim_s]
            self._announce(later, booted, boot.jitter_s, sim=True, factor=self._slow)

    def _restart_sim(self, now: float, *, cold: bool) -> None:
        self._start_sim(now, now + self.dialect.sim.restart_s, cold=cold)
        if self.sim.state is not SimState.ABSENT:
            self._announce(self.dialect.sim.urcs, now, self.dialect.boot.jitter_s / 4, sim=True)

    def _sim_ready(self, due: float) -> None:
        self.sim.state = SimState.READY
        self._search(due)

    def _stop_sim(self, now: float) -> None:
        self._sim_life += 1
        self.sim.power_off()
        self._tell(self._network.lose(), now)

    def _refresh(self, now: float) -> None:
        self._restart_sim(now, cold=False)
        if "refresh" in self._quirks.reenumerates:
            self._go_away(now)

    def _search(self, now: float) -> None:
        """Look for a network, unless the radio is off."""
        if self._at.cfun == 1:
            self._network.search()
            register = now + self._network.register_s
            self._at_time(register, lambda due: self._tell(self._network.register(), due), sim=True)

    # ------------------------------------------------------------------------------------------------- time

    def feed(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        """Take what was written to the port; return what comes out of it: (due time, bytes), in order of time."""
        self._run(now)
        if data and self._running and self.attached:
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

    def _announce(
        self, urcs: Sequence[Urc], now: float, jitter: float, *, sim: bool = False, factor: float = 1.0
    ) -> None:
        for urc in urcs:
            at = now + urc.at_s * factor + self._rng.random() * jitter
            if sim and self._by_chance(self._quirks.missed_urcs):
                continue
            self._at_time(at, lambda due, line=urc.line: self._say(line, due), sim=sim)  # type: ignore[misc]

    def _late(self, seconds: float) -> float:
        return seconds * self._slow + self._rng.random() * self.dialect.boot.jitter_s

    def _by_chance(self, chance: float) -> bool:
        return chance > 0.0 and self._rng.random() < chance

    # ------------------------------------------------------------------------------------------------- commands

    def _type(self, data: bytes, now: float) -> None:
        arrived = now + self._wire(len(data))
        if not self._listens:
            return
        if self._quirks.lost_in:
            data = bytes(byte for byte in data if not self._by_chance(self._quirks.lost_in))
        for byte in data:
            if byte == 0x0D:
                line = self._typed.decode("latin-1")
                self._typed.clear()
                if self._at.echo:
                    end = b"\r" if self._quirks.echo_end == "cr" else b"\r\n"
                    self._send(line.encode("latin-1") + end, arrived)
                self._waiting.append(line.strip())
            elif byte != 0x0A and len(self._typed) < _LONGEST_INPUT:
                self._typed.append(byte)
        if self._waiting and not self._busy:
            self._busy = True
            self._at_time(arrived, self._next)

    def _next(self, now: float) -> None:
        """Execute the next line that waits; the port is busy until its answer is out."""
        while self._waiting:
            line = self._waiting.popleft()
            if self._by_chance(self._quirks.ignored):
                continue
            result = self._at.execute(line, busy=now < self._busy_until)
            if result is not None:
                break
        else:
            self._busy = False
            return
        if result.hangs:
            self._listens = self._busy = False
            self._waiting.clear()
            return
        at = self.dialect.at
        self._at_time(
            now + result.seconds + at.answer_s + self._rng.random() * at.jitter_s, lambda due: self._answer(result, due)
        )

    def _answer(self, result: Result, now: float) -> None:
        if self._by_chance(self._quirks.withheld):
            self._held += b"".join(map(_framed, (*result.lines, result.final)))
            self._at_time(now + self._quirks.withheld_s, self._release)
            self._settle(result, now)
            return
        now = self._interrupt(now)
        for line in result.lines:
            self._say(line, now)
            now = self._interrupt(now + _GAP)
        self._at_time(now, lambda due: self._end(result, due))

    def _interrupt(self, now: float) -> float:
        """Let an unsolicited line fall into an answer by chance; return when it goes on."""
        if not self._by_chance(self._quirks.noise_chance if self._quirks.noise else 0.0):
            return now
        self._say(self._rng.choice(self._quirks.noise), now)
        return now + _GAP

    def _release(self, now: float) -> None:
        held, self._held = self._held, b""
        if held:
            self._send(held, now)

    def _end(self, result: Result, now: float) -> None:
        self._say(result.final, now)
        self._settle(result, now)

    def _settle(self, result: Result, now: float) -> None:
        """Do what a command leads to after its answer."""
        if result.sim_power is not None:
            if result.sim_power:
                self._restart_sim(now, cold=True)
            else:
                self._stop_sim(now)
            if "cfun" in self._quirks.reenumerates:
                self._at_time(max(now, self._wire_free) + _GAP, self._go_away)
        if result.radio is not None:
            if result.radio and self.sim.state is SimState.READY:
                self._search(now)
            else:
                self._tell(self._network.lose(), now)
        if result.refresh and self._quirks.refresh == "reset":
            self._at_time(now + self.dialect.sim.refresh_s, self._refresh, sim=True)
        if result.down:
            self._go_down(now)
            return
        if result.reboot:
            self._stop()
            self._boot(max(now, self._wire_free) if "reboot" in self._quirks.reenumerates else now, "reboot")
            return
        self._at_time(max(now, self._wire_free), self._next)

    # ------------------------------------------------------------------------------------------------- the line

    def _tell_of_sim(self, lines: Sequence[str], now: float) -> None:
        self._tell([line for line in lines if not self._by_chance(self._quirks.missed_urcs)], now)

    def _tell(self, lines: Sequence[str], now: float) -> None:
        for line in lines:
            self._say(line, now)

    def _say(self, line: str, now: float) -> None:
        self._send(_framed(line), now)

    def _send(self, data: bytes, now: float) -> None:
        if not self.attached:
            return
        if self._held:
            data, self._held = self._held + data, b""
        if self._quirks.lost_out:
            data = bytes(byte for byte in data if not self._by_chance(self._quirks.lost_out))
        self._wire_free = max(self._wire_free, now) + self._wire(len(data))
        self._out.append((self._wire_free, data))

    def _wire(self, characters: int) -> float:
        return characters * 10 / self.dialect.at.baud if self.dialect.at.baud else 0.0


def _framed(line: str) -> bytes:
    return b"\r\n" + line.encode("latin-1") + b"\r\n"
