"""Where the slots stand: as cards or as lines, in columns, in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from textual.geometry import Region

from esim_bench.desk.board import SlotView
from esim_bench.tui.rack import face

Density = Literal["cards", "lines"]


@dataclass(slots=True)
class Layout:
    """Which slot is seen where."""

    density: Density
    height: int = 0
    places: dict[str, Region] = field(default_factory=dict)
    """In the order in which they are read."""
    rows: list[list[str] | str] = field(default_factory=list)
    """For each line of the whole what stands there from left to right: slots' names; or the title of a group."""

    def at(self, x: int, y: int) -> str | None:
        """Return the slot at a place."""
        if not 0 <= y < len(self.rows):
            return None
        row = self.rows[y]
        if isinstance(row, str):
            return None
        return next((name for name in row if self.places[name].contains(x, y)), None)

    def beside(self, name: str, dx: int, dy: int) -> str:
        """Return the slot beside another one: to the right, to the left, below or above."""
        here = self.places.get(name)
        if here is None:
            return next(iter(self.places), name)
        best, distance = name, (1 << 30, 1 << 30)
        for other, place in self.places.items():
            along = (place.x - here.x) * dx + (place.y - here.y) * dy
            across = abs(place.y - here.y) if dx else abs(place.x - here.x)
            if along > 0:
                # To the side only in the same row; up and down from wherever the next row is.
                if dx and across:
                    continue
                if (along, across) < distance:
                    best, distance = other, (along, across)
        return best


def arrange(groups: Sequence[tuple[str, Sequence[SlotView]]], width: int, height: int, wanted: str) -> Layout:
    """Put slots in their places. ``wanted``: "cards", "lines", or "auto" for what fits into the height."""
    if wanted in ("auto", "cards"):
        cards = _arrange(groups, width, "cards")
        if wanted == "cards" or cards.height <= height:
            return cards
    return _arrange(groups, width, "lines", height)


def _arrange(groups: Sequence[tuple[str, Sequence[SlotView]]], width: int, density: Density, height: int = 0) -> Layout:
    layout = Layout(density)
    most = max(1, width // (face.CARD_WIDTH if density == "cards" else face.LINE_WIDTH))
    tall = face.CARD_HEIGHT if density == "cards" else 1
    count = sum(len(slots) for _, slots in groups)
    columns = most if density == "cards" else min(most, max(1, -(-(count + len(groups)) // max(1, height))))
    columns = max(1, min(columns, max((len(slots) for _, slots in groups), default=1)))
    if density == "cards":
        # A card alone is not drawn over the whole width.
        columns = max(columns, min(most, 2))
    wide = min(width // columns, 60) if density == "cards" else width // columns
    for title, slots in groups:
        if title:
            layout.rows.append(title)
        lines = -(-len(slots) // columns)
        first = len(layout.rows)
        layout.rows += [[] for _ in range(lines * tall)]
        for number, view in enumerate(slots):
            # Cards are read along the row, lines down the column.
            row, column = divmod(number, columns) if density == "cards" else divmod(number, lines)[::-1]
            y = first + row * tall
            layout.places[view.name] = Region(column * wide, y, wide, tall)
            for one in range(y, y + tall):
                found = layout.rows[one]
                assert isinstance(found, list)
                found.append(view.name)
    layout.height = len(layout.rows)
    return layout
