"""A thread of its own for each physical device whose library blocks (pyscard, pyusb, pyvisa, hidraw).

One thread per device, not a shared pool: a reader that hangs must not take the others with it. A call that overruns
its time can't be ended from outside; the worker is poisoned then, its late result is dropped, and the device is opened
anew on a fresh worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

from esim_bench.errors import DeviceTimeout, TransportError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_Job: TypeAlias = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Worker:
    """Runs blocking calls one after the other on one daemon thread, which starts with the first call."""

    def __init__(self, name: str, cleanup: Callable[[], object] | None = None) -> None:
        """``name``: the device, as it is named in messages and in the thread's name.

        ``cleanup``: called on the thread as its last act, after ``close`` or once a call without end has ended after
        all; what it raises is nobody's. It is not called where the thread never started.
        """
        self.name = name
        self._cleanup = cleanup
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._poisoned = False
        self._closed = False

    @property
    def poisoned(self) -> bool:
        """Tell whether a call overran its time: nothing runs here any more."""
        return self._poisoned

    @property
    def closed(self) -> bool:
        """Tell whether the worker takes no calls any more, poisoned or closed."""
        return self._closed

    async def run(
        self,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        timeout: float,
        last_seen: Callable[[], float] | None = None,
    ) -> T:
        """Run ``fn(*args)`` on the thread; return what it returns, raise what it raises.

        ``timeout``: seconds from now, the wait for earlier calls included; or, of a call that does many things, from
        the last sign of life: ``last_seen`` returns its ``time.monotonic()``. When it is over the worker is poisoned
        and DeviceTimeout is raised; TransportError on a worker that is poisoned or closed. A caller that is cancelled
        gets no result, but a call under way goes on to its end, and later ones wait for it.
        """
        if self._closed:
            raise TransportError(
                f"{self.name}: closed" if not self._poisoned else f"{self.name}: given up after a call without end",
                hint="open the device anew",
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put((loop, future, fn, args))
        if self._thread is None:
            arguments = (self._queue, self._cleanup)
            self._thread = threading.Thread(target=_work, args=arguments, name=f"worker {self.name}", daemon=True)
            self._thread.start()
        timer = loop.call_later(timeout, self._overrun, future, timeout, last_seen)
        try:
            return await future
        finally:
            timer.cancel()

    def _overrun(self, future: asyncio.Future[Any], timeout: float, last_seen: Callable[[], float] | None) -> None:
        if future.done():
            return
        left = timeout - (time.monotonic() - last_seen()) if last_seen is not None else 0.0
        if left > 0:
            future.get_loop().call_later(left, self._overrun, future, timeout, last_seen)
            return
        self._poisoned = True
        self.close()
        future.set_exception(
            DeviceTimeout(
                f"{self.name}: no answer",
                expected=f"an end of the call within {timeout:g} s",
                found="none",
                hint="open the device anew; if it stays silent, power it off and on",
            )
        )

    def close(self) -> None:
        """Take no calls any more and let the thread end after those it has; never blocks, never raises."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)


def _work(queue: SimpleQueue[_Job | None], cleanup: Callable[[], object] | None) -> None:
    # A function, not a method: the thread must not keep a forgotten worker alive.
    while (job := queue.get()) is not None:
        loop, future, fn, args = job
        # A caller that has given up before its call began: the device need not hear of it.
        if not future.done():
            result: Any = None
            error: BaseException | None = None
            try:
                result = fn(*args)
            except StopIteration as exc:
                # A future refuses this one.
                error = RuntimeError(f"StopIteration left {fn!r}")
                error.__cause__ = exc
            except BaseException as exc:
                error = exc
            # On a closed loop nobody waits any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_deliver, future, result, error)
            # What came must not live until the next call comes.
            result = error = None
        job = future = fn = args = None  # type: ignore[assignment]
    if cleanup is not None:
        with contextlib.suppress(Exception):
            cleanup()


def _deliver(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        # Too late, or cancelled: the number of its call is up.
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
