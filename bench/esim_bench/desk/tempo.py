"""How fast the time of simulated slots runs: as told while somebody works, as the wall clock's while nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from esim_bench.clock import PacedLoop

DEFAULT_RATE: Final = 60.0
"""Seconds of simulated devices in a real one, where nobody wants to look on."""


class Tempo:
    """Sets the rate of the running loop, if it is a paced one."""

    def __init__(self, rate: float) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop if isinstance(loop, PacedLoop) else None
        self._rate = rate
        self._working = 0
        self._outside = 0
        self._set()

    @contextmanager
    def work(self, *, outside: bool = False) -> Iterator[None]:
        """Have a job done; ``outside``: something that keeps the wall clock's time takes part."""
        if self._loop is not None and not self._working:
            self._loop.catch_up()
        self._working += 1
        self._outside += outside
        self._set()
        try:
            yield
        finally:
            self._working -= 1
            self._outside -= outside
            self._set()

    def _set(self) -> None:
        if self._loop is not None:
            self._loop.rate = self._rate if self._working and not self._outside else min(1.0, self._rate)
