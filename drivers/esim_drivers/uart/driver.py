"""The driver ``uart``: ``observe = [ { driver = "uart", port = "usb:1-1.3:1.0", baud = 921600 } ]``.

Keys: ``port``, ``baud`` (115200), ``longest`` (bytes of a line that are kept, 1024), ``hide`` (regular expressions:
what they match is never told; where one has groups, these). Each line is a ``UartEvent``. Nothing is ever sent. A port
that vanishes (a module's own goes with its power) is opened again as soon as it is back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from esim_bench import clock
from esim_bench.errors import BenchError, ConfigError, TransportError
from esim_bench.events import EventSink, MarkEvent, UartEvent
from esim_bench.ports import DriverContext
from esim_drivers.at.serial_link import SerialLink
from esim_drivers.uart.lines import LONGEST, LineSplitter
from esim_drivers.usb_device import unknown_keys
from esim_drivers.usbtree import check_port_name

KEYS: Final = ("port", "baud", "longest", "hide")
IDLE_S: Final = 0.5
"""Silence after which a line that nothing has ended is told."""
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 1.0
PATIENCE_S: Final = 30.0
"""How long a lost port may stay away before that is trouble: modules are powered off and boot."""


class UartObserver:
    """Listens at one serial port until it is stopped. Made inside a running loop."""

    def __init__(
        self, port: str, baud: int, sink: EventSink, *, longest: int = LONGEST, hide: Sequence[re.Pattern[str]] = ()
    ) -> None:
        self._port, self._baud = port, baud
        self._sink = sink
        self._hide = tuple(hide)
        self._source = f"uart {port}"
        self._lines = LineSplitter(self._source, longest)
        self._link: SerialLink | None = None
        self._heard = 0
        self._failure: BenchError | None = None
        self._lost_at: float | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._wait = _FIRST_WAIT_S

    @property
    def trouble(self) -> BenchError | None:
        """Return why nothing is heard: the port was never there, or it is away for longer than ``PATIENCE_S``."""
        if self._link is not None or self._lost_at is None:
            return None
        if self._heard and asyncio.get_running_loop().time() - self._lost_at < PATIENCE_S:
            return None
        return self._failure

    async def start(self) -> None:
        """Listen; a port that is not there yet (its module has no power) is waited for. Raises ConfigError."""
        self._open()

    async def stop(self) -> None:
        """Tell the line that has begun, close the port; never raises."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._flush()
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _open(self) -> None:
        self._retry = None
        try:
            link = SerialLink(self._port, baud=self._baud)
        except TransportError as exc:
            self._gone(exc, "not there, waited for")
            return
        link.set_receiver(self._on_data, self._on_lost)
        if self._lost_at is not None:
            self._mark(f"{self._source}: {'back, ' if self._heard else ''}listening")
        self._link, self._lost_at, self._wait = link, None, _FIRST_WAIT_S
        self._heard += 1

    def _reopen(self) -> None:
        try:
            self._open()
        except BenchError as exc:
            self._gone(exc, "given up")
            self._stop_trying()

    def _stop_trying(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _gone(self, exc: BenchError, what: str) -> None:
        loop = asyncio.get_running_loop()
        if str(exc) != str(self._failure) or self._lost_at is None:
            self._mark(f"{self._source}: {what}: {exc}")
        self._failure = exc
        if self._lost_at is None:
            self._lost_at = loop.time()
        self._retry = loop.call_later(self._wait, self._reopen)
        self._wait = min(2 * self._wait, _LONGEST_WAIT_S)

    def _on_data(self, data: bytes) -> None:
        self._tell(self._lines.feed(data, clock.wall_ns()))
        self._quiet()
        if self._lines.open:
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._flush)

    def _on_lost(self, reason: Exception | None) -> None:
        if self._link is None:
            return
        self._link = None
        self._flush()
        lost = reason if isinstance(reason, BenchError) else TransportError("the port vanished", where=self._port)
        self._gone(lost, "lost, waited for")

    def _flush(self) -> None:
        self._quiet()
        self._tell(self._lines.flush())

    def _quiet(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _tell(self, events: Sequence[UartEvent]) -> None:
        for event in events:
            line = event.line
            for pattern in self._hide:
                line = pattern.sub(_stars, line)
            self._sink.emit(event if line == event.line else replace(event, line=line))

    def _mark(self, text: str) -> None:
        self._sink.emit(MarkEvent(clock.wall_ns(), text))


def _stars(found: re.Match[str]) -> str:
    """Return a match with its groups, or all of it where it has none, made unreadable."""
    spans = [found.span(group + 1) for group in range(found.re.groups)] or [found.span()]
    text = list(found[0])
    for start, end in spans:
        if start >= 0:
            text[start - found.start() : end - found.start()] = "*" * (end - start)
    return "".join(text)


class UartDriver:
    """Opens debug UARTs."""

    def open_observer(self, spec: Mapping[str, Any], context: DriverContext) -> UartObserver:
        """Open an observer (no I/O yet). Raises ConfigError for unknown or unusable keys."""
        unknown_keys(spec, KEYS, f"slot {context.slot}: observe")
        port = check_port_name(spec.get("port"))
        baud = _number(spec, "baud", 115_200)
        longest = _number(spec, "longest", LONGEST)
        hide = spec.get("hide", ())
        if isinstance(hide, str) or not isinstance(hide, Sequence) or not all(isinstance(one, str) for one in hide):
            raise ConfigError("hide of a UART", expected="a list of regular expressions", found=repr(hide))
        try:
            patterns = [re.compile(one) for one in hide]
        except re.error as exc:
            raise ConfigError("hide of a UART", expected="regular expressions", found=str(exc)) from exc
        return UartObserver(port, baud, context.sink, longest=longest, hide=patterns)


def _number(spec: Mapping[str, Any], key: str, default: int) -> int:
    value = spec.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000_000:
        raise ConfigError(f"{key} of a UART", expected="a number", found=repr(value))
    return value


driver = UartDriver()
