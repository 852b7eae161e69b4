"""Watches a rack from beside: its runs, whosever they are, and what is done by hand; by journals and history.

One thread watches: it finds the journals, lets their indexes grow, and keeps the board. Another one reads for the
screens, a job after the other. Neither opens a device or writes a file of the bench.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from esim_bench.desk.api import Trouble
from esim_bench.desk.board import Board
from esim_bench.desk.journals import Indexes, Journals, JournalSource
from esim_bench.desk.watching import Watching
from esim_bench.rack.model import Rack
from esim_bench.trace.index import TraceIndex

T = TypeVar("T")

LIVE_SECONDS: Final = 0.1
"""Between two looks while something happens; what changed is told as often at most."""
CALM_SECONDS: Final = 0.25
BEHIND_SECONDS: Final = 0.01
"""While there is much to be indexed."""
CRASH_SECONDS: Final = 2.0
"""Before the next look after a mistake of our own."""


class Watch:
    """What a front reads of a rack: the board, and the journals."""

    def __init__(self, rack: Rack) -> None:
        self.rack = rack
        self.board = Board(rack)
        self._journals = Journals()
        self._indexes = Indexes()
        self._reader = ThreadPoolExecutor(1, "watch-reader")
        self._notices: deque[Any] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = threading.Lock()

    def start(self, changed: Callable[[frozenset[str]], None]) -> None:
        """Begin to watch; a second time does nothing. ``changed`` is called in the watching thread.

        It is told at most ten times a second the names of the slots whose views are others than before, "runs" when the
        history is, "board" when the trouble of the board is.
        """
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._watch, args=(changed,), name="watch", daemon=True)
            self._thread.start()

    def notice(self, notice: Any) -> None:
        """Take in what the desk told; from any thread, at once."""
        self._notices.append(notice)
        self._wake.set()

    async def read(self, fn: Callable[..., T], *args: Any) -> T:
        """Run a function that reads journals or the history, one after another, in the one thread that is for it."""
        try:
            future = self._reader.submit(fn, *args)
        except RuntimeError:
            # It was closed; a screen that is about to go may ask all the same.
            return await asyncio.to_thread(fn, *args)
        return await asyncio.wrap_future(future)

    def sources(self, slot: str) -> tuple[JournalSource, ...]:
        """Return the journals of a slot, the newest last; from any thread."""
        return self._journals.of(slot)

    def index(self, source: JournalSource | Path) -> TraceIndex:
        """Return a journal's index; to be called in the reading thread. It grows by itself from now on.

        Raises ConfigError for what is no journal or cannot be read, OSError when there is no room for the index.
        """
        return self._indexes.open(source.path if isinstance(source, JournalSource) else source)

    def close(self) -> None:
        """End the watching; a second time does nothing. Blocks until both threads are done with what was asked."""
        with self._closing:
            self._stop.set()
            self._wake.set()
            if self._thread is not None:
                self._thread.join()
                self._thread = None
            self._reader.shutdown(wait=True)
            self._indexes.close()

    # --------------------------------------------------------------------------------------------- the watching thread

    def _watch(self, changed: Callable[[frozenset[str]], None]) -> None:
        watching = Watching(self.rack, self.board, self._journals, self._indexes)
        news: set[str] = set()
        told = 0.0
        while not self._stop.is_set():
            pause = CALM_SECONDS
            try:
                self._wake.clear()
                while self._notices:
                    watching.notice(self._notices.popleft())
                watching.look()
                watching.crashed(None)
                pause = BEHIND_SECONDS if watching.behind else LIVE_SECONDS if watching.live else CALM_SECONDS
                news |= watching.publish()
                if news and (wait := told + LIVE_SECONDS - time.monotonic()) > 0:
                    pause = min(pause, wait)
                elif news:
                    told = time.monotonic()
                    tell, news = frozenset(news), set()
                    changed(tell)
            except Exception as exc:
                # Whatever it is, it must not end the watching, and somebody must see it.
                watching.crashed(Trouble.of(exc))
                pause = CRASH_SECONDS
            self._wake.wait(pause)
        watching.close()
