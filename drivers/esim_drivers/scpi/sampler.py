"""An observer that asks a meter for current and voltage at a fixed pace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final, Protocol

from esim_bench import clock
from esim_bench.errors import BenchError, ConfigError, DeviceError
from esim_bench.events import EventSink, MarkEvent, SampleEvent

EVERY_S: Final = 0.1
_SHORTEST_S, _LONGEST_S = 0.005, 3600.0
_WAIT_S: Final = 1.0
"""The least time between two tries while the meter does not answer."""


class Meter(Protocol):
    """What can be asked for current and voltage."""

    async def measure(self) -> tuple[float | None, float | None]:
        """Return amperes and volts now, None for what it does not measure. Raises DeviceError."""

    async def close(self) -> None:
        """Release it; never raises."""


def pace(spec: Mapping[str, Any]) -> float:
    """Return ``every_s`` of an ``observe`` entry, in seconds. Raises ConfigError."""
    value = spec.get("every_s", EVERY_S)
    if isinstance(value, bool) or not isinstance(value, int | float) or not _SHORTEST_S <= value <= _LONGEST_S:
        raise ConfigError("every_s", expected=f"seconds, {_SHORTEST_S:g} to {_LONGEST_S:g}", found=repr(value))
    return float(value)


class Sampler:
    """Samples a meter until it is stopped. A meter that does not answer is told of once, and asked on."""

    def __init__(self, meter: Meter, every_s: float, sink: EventSink, source: str) -> None:
        self._meter = meter
        self._every_s = every_s
        self._sink = sink
        self._source = source
        self._task: asyncio.Task[None] | None = None
        self._failure: BenchError | None = None
        self._late = False

    @property
    def trouble(self) -> BenchError | None:
        """Return why the meter does not answer now."""
        return self._failure

    async def start(self) -> None:
        """Take the first sample, and go on. Raises DeviceError when the meter does not answer."""
        try:
            await self._sample()
        except BaseException:
            await self._meter.close()
            raise
        self._task = asyncio.create_task(self._run(), name=self._source)

    async def stop(self) -> None:
        """End, release the meter; never raises."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await self._meter.close()

    async def _run(self) -> None:
        due = clock.now()
        while True:
            due += self._every_s
            wait = due - clock.now()
            if wait < 0:
                # Slower than asked for: go on from here instead of catching up in a burst.
                due -= wait
                if not self._late:
                    self._late = True
                    self._mark(f"slower than asked for: a sample takes longer than {self._every_s:g} s")
            await asyncio.sleep(max(0.0, wait))
            try:
                await self._sample()
            except DeviceError as exc:
                if self._failure is None:
                    self._mark(f"no samples from now on: {exc}")
                self._failure = exc
                await asyncio.sleep(_WAIT_S)
                due = clock.now()

    async def _sample(self) -> None:
        before = clock.wall_ns()
        amperes, volts = await self._meter.measure()
        at_ns = (before + clock.wall_ns()) // 2
        if self._failure is not None:
            self._failure = None
            self._mark("samples again")
        self._sink.emit(SampleEvent(at_ns, self._source, amperes, volts))

    def _mark(self, text: str) -> None:
        self._sink.emit(MarkEvent(clock.wall_ns(), f"{self._source}: {text}"))
