"""Who has a device node open: a modem's port gives its output to nobody while nobody has opened it.

A pty tells its master of the last close only by a hang-up that returns until the next open, which no event loop can
wait for; so the node is watched by inotify, one descriptor for all ports of a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

_OPEN: Final = 0x20
_CLOSE: Final = 0x08 | 0x10
_OVERFLOW: Final = 0x4000
_EVENT: Final = struct.Struct("iIII")
_BUFFER: Final = 64 * 1024


class OpenWatch:
    """Counts for each watched node how often it is open elsewhere. Made inside a running loop.

    Without inotify (``works`` is false) every node counts as open.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watched: dict[int, Callable[[int], None]] = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        init = getattr(self._libc, "inotify_init1", None)
        self._fd: int = init(os.O_NONBLOCK | os.O_CLOEXEC) if init is not None else -1
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self.poll)

    @property
    def works(self) -> bool:
        """Tell whether the kernel says who opens what."""
        return self._fd >= 0

    def add(self, node: Path, on_change: Callable[[int], None]) -> int | None:
        """Call a function with +1 or -1 for each open and close of a node from now on, 0 for unknown many.

        Returns what ``remove`` wants; None when it cannot be watched.
        """
        if self._fd < 0:
            return None
        number: int = self._libc.inotify_add_watch(self._fd, os.fsencode(node), _OPEN | _CLOSE)
        if number < 0:
            return None
        self._watched[number] = on_change
        return number

    def remove(self, number: int | None) -> None:
        """End a watch."""
        if number is not None and self._watched.pop(number, None) is not None:
            self._libc.inotify_rm_watch(self._fd, number)

    def poll(self) -> None:
        """Take what the kernel has to tell now."""
        try:
            data = os.read(self._fd, _BUFFER)
        except (BlockingIOError, OSError):
            return
        place = 0
        while place + _EVENT.size <= len(data):
            number, mask, _, length = _EVENT.unpack_from(data, place)
            place += _EVENT.size + length
            if mask & _OVERFLOW:
                for on_change in tuple(self._watched.values()):
                    on_change(0)
            elif number in self._watched and mask & (_OPEN | _CLOSE):
                self._watched[number](1 if mask & _OPEN else -1)

    def close(self) -> None:
        """End all watches."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._loop.remove_reader(fd)
            with contextlib.suppress(OSError):
                os.close(fd)
        self._watched.clear()
