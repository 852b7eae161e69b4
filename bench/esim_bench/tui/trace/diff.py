"""Two journals side by side: where they part, what both have folded away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Static

from esim_bench.desk.api import Trouble
from esim_bench.errors import BenchError, ConfigError
from esim_bench.trace import show
from esim_bench.trace.diff import Difference, diff
from esim_bench.trace.reader import Reader, Record
from esim_bench.tui.screen import BenchScreen
from esim_bench.tui.trace.sources import SourceDialog, choices

if TYPE_CHECKING:
    from esim_bench.tui.trace.screen import TraceScreen

MOST: Final = 20_000
"""Exchanges of a journal that are compared; beyond, the search for what belongs together takes minutes."""
_SIGNS: Final = {"left": "-", "right": "+", "command": "≠", "response": "≠"}


@dataclass(frozen=True, slots=True)
class Line:
    """One row: a difference, or how many exchanges both have alike before the next one."""

    difference: Difference | None
    alike: int = 0


def lines_of(left: Path, right: Path) -> list[Line]:
    """Compare two journals. Slow: for a thread of its own. Raises ConfigError."""
    with Reader(left) as ours, Reader(right) as theirs:
        for one in (ours, theirs):
            if one.apdus() > MOST:
                raise ConfigError(
                    "too long to be compared",
                    where=str(one.path),
                    expected=f"at most {MOST:,} exchanges",
                    found=f"{one.apdus():,}",
                )
        found = diff(show.annotated(ours), show.annotated(theirs))
    lines: list[Line] = []
    before = 0
    for difference in found:
        record = difference.left or difference.right
        assert record is not None
        if difference.left is not None:
            if difference.left.index > before:
                lines.append(Line(None, difference.left.index - before))
            before = difference.left.index + 1
        lines.append(Line(difference))
    return lines


async def compare(screen: TraceScreen) -> None:
    """Choose another journal, and show where it parts from the one of the chosen record."""
    row = screen.row
    if row is None:
        screen.notify("No record is chosen: its journal is what is compared.", severity="warning")
        return
    left = screen.model.index_of(row.anchor).path
    context = screen.bench.context
    found = await context.watch.read(choices, context.watch, context.rack)
    others = [one for one in found if one.scope.paths and one.scope.paths != (left,)]
    scope = await screen.bench.ask(SourceDialog(others))
    if scope is None or not scope.paths:
        return
    right = next((path for path in scope.paths if path.name == left.name and path != left), scope.paths[0])
    screen.notify("Comparing …", timeout=2)
    try:
        lines = await asyncio.to_thread(lines_of, left, right)
    except (BenchError, OSError) as exc:
        screen.bench.problem(Trouble.of(exc))
        return
    await screen.app.push_screen(DiffScreen(left, right, lines))


class DiffView(ScrollView, can_focus=True):
    """The rows. Only what is seen is drawn."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"diff--cursor", "diff--fold", "diff--left", "diff--right", "diff--changed"}
    DEFAULT_CSS: ClassVar[str] = """
    DiffView { height: 1fr; background: $background; scrollbar-size-horizontal: 0; }
    DiffView > .diff--cursor { background: $primary 30%; }
    DiffView > .diff--fold { color: $foreground-muted; }
    DiffView > .diff--left { color: $text-error; }
    DiffView > .diff--right { color: $text-success; }
    DiffView > .diff--changed { color: $text-warning; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("pagedown", "move(20)", "Page down", show=False),
        Binding("pageup", "move(-20)", "Page up", show=False),
        Binding("home", "move(-1000000)", "First", show=False),
        Binding("end", "move(1000000)", "Last", show=False),
    ]

    class Moved(Message):
        """Another row is chosen."""

        def __init__(self, line: Line) -> None:
            self.line = line
            super().__init__()

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__()
        self._lines = lines
        self.cursor = 0

    def on_mount(self) -> None:
        """Choose the first row."""
        self.action_move(0)

    def on_resize(self, event: Resize) -> None:
        """Use the width there is."""
        self.virtual_size = Size(self.size.width, len(self._lines))

    def on_click(self, event: Click) -> None:
        """Choose the row under the mouse."""
        self.action_move(event.y + self.scroll_offset.y - self.cursor)

    def action_move(self, rows: int) -> None:
        """Choose another row."""
        if not self._lines:
            return
        self.cursor = max(0, min(self.cursor + rows, len(self._lines) - 1))
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False)
        self.refresh()
        self.post_message(self.Moved(self._lines[self.cursor]))

    def next_difference(self, way: int) -> None:
        """Choose the next row that is a difference, or the one before."""
        at = self.cursor + way
        while 0 <= at < len(self._lines) and self._lines[at].difference is None:
            at += way
        if 0 <= at < len(self._lines):
            self.action_move(at - self.cursor)

    def render_line(self, y: int) -> Strip:
        """Draw one row."""
        index = y + self.scroll_offset.y
        base = self.rich_style
        width = self.size.width
        if index >= len(self._lines):
            return Strip.blank(width, base)
        line = self._lines[index]
        if index == self.cursor:
            base = base + self.get_component_rich_style("diff--cursor", partial=True)
        difference = line.difference
        if difference is None:
            text = f" ⋯ {line.alike:,} records of the left side, alike on the right ".center(width, " ")
            return Strip([Segment(text[:width], base + self._style("fold"))]).adjust_cell_length(width, base)
        kind = difference.what if difference.what in ("left", "right") else "changed"
        style = base + self._style(kind)
        half = (width - 3) // 2
        parts = [
            Segment(f"{_short(difference.left):<{half}.{half}}", style if difference.left else base),
            Segment(f" {_SIGNS[difference.what]} ", style),
            Segment(f"{_short(difference.right):<{half}.{half}}", style if difference.right else base),
        ]
        return Strip(parts).adjust_cell_length(width, base)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"diff--{name}", partial=True)


def _short(record: Record | None) -> str:
    return "" if record is None else show.printable(f" {record.index + 1:>6} {record.comment}")


class DiffScreen(BenchScreen):
    """Where two journals part."""

    NAME = "Differences"
    HELP = """\
Two journals side by side: **-** only the left one has this exchange, **+** only the right one, **≠** both have it, with
another command or another answer. What both have alike is folded away. Stamps and durations do not count.

**n** and **N** go from difference to difference; below stand the bytes of both sides.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "next(1)", "Next"),
        Binding("N", "next(-1)", "Before"),
        Binding("escape", "back", "Back", show=True),
    ]
    DEFAULT_CSS = """
    DiffScreen #sides { height: 1; padding: 0 1; background: $surface; text-style: bold; }
    DiffScreen #both { height: auto; max-height: 10; padding: 0 1; background: $surface; border-top: solid $panel; }
    """

    def __init__(self, left: Path, right: Path, lines: Sequence[Line]) -> None:
        super().__init__()
        self._left, self._right, self._found = left, right, lines

    def body(self) -> ComposeResult:
        """Make the rows and what is below."""
        number = sum(line.difference is not None for line in self._found)
        names = f"{self._left.parent.name}/{self._left.name}  ↔  {self._right.parent.name}/{self._right.name}"
        told = f"{number} difference{'s' * (number != 1)}" if number else "the exchanges are the same"
        yield Static(f"{told}   {names}", id="sides", markup=False)
        yield DiffView(self._found)
        yield Static("", id="both", markup=False)

    def on_mount(self) -> None:
        """Begin at the top."""
        self.query_one(DiffView).focus()

    def on_diff_view_moved(self, event: DiffView.Moved) -> None:
        """Show the bytes of both sides."""
        difference = event.line.difference
        text = ""
        if difference is not None:
            sides = (("-", difference.left), ("+", difference.right))
            text = "\n".join(f"{sign} {show.hex_of(one)[:600]}" for sign, one in sides if one is not None)
        self.query_one("#both", Static).update(text)

    def action_next(self, way: int) -> None:
        """Go to the next difference, or the one before."""
        self.query_one(DiffView).next_difference(way)
