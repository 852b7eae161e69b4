"""The trace: the log of slots, of the whole rack or of files on one time line, and what the chosen record says."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.css.query import NoMatches
from textual.events import Resize
from textual.widgets import Static

from esim_bench.desk.api import Trouble
from esim_bench.errors import BenchError
from esim_bench.trace.adopt import adopt, is_journal
from esim_bench.trace.index import Filter
from esim_bench.trace.timeline import Anchor
from esim_bench.tui.collector import Collector
from esim_bench.tui.dialogs import Prompt
from esim_bench.tui.screen import BenchScreen, Command
from esim_bench.tui.trace import tools
from esim_bench.tui.trace.decode import DecodePane
from esim_bench.tui.trace.filterbar import FilterBar, FilterDialog
from esim_bench.tui.trace.jump import EXAMPLES, Way, parse_way
from esim_bench.tui.trace.log import LogView
from esim_bench.tui.trace.model import LogModel, Row
from esim_bench.tui.trace.searchbar import SearchBar
from esim_bench.tui.trace.sources import Opened, Scope, SourceDialog, choices, open_scope
from esim_bench.tui.trace.wish import GROUPS, Wish
from esim_bench.tui.work import work

BESIDE: Final = 110
"""Columns from which on the decoded record stands beside the log instead of below."""
_ERRORS: Final = Filter(errors=True)
_SETTLED: Final = 1.5
_LOOK: Final = 1.0
_SETTLE: Final = 0.08
"""Seconds between two records that are decoded, while the cursor flies over them."""


class TraceScreen(BenchScreen):
    """The trace of slots."""

    NAME = "Trace"
    HELP = """\
Every APDU, AT line, RSP message, power switch and step, of one slot or of the whole rack on one time line, while it
happens and afterwards.

* **o** chooses what the trace is of: the rack, a slot, a run, a file. **f** follows the end; any move up stays.
* **1** to **6** show only APDUs, AT, RSP, power, marks, what was heard on the wire; **!** only errors; **F** functions
  and status words (`ES10c.*`, `63xx`); **s** only the slot of the chosen record; **0** everything again.
* **/** searches text and bytes (`BF 2D`); **n** and **N** go from hit to hit, without a search from error to error.
* **g** goes to a record's number, `50 %`, `14:03:22.5`, `+1.5 s`, `end`.
* **t** shows the time of day, the time since the row before, the time since the reference that **r** sets.
* ✗ marks errors, ⌖ the reference. `->` says how it ended; **SW** is the status word, or the HTTP status.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "source", "Of…"),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("g", "goto", "Go to"),
        Binding("n", "neighbour(1)", "Next ✗/hit"),
        Binding("N", "neighbour(-1)", "Previous error or hit", show=False),
        Binding("F", "lists", "Filter"),
        Binding("exclamation_mark", "errors", "Errors", key_display="!", show=False),
        Binding("s", "slot", "Only this slot", show=False),
        Binding("0", "everything", "Show all", show=False),
        *(Binding(group.key, f"group('{group.name}')", f"Only {group.name}", show=False) for group in GROUPS),
        Binding("p", "pane", "Pane"),
        *tools.bindings(),
    ]
    DEFAULT_CSS = """
    TraceScreen #split { layout: horizontal; height: 1fr; }
    TraceScreen #logs { width: 3fr; height: 1fr; }
    TraceScreen #pane { width: 2fr; height: 1fr; border-left: solid $panel; }
    TraceScreen.-narrow #split { layout: vertical; }
    TraceScreen.-narrow #logs { width: 1fr; height: 3fr; }
    TraceScreen.-narrow #pane { width: 1fr; height: 2fr; border-left: none; border-top: solid $panel; }
    TraceScreen.-alone #pane { display: none; }
    TraceScreen #status { height: 1; padding: 0 1; background: $surface; color: $text-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = LogModel()
        self.scope = Scope()
        self._wish = Wish()
        self._opened = Opened((), True, 0)
        self._pane_wanted = True
        self._at_ns: int | None = None
        self._adoptions: dict[Path, list[Path]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._collector = Collector()
        self._look = asyncio.Event()
        self._opening = False

    # --------------------------------------------------------------------------------------------- making it

    def body(self) -> ComposeResult:
        """Make the log and the pane."""
        self.log_view = LogView(self.model, self._read, id="log")
        self.search = SearchBar(self.log_view, id="search")
        self.filters = FilterBar(id="filters")
        with Container(id="split"):
            with Vertical(id="logs"):
                yield self.filters
                yield self.log_view
                yield self.search
                yield Static("", id="status", markup=False)
            self.pane = DecodePane(id="pane")
            yield self.pane

    async def _read(self, work: Callable[..., Any], *args: Any) -> Any:
        return await self.bench.context.watch.read(work, *args)

    def on_mount(self) -> None:
        """Show what the state says, follow."""
        self.filters.wish = self._wish
        self.filters.renew()
        self.set_class(not self._pane_wanted, "-alone")
        self.run_worker(work(self._feed, self.pane), group="pane")
        self.log_view.focus()
        self._reopen(self._at_ns)
        self.set_timer(_SETTLED, self._collector.begin)
        self.set_interval(_LOOK, self._look_for_journals)

    def on_resize(self, event: Resize) -> None:
        """Put the pane beside the log, or below."""
        self.set_class(event.size.width < BESIDE, "-narrow")

    def saved(self) -> dict[str, Any]:
        """Remember what was shown."""
        return {
            "slots": list(self.scope.slots),
            "paths": [str(path) for path in self.scope.paths],
            "title": self.scope.title,
            "wish": self._wish.saved(),
            "time": self.log_view.time_mode if self.is_mounted else "clock",
            "pane": self._pane_wanted,
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Show again what was shown."""
        slots, paths, title = values.get("slots"), values.get("paths"), values.get("title")
        self.scope = Scope(
            tuple(str(one) for one in slots) if isinstance(slots, list) else (),
            tuple(Path(str(one)) for one in paths) if isinstance(paths, list) else (),
            title if isinstance(title, str) else "",
        )
        self._wish = Wish.restored(values.get("wish"))
        self._pane_wanted = values.get("pane") is not False

    # --------------------------------------------------------------------------------------------- what it is of

    def open(self, slots: Sequence[str] = (), at_ns: int | None = None, paths: Sequence[Path] = ()) -> None:
        """Show the trace of slots, or of files, at a moment: all of it, unless it is what was looked at last."""
        scope = Scope(tuple(slots), tuple(paths))
        same = at_ns is None and scope == self.scope and self.is_mounted and self.log_view.total > 0
        self._show(self._wish if same else Wish())
        self.scope = scope
        self._at_ns = at_ns
        if self.is_mounted:
            self._opened = Opened((), True, 0)
            self._reopen(at_ns)

    def _show(self, wish: Wish) -> None:
        self._wish = wish
        if self.is_mounted:
            self.filters.wish = wish
            self.filters.renew()

    def _reopen(self, at_ns: int | None = None) -> None:
        self.run_worker(work(self._open, at_ns), group="open", exclusive=True)

    async def _open(self, at_ns: int | None) -> None:
        self._opening = True
        try:
            await self._open_scope(at_ns)
        finally:
            self._opening = False

    async def _open_scope(self, at_ns: int | None) -> None:
        context, known = self.bench.context, self._opened.paths
        scope, wish = self.scope, self._wish
        try:
            scope = await self._adopted(scope)
            opened: Opened = await self._read(open_scope, context.watch, context.rack, scope, self.model, known, at_ns)
            await self._read(self.model.filter, wish.filter, wish.slots)
            anchor = await self._read(self.model.at_time, at_ns) if at_ns is not None else None
        except (BenchError, OSError) as exc:
            self.bench.problem(Trouble.of(exc))
            return
        first = not known
        self._opened = opened
        self.log_view.live = opened.live
        if not first and not opened.fresh:
            return
        for trouble in opened.troubles:
            self.bench.problem(trouble)
        self.log_view.slot_width = opened.slot_width
        self.filters.source(scope.name)
        if first:
            self.log_view.reset(follow=anchor is None and opened.live)
        else:
            self.log_view.renewed()
        self.search.again()
        if anchor is not None:
            self.log_view.jump(anchor)
        self._tell()

    async def _adopted(self, scope: Scope) -> Scope:
        """Return a scope with journals made of the files that are none. Raises ConfigError, RigError, OSError."""
        paths: list[Path] = []
        for path in scope.paths:
            made = self._adoptions.get(path)
            if made is None and not await self._read(is_journal, path):
                made = self._adoptions[path] = await asyncio.to_thread(self._adopt, path, len(self._adoptions))
            paths += made or [path]
        return replace(scope, paths=tuple(paths), title=scope.name if scope.paths else scope.title)

    def _adopt(self, path: Path, number: int) -> list[Path]:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="esim-bench-trace-")
        return adopt(path, Path(self._folder.name) / str(number))

    def on_key(self) -> None:
        """Take note that somebody types."""
        self._collector.touched()

    def on_unmount(self) -> None:
        """Throw away what was made of foreign files."""
        self._collector.end()
        if self._folder is not None:
            self._folder.cleanup()

    def _look_for_journals(self) -> None:
        """See whether a journal has come that belongs to what is shown, or memory is to be tidied up."""
        self._collector.look()
        if self.scope.lives and self.is_current and not self._opening:
            self._reopen()

    def on_bench(self, what: frozenset[str]) -> None:
        """Show what has come."""
        if "rack" in what:
            self._opened = Opened((), True, 0)
            self._reopen()
            return
        if self.scope.lives and what & {"runs", "notices"} and not self._opening:
            self._reopen()

    # --------------------------------------------------------------------------------------------- the log's news

    @on(LogView.Failed)
    def _failed(self, event: LogView.Failed) -> None:
        self.bench.problem(event.trouble)

    @on(LogView.Changed)
    def _changed(self) -> None:
        self._tell()

    @on(LogView.Moved)
    def _moved(self, event: LogView.Moved) -> None:
        self.search.moved()
        self._tell()
        self._look.set()

    def _tell(self) -> None:
        """Say where the log is."""
        log = self.log_view
        page = log.page
        with suppress(NoMatches):
            told = self._status(log, page is not None and not page.counted)
            self.query_one("#status", Static).update(told, layout=False)

    def _status(self, log: LogView, counting: bool) -> Content:
        parts: list[str | tuple[str, str]] = []
        if log.follow:
            parts += [("▶ following", "$text-success"), "  "]
        total = f"{log.total:,}{'+' if counting else ''}"
        if log.total:
            share = (log.cursor + 1) / log.total
            parts.append(f"{log.cursor + 1:,} of {total}  {share:.0%}" if not log.follow else f"{total} records")
        elif log.page is None or (log.page.behind and not self._opened.paths):
            parts.append("reading …")
        elif not self._wish.empty:
            parts.append(("nothing fits the filter: 0 shows everything", "$text-warning"))
        elif not self._opened.paths:
            parts.append("no journal yet: a run (F4), or work on a slot (F2), writes one")
        else:
            parts.append("no records yet")
        if log.page is not None and log.page.behind > 1 << 20:
            parts.append((f"  reading, {log.page.behind / 1e6:,.0f} MB to go", "$text-warning"))
        return Content.assemble(*parts)

    # --------------------------------------------------------------------------------------------- filters

    @on(FilterBar.Wished)
    def _wished(self, event: FilterBar.Wished) -> None:
        self._wish = event.wish
        self.run_worker(work(self._filter, event.wish), group="filter", exclusive=True)

    async def _filter(self, wish: Wish) -> None:
        await self._read(self.model.filter, wish.filter, wish.slots)
        self.log_view.renewed()
        self.search.again()

    @on(FilterBar.Asked)
    def _asked(self, event: FilterBar.Asked) -> None:
        if event.what == "source":
            self.action_source()
        else:
            self.action_lists()

    def action_group(self, name: str) -> None:
        """Show one kind more, or less."""
        self.filters.change(self._wish.toggled(name))

    def action_errors(self) -> None:
        """Show errors only, or all."""
        self.filters.change(replace(self._wish, errors=not self._wish.errors))

    def action_slot(self) -> None:
        """Show the chosen record's slot only, or all."""
        row = self.log_view.cursor_row
        if self._wish.slots:
            self.filters.change(replace(self._wish, slots=frozenset()))
        elif row is not None:
            self.filters.change(replace(self._wish, slots=frozenset((row.slot,))))

    def action_everything(self) -> None:
        """Show everything."""
        self.filters.change(Wish())

    def action_lists(self) -> None:
        """Choose functions and status words."""
        self.run_worker(work(self._lists), group="dialog", exclusive=True)

    async def _lists(self) -> None:
        census = await self._read(self.model.census)
        wish = await self.bench.ask(FilterDialog(self._wish, census))
        if wish is not None:
            self.filters.change(wish)

    def action_source(self) -> None:
        """Choose what the trace is of."""
        self.run_worker(work(self._source), group="dialog", exclusive=True)

    async def _source(self) -> None:
        context = self.bench.context
        found = await self._read(choices, context.watch, context.rack)
        scope = await self.bench.ask(SourceDialog(found))
        if scope is not None:
            self.scope = scope
            self._opened = Opened((), True, 0)
            self._show(replace(self._wish, slots=frozenset()))
            self._reopen()

    # --------------------------------------------------------------------------------------------- ways

    def action_goto(self) -> None:
        """Go somewhere."""
        self.run_worker(work(self._goto), group="dialog", exclusive=True)

    async def _goto(self) -> None:
        text = await self.bench.ask(Prompt("Go to", EXAMPLES))
        if not text:
            return
        row = self.log_view.cursor_row
        span = await self._read(self.model.span)
        way = parse_way(text, row.at_ns if row is not None else span[0] if span else 0, span)
        if way is None:
            self.notify(f"{text!r} leads nowhere. Write as: {EXAMPLES}", severity="warning", markup=False)
            return
        if way.part == 1.0 and self.log_view.live:
            self.log_view.action_end()
            return
        anchor = await self._read(self._anchor, way)
        if anchor is not None:
            self.log_view.jump(anchor)

    def _anchor(self, way: Way) -> Anchor | None:
        """Return where a way leads. In the reader's thread."""
        if way.ordinal is not None:
            return self.model.at(way.ordinal)
        if way.part is not None:
            return self.model.at_fraction(way.part)
        row = self.log_view.cursor_row
        return self.model.at_time(way.at_ns or 0, row.anchor if row is not None else None)

    def action_search(self) -> None:
        """Search for a text."""
        self.search.ask()

    @on(SearchBar.Hits)
    def _hits(self, event: SearchBar.Hits) -> None:
        if event.first is not None:
            self.log_view.jump(event.first)

    def action_neighbour(self, way: int) -> None:
        """Go to the next hit or error, or to the one before."""
        self.run_worker(work(self._neighbour, way < 0), group="way", exclusive=True)

    async def _neighbour(self, backward: bool) -> None:
        row = self.log_view.cursor_row
        here = row.anchor if row is not None else None
        if self.search.active:
            anchor = self.search.neighbour(here, backward)
        else:
            anchor = await self._read(self.model.neighbour, _ERRORS, here, backward)
        if anchor is not None:
            self.log_view.jump(anchor)
        else:
            what = "hit" if self.search.active else "error"
            self.notify(f"No {what} {'before' if backward else 'after'} this record.", timeout=2, markup=False)

    def action_back(self) -> None:
        """End the search; without one, leave the screen."""
        if self.search.active or self.search.has_class("-shown"):
            self.search.action_stop()
        else:
            super().action_back()

    def action_pane(self) -> None:
        """Hide the pane, or show it."""
        self._pane_wanted = not self._pane_wanted
        self.set_class(not self._pane_wanted, "-alone")
        self._look.set()

    async def _feed(self, pane: DecodePane) -> None:
        """Let the pane show the chosen record, once the cursor rests on it."""
        shown: Anchor | None = None
        while True:
            await self._look.wait()
            await asyncio.sleep(_SETTLE)
            self._look.clear()
            row = self.log_view.cursor_row
            if not self._pane_wanted or self.log_view.rushes or (row.anchor if row is not None else None) == shown:
                continue
            shown = row.anchor if row is not None else None
            try:
                record = await self._read(self.model.record, row.anchor) if row is not None else None
            except (BenchError, OSError) as exc:
                self.bench.problem(Trouble.of(exc))
                continue
            pane.show(record, row.slot if row is not None else "")

    def action_tool(self, name: str) -> None:
        """Use one of the tools on the chosen record."""
        self.run_worker(work(tools.use, self, name), group="dialog", exclusive=True)

    def commands(self) -> Iterable[Command]:
        """Return the trace's own commands."""
        return (
            ("Trace of …", "a slot, a run, a file, the whole rack", self.action_source),
            ("Show only functions, status words …", "filter the trace", self.action_lists),
            ("Show only errors", "filter the trace", self.action_errors),
            ("Go to …", EXAMPLES, self.action_goto),
            ("Search text or bytes", "in the trace", self.action_search),
            ("Hide or show the decoded record", "the pane beside the log", self.action_pane),
        )

    @property
    def row(self) -> Row | None:
        """Return the chosen record's row."""
        return self.log_view.cursor_row
