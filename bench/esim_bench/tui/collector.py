"""When memory is tidied up: a full garbage collection stops the loop, so it comes while nobody types."""

from __future__ import annotations

import gc
import time
from typing import Final

_NEVER: Final = 1 << 30
EVERY: Final = 20.0
"""Seconds between two full collections at the least."""
REST: Final = 2.0
"""Seconds without a key or a click before one."""
LONGEST: Final = 120.0
"""Seconds after which one comes even while somebody types."""


class Collector:
    """Takes full collections over from the interpreter, which would run one after every so many new objects.

    What is there at the beginning (all modules, the screens that stay) is set aside, so that they are short.
    """

    def __init__(self) -> None:
        self._last_input = self._last_run = time.monotonic()
        self._thresholds: tuple[int, int, int] | None = None

    def begin(self) -> None:
        """Take over."""
        if self._thresholds is None:
            self._thresholds = gc.get_threshold()
            gc.freeze()
            gc.set_threshold(self._thresholds[0], self._thresholds[1], _NEVER)

    def end(self) -> None:
        """Give back."""
        if self._thresholds is not None:
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()
            self._thresholds = None

    def touched(self) -> None:
        """Take note of a key or a click."""
        self._last_input = time.monotonic()

    def look(self) -> bool:
        """Collect, if it is time for it; tell whether it was."""
        now = time.monotonic()
        since = now - self._last_run
        if self._thresholds is None or since < EVERY or (now - self._last_input < REST and since < LONGEST):
            return False
        self._last_run = now
        gc.collect()
        return True
