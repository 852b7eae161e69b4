"""Looks whether the rack file was changed, and reads it again."""

from __future__ import annotations

import os

from esim_bench.desk.api import Trouble
from esim_bench.errors import BenchError
from esim_bench.rack.model import Rack, load_rack


class RackFileWatch:
    """Remembers the file as it was read last. ``look`` blocks: it is for the reader's thread."""

    def __init__(self, rack: Rack) -> None:
        self._path = rack.path
        self._seen: tuple[int, int, int] | None = self._stamp()

    def look(self) -> Rack | Trouble | None:
        """Return the new rack, or what is wrong with its file; None when nothing has changed since the last look."""
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            return load_rack(self._path)
        except (BenchError, OSError) as exc:
            trouble = Trouble.of(exc)
            hint = "the rack stays as it was until the file is mended"
            return trouble.model_copy(update={"hint": f"{trouble.hint}; {hint}" if trouble.hint else hint})

    def later(self) -> None:
        """Have the same file found again by the next look: now it could not be used."""
        self._seen = None

    def _stamp(self) -> tuple[int, int, int]:
        try:
            status = os.stat(self._path)
        except OSError:
            return (0, 0, 0)
        return status.st_mtime_ns, status.st_size, status.st_ino
