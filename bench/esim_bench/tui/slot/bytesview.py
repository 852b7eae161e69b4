"""Bytes in hex and as text, some of them marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip


class _Row(NamedTuple):
    block: int
    offset: int
    label: str


class BytesView(ScrollView, can_focus=True):
    """Blocks of bytes: one of a response or a transparent file, one for each record. Only what is seen is drawn."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"bytes--label", "bytes--marked", "bytes--text"}
    DEFAULT_CSS: ClassVar[str] = """
    BytesView { height: 1fr; background: $surface; padding: 0 1; scrollbar-size-horizontal: 0; }
    BytesView > .bytes--label { color: $foreground-muted; }
    BytesView > .bytes--text { color: $foreground-muted; }
    BytesView > .bytes--marked { background: $primary; color: $background; text-style: bold; }
    """

    class Clicked(Message):
        """A byte of a block was clicked."""

        def __init__(self, block: int, offset: int) -> None:
            self.block, self.offset = block, offset
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._blocks: Sequence[bytes] = ()
        self._rows: list[_Row] = []
        self._marked: tuple[int, int, int] | None = None
        self._per_row = 16

    @property
    def blocks(self) -> Sequence[bytes]:
        """Return what is shown."""
        return self._blocks

    @property
    def marked(self) -> tuple[int, int, int] | None:
        """Return what is marked: block, first byte, the byte after the last."""
        return self._marked

    def load(self, blocks: Sequence[bytes]) -> None:
        """Show blocks of bytes, none of them marked."""
        self._blocks, self._marked = blocks, None
        self._arrange()
        self.scroll_home(animate=False)

    def mark(self, block: int, start: int, end: int) -> None:
        """Mark bytes of a block, the end not among them, and have them in sight."""
        self._marked = (block, start, end)
        row = next(
            (i for i, one in enumerate(self._rows) if one.block == block and one.offset + self._per_row > start), 0
        )
        self.scroll_to_region(Region(0, row, 1, 1), animate=False)
        self.refresh()

    def unmark(self) -> None:
        """Mark nothing."""
        self._marked = None
        self.refresh()

    def on_click(self, event: Click) -> None:
        """Tell of the byte under the mouse."""
        at = event.get_content_offset(self)
        if at is None or at.y + self.scroll_offset.y >= len(self._rows):
            return
        row = self._rows[at.y + self.scroll_offset.y]
        text = 6 + 3 * self._per_row + 1
        column = at.x - text if at.x >= text else (at.x - 6) // 3
        offset = row.offset + column
        if at.x >= 6 and 0 <= column < self._per_row and offset < len(self._blocks[row.block]):
            self.post_message(self.Clicked(row.block, offset))

    def on_resize(self, event: Resize) -> None:
        """Use the width there is."""
        self._arrange()

    def _arrange(self) -> None:
        # A label of 6, three cells a byte, a gap of one, one cell a byte.
        self._per_row = 16 if self.size.width >= 6 + 16 * 4 + 1 else 8
        many = len(self._blocks) > 1
        self._rows = [
            _Row(number, offset, f"{number + 1:>3}" if many and not offset else "" if many else f"{offset:04X}")
            for number, block in enumerate(self._blocks)
            for offset in range(0, max(1, len(block)), self._per_row)
        ]
        self.virtual_size = Size(self.size.width, len(self._rows))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one row."""
        index = y + self.scroll_offset.y
        base = self.rich_style
        width = self.size.width
        if index >= len(self._rows):
            return Strip.blank(width, base)
        row = self._rows[index]
        block = self._blocks[row.block]
        chunk = block[row.offset : row.offset + self._per_row]
        label, faint, marked = (
            base + self.get_component_rich_style(f"bytes--{name}", partial=True) for name in ("label", "text", "marked")
        )
        segments = [Segment(f"{row.label:<6}", label)]
        segments += [Segment(f"{byte:02X} ", self._style(row, i, base, marked)) for i, byte in enumerate(chunk)]
        segments.append(Segment("   " * (self._per_row - len(chunk)) + " ", base))
        for i, byte in enumerate(chunk):
            text = chr(byte) if 0x20 <= byte < 0x7F else "·"
            segments.append(Segment(text, self._style(row, i, faint, marked)))
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, row: _Row, index: int, plain: Style, marked: Style) -> Style:
        if self._marked is None:
            return plain
        block, start, end = self._marked
        return marked if row.block == block and start <= row.offset + index < end else plain
