"""A line of a widget that is drawn many times a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.color import Color
from textual.filter import LineFilter
from textual.strip import Strip


class Line(Strip):
    """A strip that is never held by what it keeps at hand: only the garbage collector would free it then.

    Forty lines ten times a second are much for that: it stops the loop for a quarter of a second now and then.
    """

    __slots__ = ()

    @classmethod
    def of(cls, strip: Strip) -> Line:
        """Make one of another strip."""
        return strip if isinstance(strip, cls) else cls([*strip], strip.cell_length)

    def divide(self, cuts: Iterable[int]) -> Sequence[Strip]:
        """Cut it at places; at its end alone, that is nothing to do."""
        wanted = [*cuts]
        if [cut for cut in wanted if cut <= self.cell_length] == [self.cell_length]:
            return [self]
        return super().divide(wanted)

    def apply_filter(self, filter: LineFilter, background: Color) -> Strip:
        """Change its colours."""
        found = super().apply_filter(filter, background)
        if not isinstance(found, Line):
            found = self._filter_cache[filter, background] = Line.of(found)
        return found
