"""Bytes of a debug UART to lines. Pure: stamps come in from outside."""

from __future__ import annotations

from typing import Final

from esim_bench.events import UartEvent

LONGEST: Final = 1024
"""Bytes of a line that are kept; the rest is counted."""
_PATIENCE: Final = 65_536
"""Bytes after which a line without end is told all the same (the wrong speed gives such)."""


class LineSplitter:
    """Cuts a stream into lines; a line's stamp is that of its first byte. No byte is unusable."""

    def __init__(self, source: str, longest: int = LONGEST) -> None:
        self._source = source
        self._longest = longest
        self._line = bytearray()
        self._cut = 0
        self._at_ns = 0

    @property
    def open(self) -> bool:
        """Tell whether a line has begun that nothing has ended."""
        return bool(self._line or self._cut)

    def feed(self, data: bytes, at_ns: int) -> list[UartEvent]:
        """Take what came; return the lines that it ends. Empty lines are left out."""
        *ended, rest = data.split(b"\n")
        found: list[UartEvent] = []
        for piece in ended:
            self._take(piece, at_ns)
            found += self._tell(ended=True)
        self._take(rest, at_ns)
        if self._cut >= _PATIENCE:
            found += self._tell(ended=False)
        return found

    def flush(self) -> list[UartEvent]:
        """Return the line that nothing has ended yet: a prompt, or the last words before the power went."""
        return self._tell(ended=False)

    def _take(self, piece: bytes, at_ns: int) -> None:
        if piece and not self.open:
            self._at_ns = at_ns
        room = self._longest - len(self._line)
        self._line += piece[:room]
        self._cut += max(0, len(piece) - room)

    def _tell(self, *, ended: bool) -> list[UartEvent]:
        line, cut = bytes(self._line), self._cut
        self._line.clear()
        self._cut = 0
        if ended:
            line = line.rstrip(b"\r")
        if not line and not cut:
            return []
        return [UartEvent(self._at_ns, self._source, line.decode("utf-8", "surrogateescape"), ended, cut)]
