"""The log: a window over a time line of any length. Only what is seen is fetched, in the reader's thread."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from esim_bench.desk.api import Trouble
from esim_bench.errors import BenchError
from esim_bench.trace.timeline import Anchor
from esim_bench.tui.trace.line import Line
from esim_bench.tui.trace.model import Ask, LogModel, Page, Row
from esim_bench.tui.trace.rows import STYLES, TIME_MODES, Columns, TimeMode, clock_text, delta_text, strip_of
from esim_bench.tui.trace.thumb import thumb, top_for
from esim_bench.tui.work import work

Read = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments in the reader's thread."""

TICK: Final = 1 / 20
_EXACT: Final = 0.012
"""Seconds of decoding in one fetch, once the log is at rest."""
_CACHED: Final = 160
_ALL_STYLES: Final = (*STYLES, "cursor", "hit", "bar", "thumb", "head")
_WHEEL: Final = 3
_CALM: Final = 4
"""Ticks without a new record after which there is time to decode."""
_MANY: Final = 24
"""New rows since the last tick, above which nobody can read what they mean: they are not decoded."""


class LogView(Widget, can_focus=True):
    """Rows, a cursor, and a scroll bar. It follows its end until it is told to stay."""

    ALLOW_SELECT: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "home", "First record", show=False),
        Binding("end", "end", "Last record", show=False),
        Binding("f", "follow", "Follow"),
        Binding("t", "time", "Time"),
        Binding("r", "reference", "Reference", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"log--{name}" for name in _ALL_STYLES}
    DEFAULT_CSS = """
    LogView { height: 1fr; width: 1fr; background: $background; }
    LogView > .log--time { color: $text-muted; }
    LogView > .log--slot { color: $text-primary; }
    LogView > .log--apdu { color: $text-muted; }
    LogView > .log--atr { color: $text-warning; }
    LogView > .log--power { color: $text-warning; }
    LogView > .log--at { color: $text-secondary; }
    LogView > .log--rsp { color: $text-accent; }
    LogView > .log--mark { color: $text-primary; text-style: bold; }
    LogView > .log--other { color: $text-muted; }
    LogView > .log--text { color: $foreground; }
    LogView > .log--muted { color: $text-muted; }
    LogView > .log--error { color: $text-error; text-style: bold; }
    LogView > .log--sign { color: $text-accent; text-style: bold; }
    LogView > .log--cursor { background: $primary 35%; }
    LogView > .log--hit { background: $warning 20%; }
    LogView > .log--bar { color: $panel; background: $panel; }
    LogView > .log--thumb { color: $primary; background: $primary 60%; }
    LogView > .log--head { color: $text-muted; background: $panel; text-style: bold; }
    """

    class Moved(Message):
        """The cursor stands on another record, or on none."""

        def __init__(self, row: Row | None) -> None:
            self.row = row
            super().__init__()

    class Changed(Message):
        """The number of records, what is followed or how time is shown has changed."""

    class Failed(Message):
        """The journals cannot be read."""

        def __init__(self, trouble: Trouble) -> None:
            self.trouble = trouble
            super().__init__()

    def __init__(self, model: LogModel, read: Read, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.model = model
        self.read = read
        self.follow = True
        self.time_mode: TimeMode = "clock"
        self.reference: Row | None = None
        self.live = True
        """What is shown may still grow."""
        self.cursor = 0
        self.cursor_row: Row | None = None
        self.slot_width = 0
        self.signs: dict[Anchor, str] = {}
        """Signs of one cell, for records with a bookmark or a note."""
        self.hits: frozenset[Anchor] | set[Anchor] = frozenset()
        self._top = 0
        self._page: Page | None = None
        self._jump: tuple[Anchor, int] | None = None
        self._asked_jump: tuple[Anchor, int] | None = None
        self._wake = asyncio.Event()
        self._dirty = True
        self._written = -1
        self._calm = 0
        self._generation = 0
        self._arrived = 0
        self._grab: int | None = None
        self._told: Row | None = None
        self._strips: dict[tuple[Anchor, bool, str, str, int], Strip] = {}
        self._styles_made: dict[str, Style] = {}

    # --------------------------------------------------------------------------------------------- what it shows

    @property
    def total(self) -> int:
        """Return how many records there are."""
        return self._page.total if self._page is not None else 0

    @property
    def rushes(self) -> bool:
        """Tell whether more comes than anybody can read."""
        return self.follow and self._arrived > _MANY

    @property
    def page(self) -> Page | None:
        """Return what was fetched last."""
        return self._page

    @property
    def height(self) -> int:
        """Return how many rows there is room for: the first line has the titles."""
        return max(1, self.size.height - 1)

    @property
    def top(self) -> int:
        """Return the ordinal of the first row."""
        return self._top

    def shown(self) -> list[Row]:
        """Return the rows that are seen."""
        page = self._page
        if page is None:
            return []
        return page.rows[self._top - page.first :][: self.height]

    def renewed(self) -> None:
        """Take note that the model shows more or less of the same: it is fetched anew, around the cursor."""
        if not self.follow and self.cursor_row is not None and self._jump is None:
            self._jump = self.cursor_row.anchor, min(max(0, self.cursor - self._top), self.height - 1)
        self._anew()

    def reset(self, *, follow: bool) -> None:
        """Take note that the model shows other journals: from their beginning, or following their end."""
        self._page = self.cursor_row = self.reference = self._jump = None
        self._top = self.cursor = self._arrived = 0
        self.follow = follow
        self._anew()

    def _anew(self) -> None:
        self._strips.clear()
        self._generation += 1
        self._dirty = True
        self._wake.set()

    def grown(self) -> None:
        """Take note that there may be more records; they are fetched at the next tick."""
        self._dirty = True

    def jump(self, anchor: Anchor) -> None:
        """Put the cursor on a record."""
        page = self._page
        self.follow = False
        if page is not None:
            for place, row in enumerate(page.rows):
                if row.anchor == anchor and self._top <= page.first + place < self._top + self.height:
                    self._put(page.first + place)
                    return
        self._jump = anchor, self.height // 3
        self._wake.set()

    # --------------------------------------------------------------------------------------------- fetching

    def on_mount(self) -> None:
        """Begin to fetch."""
        self.run_worker(work(self._serve), group="log", exit_on_error=True)
        self.set_interval(TICK, self._tick)

    def _tick(self) -> None:
        if not self.screen.is_current or not self.display:
            return
        page, written = self._page, self.model.written()
        self._calm = 0 if written != self._written else self._calm + 1
        if self._calm == _CALM:
            self._arrived = 0
        if self._dirty or written != self._written or (page is not None and (not page.counted or self._inexact())):
            self._dirty, self._written = False, written
            self._wake.set()

    def _inexact(self) -> bool:
        return not self.rushes and any(not row.exact for row in self.shown())

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.size.height == 0:
                continue
            ask = self._ask()
            cursor, top, generation = self.cursor, self._top, self._generation
            try:
                page = await self.read(self.model.page, ask)
            except (BenchError, OSError, LookupError, struct.error) as exc:
                self.post_message(self.Failed(Trouble.of(exc)))
                await asyncio.sleep(1.0)
                continue
            if generation == self._generation:
                self._apply(page, cursor, top)
            else:
                self._wake.set()  # it is of something that is not shown any more

    def _ask(self) -> Ask:
        height = self.height
        self._asked_jump = self._jump
        row = self._page.row(self.cursor) if self._page is not None else None
        anchor = row.anchor if row is not None else None
        exact = 0.0 if self.rushes else _EXACT
        if self._jump is not None:
            held, place = self._jump
            return Ask(height, hold=held, hold_row=place, cursor=held, spare=height, exact=exact)
        if self.follow:
            return Ask(height, exact=exact)
        first = self._page.row(self._top) if self._page is not None else None
        if first is not None:
            return Ask(height, hold=first.anchor, cursor=anchor, spare=height, exact=exact)
        return Ask(height, top=self._top, cursor=anchor, spare=height, exact=exact)

    def _apply(self, page: Page, cursor: int, top: int) -> None:
        """Show what was fetched; ``cursor`` and ``top`` are those of the moment when it was asked for."""
        old = self._page
        self._page = page
        self._arrived = page.total - old.total if old is not None else 0
        if self._jump is not None and self._jump is self._asked_jump:
            self._jump = None
            self._top = page.top
            self.cursor = page.cursor or 0
        elif self.follow:
            self._top = page.top
            self.cursor = page.total - 1
        else:
            # What was moved while it was fetched moves on from where that stands now.
            moved = self._top - top
            self._top = page.top + moved
            if page.cursor is not None:
                self.cursor = page.cursor + self.cursor - cursor
        self._settle()
        if self._page.row(self._top) is None and page.total:
            self._wake.set()
        if old is None or (old.total, old.counted, old.behind) != (page.total, page.counted, page.behind):
            self.post_message(self.Changed())
        self.refresh()

    def _settle(self) -> None:
        """Keep cursor and first row within what there is, and tell of the cursor's record."""
        last = max(0, self.total - self.height)
        self._top = max(0, min(self._top, last))
        self.cursor = max(0, min(self.cursor, self.total - 1))
        row = self._page.row(self.cursor) if self._page is not None else None
        if row is not None or not self.total:
            self.cursor_row = row
            told = self._told
            if (told is None) != (row is None) or (row is not None and told is not None and told[:6] != row[:6]):
                self._told = row
                self.post_message(self.Moved(row))

    # --------------------------------------------------------------------------------------------- moving

    def _put(self, cursor: int) -> None:
        """Move the cursor to an ordinal and the window with it."""
        if not self.total:
            return
        self._jump = None
        self._leave_the_end()
        self.cursor = max(0, min(cursor, self.total - 1))
        top = self._top
        if self.cursor < self._top:
            top = self.cursor
        elif self.cursor >= self._top + self.height:
            top = self.cursor - self.height + 1
        self._scroll(top)

    def _scroll(self, top: int) -> None:
        self._top = max(0, min(top, self.total - self.height))
        self._settle()
        page = self._page
        if page is None or self._top < page.first or self._top + self.height > page.first + len(page.rows):
            if page is None or page.first > 0 or page.first + len(page.rows) < page.total:
                self._wake.set()
        elif self._top < page.first + self.height // 2 or self._top + self.height * 1.5 > page.first + len(page.rows):
            self._dirty = True
        self.refresh()

    def scroll_rows(self, rows: int) -> None:
        """Move the window, not the cursor, unless it would be left."""
        self._jump = None
        if rows < 0 or self._top + rows < self.total - self.height:
            self._leave_the_end()
        top = max(0, min(self._top + rows, self.total - self.height))
        self.cursor = max(top, min(self.cursor, top + self.height - 1))
        self._scroll(top)

    def _leave_the_end(self) -> None:
        if self.follow:
            self.follow = False
            self.post_message(self.Changed())

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        self._put(self.cursor + rows)

    def action_page(self, pages: int) -> None:
        """Move cursor and window by pages."""
        if not self.total:
            return
        self._jump = None
        self._leave_the_end()
        rows = pages * max(1, self.height - 1)
        place = self.cursor - self._top
        top = max(0, min(self._top + rows, self.total - self.height))
        self.cursor = top + place if top != self._top else (0 if pages < 0 else self.total - 1)
        self._scroll(top)

    def action_home(self) -> None:
        """Go to the first record."""
        self._put(0)

    def action_end(self) -> None:
        """Go to the last record, and follow what comes."""
        if not self.follow:
            self.action_follow()

    def action_follow(self) -> None:
        """Follow the end, or stay."""
        self.follow = not self.follow
        self._jump = None
        self.post_message(self.Changed())
        self._wake.set()

    def action_time(self) -> None:
        """Show the time of day, the time since the previous row, the time since the reference."""
        self.time_mode = TIME_MODES[(TIME_MODES.index(self.time_mode) + 1) % len(TIME_MODES)]
        if self.time_mode == "reference" and self.reference is None:
            self.reference = self.cursor_row
        self.post_message(self.Changed())
        self.refresh()

    def action_reference(self) -> None:
        """Let times count from the cursor's record."""
        if self.cursor_row is not None:
            self.reference, self.time_mode = self.cursor_row, "reference"
            self.post_message(self.Changed())
            self.refresh()

    # --------------------------------------------------------------------------------------------- mouse

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll."""
        event.stop()
        self.scroll_rows(-_WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll."""
        event.stop()
        self.scroll_rows(_WHEEL)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Put the cursor on a row, or grab the scroll bar: beside its thumb, the thumb comes."""
        event.stop()
        if event.y == 0:
            return
        if event.x == self.size.width - 1:
            start, size = self._thumb()
            place = event.y - 1
            self._grab = place - start if start <= place < start + size else size // 2
            self.capture_mouse()
            if not start <= place < start + size:
                self._drag(place)
        elif self._top + event.y - 1 < self.total:
            self._put(self._top + event.y - 1)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag the thumb."""
        if self._grab is not None:
            event.stop()
            self._drag(event.y - 1)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Let the thumb go."""
        if self._grab is not None:
            event.stop()
            self._grab = None
            self.release_mouse()

    def _drag(self, place: int) -> None:
        self.scroll_rows(top_for(place, self._grab or 0, self.height, self.total) - self._top)

    def _thumb(self) -> tuple[int, int]:
        return thumb(self.height, self.total, self._top)

    # --------------------------------------------------------------------------------------------- drawing

    def notify_style_update(self) -> None:
        """Forget what was drawn in other colours."""
        self._styles_made = {}
        self._strips.clear()
        super().notify_style_update()

    def on_resize(self) -> None:
        """Fetch as many rows as there is room for."""
        self._strips.clear()
        self._wake.set()

    def _made_styles(self) -> dict[str, Style]:
        if not self._styles_made:
            made = {name: self.get_component_rich_style(f"log--{name}") for name in _ALL_STYLES}
            for name in ("cursor", "hit"):
                made[name] = Style(bgcolor=made[name].bgcolor, bold=name == "cursor" or None)
            self._styles_made = made | {"base": self.rich_style}
        return self._styles_made

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw lines as they are: there is no border or padding around them, and most of them were drawn before."""
        filters, background = self.get_line_filters(), self.background_colors[1]
        lines: list[Strip] = []
        for y in crop.line_range:
            line = self.render_line(y)
            for one in filters:
                line = line.apply_filter(one, background)
            lines.append(line if crop.column_span == (0, self.size.width) else Line.of(line.crop(*crop.column_span)))
        return lines

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        styles, width = self._made_styles(), self.size.width
        columns = Columns.of(width - 1, self.slot_width)
        if y == 0:
            head = [Segment(text, styles["head"]) for text in (*columns.header(self.time_mode), " ")]
            return Line.of(Strip(head).adjust_cell_length(width, styles["head"]))
        start, size = self._thumb()
        place = y - 1
        thumb = start <= place < start + size and self.total > self.height
        page, ordinal = self._page, self._top + place
        row = page.row(ordinal) if page is not None else None
        bar = Segment("┃" if thumb else "│", styles["thumb" if thumb else "bar"])
        if row is None or page is None:
            return Line([Segment(" " * (width - 1), styles["base"]), bar])
        over = (ordinal == self.cursor) | (row.anchor in self.hits) << 1 | thumb << 2
        time_text = self._time(page, ordinal, row, columns.digits)
        sign = self.signs.get(row.anchor) or ("⌖" if self.reference and self.reference.anchor == row.anchor else " ")
        key = (row.anchor, row.exact, time_text, sign, over)
        strip = self._strips.get(key)
        if strip is None:
            on_top = styles["cursor"] if over & 1 else styles["hit"] if over & 2 else Style.null()
            drawn = strip_of(row, columns, time_text, sign, styles, on_top)
            strip = Line([*drawn.adjust_cell_length(width - 1, styles["base"]), bar])
            if len(self._strips) > _CACHED:
                self._strips.clear()
            self._strips[key] = strip
        return strip

    def _time(self, page: Page, ordinal: int, row: Row, digits: int) -> str:
        if self.time_mode == "reference" and self.reference is not None:
            return delta_text(row.at_ns - self.reference.at_ns)
        if self.time_mode == "previous":
            before = page.row(ordinal - 1) or (page.before if ordinal == page.first else None)
            return delta_text(row.at_ns - before.at_ns) if before is not None else ""
        return clock_text(row.at_ns, digits)

    def redraw(self, anchor: Anchor | None = None) -> None:
        """Draw anew, or one record's row only."""
        page = self._page
        for place, row in enumerate(self.shown() if anchor is not None and page is not None else ()):
            if row.anchor == anchor:
                self.refresh(Region(0, place + 1, self.size.width, 1))
                return
        self.refresh()
