"""Time: the wall clock, and an event loop whose time is virtual.

On the virtual loop a sleep costs nothing: when no task can run, time jumps to the next timer. So a night of waiting
takes seconds, and the same seed gives the same stamps. It has no sockets and no threads; a coroutine that waits for
nothing that could ever come is a deadlock and raises at once, and so does a loop that spins without time advancing.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from esim_bench.errors import RigError

T = TypeVar("T")

VIRTUAL_EPOCH_NS: Final = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z: where virtual time starts."""

SPIN_LIMIT: Final = 200_000
"""Loop iterations without time advancing after which the virtual loop gives up."""


class _VirtualSelector(selectors.BaseSelector):
    """A selector that never waits: it tells the loop to jump to its next timer."""

    def __init__(self) -> None:
        self.loop: VirtualLoop | None = None
        self._map: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        # Only the loop's own self-pipe ever registers.
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._map[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert self.loop is not None
        self.loop.advance(timeout)
        return []

    def get_map(self) -> Any:
        return self._map


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop with virtual time, starting at 0.0 seconds."""

    def __init__(self) -> None:
        selector = _VirtualSelector()
        self._now = 0.0
        self._spins = 0
        super().__init__(selector)
        selector.loop = self
        self._set_resolution()

    def time(self) -> float:
        """Return virtual seconds since the start of the loop."""
        return self._now

    def _set_resolution(self) -> None:
        # The smallest step: timers of different slots must not be lumped together, or a slot's stamps would depend on
        # its neighbours; zero would make the loop spin on a timer that is due exactly now.
        self._clock_resolution = math.ulp(self._now)

    def advance(self, timeout: float | None) -> None:
        """Jump to the next timer; called by the selector with the time to wait (0: something is ready now)."""
        if timeout is None:
            raise RigError(
                "deadlock: every task waits and no timer is set",
                hint="a task awaits something that nothing will deliver",
            )
        if timeout > 0:
            self._spins = 0
            # The timer's own stamp, not now + timeout: float rounding must not let time drift between runs.
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
            self._set_resolution()
        else:
            self._spins += 1
            if self._spins > SPIN_LIMIT:
                raise RigError(
                    "the loop spins without time advancing", hint="a task polls with sleep(0) or without await"
                )

    def leap(self, seconds: float) -> bool:
        """Let time pass on the spot, if nothing can happen meanwhile: nothing is ready, and no timer is due by then.

        Returns whether it did; if not, the caller has to wait as everybody does. The outcome is the same, a trip around
        the loop is saved.
        """
        when = self._now + seconds
        scheduled = self._scheduled  # type: ignore[attr-defined]
        if self._ready or (scheduled and scheduled[0].when() <= when):  # type: ignore[attr-defined]
            return False
        if when > self._now:
            self._spins = 0
            self._now = when
            self._set_resolution()
        else:
            self._spins += 1
        return self._spins <= SPIN_LIMIT


def leap(seconds: float) -> bool:
    """Let time pass on the spot where time is virtual and nothing else can happen meanwhile; tell whether it did."""
    loop = asyncio.get_running_loop()
    return isinstance(loop, VirtualLoop) and loop.leap(seconds)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fresh virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def run_real(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on an ordinary loop."""
    return asyncio.run(main)


def is_virtual() -> bool:
    """Tell whether the running loop's time is virtual."""
    return isinstance(asyncio.get_running_loop(), VirtualLoop)


def now() -> float:
    """Return seconds of the running loop's clock: monotonic, zero point arbitrary."""
    return asyncio.get_running_loop().time()


def wall_ns() -> int:
    """Return nanoseconds since 1970: virtual on the virtual loop, the system's clock otherwise."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualLoop):
        return VIRTUAL_EPOCH_NS + round(loop.time() * 1e9)
    return time.time_ns()
