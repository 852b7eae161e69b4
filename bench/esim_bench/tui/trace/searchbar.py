"""Free text search in the log: a line to type in, hits as they are found, and the way from hit to hit."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from esim_bench.desk.api import Trouble
from esim_bench.errors import BenchError
from esim_bench.trace.search import MOST, Search
from esim_bench.trace.timeline import Anchor
from esim_bench.tui.work import work

if TYPE_CHECKING:
    from esim_bench.tui.trace.log import LogView

_STEP: Final = 0.008
"""Seconds of one step in the reader's thread: pages must not wait for longer."""
_REST: Final = 0.002
_AGAIN: Final = 0.5
"""Seconds until it looks at what was written meanwhile."""


class SearchBar(Horizontal):
    """Shown while something is searched for."""

    DEFAULT_CSS: ClassVar[str] = """
    SearchBar { height: 1; display: none; background: $panel; }
    SearchBar.-shown { display: block; }
    SearchBar > #slash { width: 2; color: $text-accent; text-style: bold; }
    SearchBar > Input { width: 1fr; height: 1; border: none; padding: 0; background: $panel; }
    SearchBar > #found { width: auto; padding: 0 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "stop", "Stop", show=False)]

    class Hits(Message):
        """More was found; ``first``: the record to go to, once."""

        def __init__(self, first: Anchor | None) -> None:
            self.first = first
            super().__init__()

    class Closed(Message):
        """Nothing is searched for any more."""

    def __init__(self, log: LogView, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._log = log
        self.hits: list[Anchor] = []
        """In the order of time."""
        self.text = ""
        self.ended = False
        self.part = 0.0

    def compose(self) -> ComposeResult:
        """Make the line."""
        yield Static("/", id="slash", markup=False)
        yield Input(placeholder="text of the meaning, or bytes in hex", id="needle")
        yield Static("", id="found", markup=False)

    @property
    def active(self) -> bool:
        """Tell whether there is something that is searched for."""
        return bool(self.text)

    def ask(self) -> None:
        """Let a text be typed."""
        self.add_class("-shown")
        line = self.query_one("#needle", Input)
        line.focus()
        line.select_all()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Begin; nothing typed: end."""
        event.stop()
        text = event.value.strip()
        if not text:
            self.action_stop()
            return
        self.begin(text)
        self._log.focus()

    def begin(self, text: str) -> None:
        """Search from the cursor on."""
        self.text, self.hits, self.ended, self.part = text, [], False, 0.0
        self._log.hits = set()
        self._log.redraw()
        row = self._log.cursor_row
        start = row.anchor if row is not None else None
        self.run_worker(work(self._look, text, start), group="search", exclusive=True)

    def again(self) -> None:
        """Search anew, as something else is shown now."""
        if self.active:
            self.begin(self.text)

    def action_stop(self) -> None:
        """End the search; what was found is forgotten."""
        self.workers.cancel_group(self, "search")
        self.text, self.hits = "", []
        self._log.hits = set()
        self._log.redraw()
        self.remove_class("-shown")
        self._log.focus()
        self.post_message(self.Closed())

    async def _look(self, text: str, start: Anchor | None) -> None:
        hits: set[Anchor] = set()
        self._log.hits = hits
        went = False
        try:
            search: Search = await self._log.read(self._log.model.search, text, start)
            while self.is_mounted:
                found = await self._log.read(search.step, _STEP)
                for anchor in found.hits:
                    insort(self.hits, anchor)
                    hits.add(anchor)
                ended = found.ended
                part = found.searched / max(1, found.total)
                changed = bool(found.hits) or ended != self.ended or part - self.part > 0.01
                if changed:
                    self.ended, self.part = ended, part
                    self._say()
                if found.hits:
                    first = None
                    if not went:
                        went = True
                        behind = [one for one in found.hits if start is None or one >= start]
                        first = min(behind) if behind else min(found.hits)
                    self._log.redraw()
                    self.post_message(self.Hits(first))
                await asyncio.sleep(_AGAIN if ended else _REST)
        except (BenchError, OSError) as exc:
            self._log.post_message(self._log.Failed(Trouble.of(exc)))

    def _say(self) -> None:
        count = f"{len(self.hits):,}" + (" or more" if len(self.hits) >= MOST else "")
        place = self._place()
        text = f"{place}{count} hit{'s' * (len(self.hits) != 1)}"
        text += "  n N" if self.hits else ""
        if not self.ended:
            text += f"  {self.part:.0%}"
        self.query_one("#found", Static).update(Content(text))

    def _place(self) -> str:
        row = self._log.cursor_row
        if row is not None and row.anchor in self._log.hits:
            return f"{bisect_left(self.hits, row.anchor) + 1:,} of "
        return ""

    def moved(self) -> None:
        """Take note that the cursor moved."""
        if self.active:
            self._say()

    def neighbour(self, anchor: Anchor | None, backward: bool) -> Anchor | None:
        """Return the next hit after a record, or the one before; beyond the last one comes the first."""
        if not self.hits:
            return None
        if anchor is None:
            return self.hits[-1 if backward else 0]
        if backward:
            return self.hits[bisect_left(self.hits, anchor) - 1]
        return self.hits[bisect_right(self.hits, anchor) % len(self.hits)]
