"""A plot of a few series in a terminal: points of Braille, axes with units, series told apart by signs too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from esim_bench.desk.history import Series

SIGNS: Final = "●◆▲■✚○"
COLOURS: Final = ("primary", "accent", "success", "warning", "error", "secondary")
MOST: Final = len(SIGNS)
"""Series of one plot; more cannot be told apart."""
_AXIS: Final = 8
_STRIDE: Final = 6
"""Columns between two values, where there are few."""


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return round values between two, ends included, about so many. ``high`` is greater than ``low``."""
    step = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(step))
    step = next((factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= step), 10.0 * power)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]


class Plot(Widget):
    """One measure. The newest values are at the right; each series has as many as fit."""

    DEFAULT_CSS: ClassVar[str] = "Plot { height: 1fr; min-height: 8; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"plot--axis", *(f"plot--{colour}" for colour in COLOURS)}
    DEFAULT_CSS += "Plot > .plot--axis { color: $foreground-muted; }" + "".join(
        f"Plot > .plot--{colour} {{ color: ${colour}; }}" for colour in COLOURS
    )

    def __init__(self, title: str, unit: str, series: Sequence[Series], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title, self._unit = title, unit
        self._series = [one for one in series if one.values][:MOST]
        self._left_out = sum(bool(one.values) for one in series) - len(self._series)

    def render_line(self, y: int) -> Strip:
        """Draw one row."""
        width, height = self.size.width, self.size.height
        base = self.rich_style
        rows = self._drawn(width, height, base)
        return (rows[y] if y < len(rows) else Strip.blank(width, base)).adjust_cell_length(width, base)

    def _style(self, name: str, base: Style) -> Style:
        return base + self.get_component_rich_style(f"plot--{name}", partial=True)

    def _drawn(self, width: int, height: int, base: Style) -> list[Strip]:
        axis = self._style("axis", base)
        head = Strip([Segment(f" {self._title}", base + Style(bold=True)), Segment(f"  [{self._unit}]", axis)])
        if not self._series:
            return [head, Strip([Segment(" Nothing to show yet: runs that ended bring values.", axis)])]
        legend = self._legend(width, base)
        tall = max(3, height - 2 - len(legend))
        wide = max(4, width - _AXIS - 2)
        values = [value for one in self._series for value in one.values[-wide:]]
        low, high = (0.0, 100.0) if self._unit == "%" else (min(values), max(values))
        if high <= low:
            low, high = low - max(abs(low) * 0.1, 0.5), high + max(abs(high) * 0.1, 0.5)
        marks = ticks(low, high, max(2, tall // 3))
        low, high = marks[0], marks[-1]
        most = max(len(one.values[-wide:]) for one in self._series)
        stride = max(1, min(_STRIDE, (wide - 1) // max(most - 1, 1)))
        cells: dict[tuple[int, int], tuple[str, Style]] = {}
        for number, one in reversed([*enumerate(self._series)]):
            style = self._style(COLOURS[number], base)
            shown = one.values[-wide:]
            for place, value in enumerate(shown):
                column = wide - 1 - (len(shown) - 1 - place) * stride
                row = round((high - value) / (high - low) * (tall - 1))
                cells[row, column] = (SIGNS[number], style)
        labels = {round((high - value) / (high - low) * (tall - 1)): value for value in marks}
        rows = [head]
        for row in range(tall):
            label = f"{labels[row]:>{_AXIS - 1}.4g} ┤" if row in labels else " " * _AXIS + "│"
            segments = [Segment(label, axis)]
            for column in range(wide):
                sign, style = cells.get((row, column), (" ", base))
                segments.append(Segment(sign, style))
            rows.append(Strip(segments).simplify())
        rows.append(Strip([Segment(" " * _AXIS + "└" + "─" * (wide - 8) + " newest ", axis)]))
        return [*rows, *legend]

    def _legend(self, width: int, base: Style) -> list[Strip]:
        """Return what each sign stands for, with its latest value, in as many rows as that needs."""
        rows: list[list[Segment]] = [[]]
        used = 0
        for number, one in enumerate(self._series):
            text = f"{one.name} {one.values[-1]:.4g} {self._unit}  "
            if used and used + len(text) + 3 > width:
                rows.append([])
                used = 0
            rows[-1] += [Segment(f" {SIGNS[number]} ", self._style(COLOURS[number], base)), Segment(text, base)]
            used += len(text) + 3
        if self._left_out:
            rows[-1].append(Segment(f" and {self._left_out} more", self._style("axis", base)))
        return [Strip(row) for row in rows]
