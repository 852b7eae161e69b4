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
import weakref
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from esim_bench.errors import RigError

T = TypeVar("T")

VIRTUAL_EPOCH_NS: Final = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z: where virtual time starts."""

_PROTECTED: Final[weakref.WeakSet[asyncio.Task[Any]]] = weakref.WeakSet()
PROTECTED_SECONDS: Final = 300.0
_LEFT_BEHIND: Final[list[asyncio.Task[Any]]] = []
"""Tasks that heard nothing: kept, so that nothing of them runs when they would be collected."""
LEFTOVER_SECONDS: Final = 5.0
"""How long a task may take to end that was cancelled at the end of all."""

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
        if self._ready or (scheduled and scheduled[0]._when <= when):  # type: ignore[attr-defined]
            return False
        if when > self._now:
            self._spins = 0
            self._now = when
            self._clock_resolution = math.ulp(when)
        else:
            self._spins += 1
        return self._spins <= SPIN_LIMIT


class _ScaledSelector(selectors.DefaultSelector):
    """A selector that waits a part of the time that it is asked to."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout / self._rate if timeout else timeout)


class ScaledLoop(asyncio.SelectorEventLoop):
    """An ordinary loop with real descriptors whose time runs ``rate`` times as fast: for simulated devices on them."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._began = time.monotonic()
        self._began_ns = time.time_ns()
        super().__init__(_ScaledSelector(rate))

    def time(self) -> float:
        """Return seconds since the start of the loop."""
        return (time.monotonic() - self._began) * self.rate

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970 by this loop's time."""
        return self._began_ns + round(self.time() * 1e9)


MOST_LAG: Final = 0.1
"""Real seconds that a paced loop catches up with after its tasks took their time; what is more is forgotten."""


class _PacedSelector(selectors.DefaultSelector):
    """A selector that asks its loop how long it may wait, and tells it how long it did."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: PacedLoop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert self.loop is not None
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        began = time.monotonic()
        events = super().select(None if timeout is None else self.loop.real_wait(timeout, began))
        self.loop.passed(timeout, time.monotonic())
        return events


class PacedLoop(ScaledLoop):
    """A scaled loop that waits for its tasks: time never goes on past a timer while there is work to do.

    So whatever a busy machine does, no simulated device times out. ``rate`` may be changed at any time; what waits for
    something outside (threads, servers) wants it to be 1.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._now = 0.0
        self._real = time.monotonic()
        self._began_ns = time.time_ns()
        selector = _PacedSelector()
        asyncio.SelectorEventLoop.__init__(self, selector)
        selector.loop = self
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return seconds since the start of the loop."""
        return self._now

    def real_wait(self, timeout: float, real: float) -> float:
        """Return how many real seconds to wait for a timer that is due in ``timeout`` of this loop's seconds."""
        self._real = max(self._real, real - MOST_LAG)
        return max(0.0, timeout / self.rate - (real - self._real))

    def passed(self, timeout: float | None, real: float) -> None:
        """Take the time that has passed since the last wait: at most to the next timer."""
        seconds = (real - self._real) * self.rate
        if timeout is not None and seconds > timeout:
            self._real = real - (seconds - timeout) / self.rate
            seconds = timeout
        else:
            self._real = real
        self._now += seconds

    def catch_up(self) -> None:
        """Have the stamps of events go on from the system's clock, where they are behind it."""
        self._began_ns = max(self._began_ns, time.time_ns() - round(self._now * 1e9))


def leap(seconds: float) -> bool:
    """Let time pass on the spot where time is virtual and nothing else can happen meanwhile; tell whether it did."""
    loop = asyncio.get_running_loop()
    return isinstance(loop, VirtualLoop) and loop.leap(seconds)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fresh virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def run_real(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on an ordinary loop.

    Tasks that are left then are cancelled, but those that are protected, which have their time. One that does not hear
    it (a driver that is stuck) is left behind after ``LEFTOVER_SECONDS``: it must not keep the process from ending.
    """
    runner = asyncio.Runner()
    try:
        return runner.run(main)
    finally:
        loop = runner.get_loop()
        _end_tasks(loop, LEFTOVER_SECONDS, spare=True)
        if protected := {task for task in asyncio.all_tasks(loop) if is_protected(task)}:
            loop.run_until_complete(asyncio.wait(protected, timeout=PROTECTED_SECONDS))
        if left := _end_tasks(loop, LEFTOVER_SECONDS, spare=False):
            _LEFT_BEHIND.extend(left)
            for task in left:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            # Not the runner's way: that waits for them without end.
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            asyncio.set_event_loop(None)
        else:
            runner.close()


def _end_tasks(loop: asyncio.AbstractEventLoop, seconds: float, *, spare: bool) -> set[asyncio.Task[Any]]:
    """Cancel tasks, and wait a while; return those that have not ended. ``spare``: protected ones are not cancelled."""
    tasks = {task for task in asyncio.all_tasks(loop) if not (spare and is_protected(task))}
    for task in tasks:
        task.cancel()
    return loop.run_until_complete(asyncio.wait(tasks, timeout=seconds))[1] if tasks else set()


def protect(task: asyncio.Task[Any]) -> None:
    """Have a task finish before the loop ends, also when that is broken off: it leaves hardware as it must be left."""
    _PROTECTED.add(task)


def give_up(task: asyncio.Future[Any]) -> None:
    """Have nobody wait for a task any more."""
    if isinstance(task, asyncio.Task):
        _PROTECTED.discard(task)


def is_protected(task: asyncio.Task[Any] | None) -> bool:
    """Tell whether a task is one of those."""
    return task in _PROTECTED if task is not None else False


def run_scaled(main: Coroutine[Any, Any, T], rate: float) -> T:
    """Run a coroutine to its end on a loop whose time runs ``rate`` times as fast as the wall clock."""
    with asyncio.Runner(loop_factory=lambda: ScaledLoop(rate)) as runner:
        return runner.run(main)


def run_paced(main: Coroutine[Any, Any, T], rate: float) -> T:
    """Run a coroutine to its end on a paced loop: ``rate`` times as fast as the wall clock, or as the tasks allow."""
    with asyncio.Runner(loop_factory=lambda: PacedLoop(rate)) as runner:
        return runner.run(main)


def rate() -> float:
    """Return how fast the running loop's time runs: 1 but on a scaled loop."""
    loop = asyncio.get_running_loop()
    return loop.rate if isinstance(loop, ScaledLoop) else 1.0


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
        return VIRTUAL_EPOCH_NS + round(loop._now * 1e9)
    if isinstance(loop, ScaledLoop):
        return loop.wall_ns()
    return time.time_ns()
