"""Ctrl-C while a slot is left safe: it waits until that is done; a second one then breaks it off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_depth = 0
_pending = 0
_before: Any = None


@contextmanager
def held() -> Iterator[None]:
    """Hold SIGINT back while the block lasts, then let it do what it does; blocks of several slots may overlap.

    Without this the event loop raises KeyboardInterrupt at the second Ctrl-C in whatever runs just then, which may be
    what gives a slot its power back.
    """
    global _depth, _pending, _before
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _depth == 0:
        before = signal.getsignal(signal.SIGINT)
        if not callable(before):
            yield  # ignored, or not Python's: then nothing is raised either
            return
        _before, _pending = before, 0
        signal.signal(signal.SIGINT, _wait)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            signal.signal(signal.SIGINT, _before)
            if _pending == 1:
                signal.raise_signal(signal.SIGINT)


def _wait(number: int, frame: FrameType | None) -> None:
    global _pending
    _pending += 1
    if _pending > 1:
        raise KeyboardInterrupt
