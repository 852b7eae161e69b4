"""The rack: a card for each slot, or a line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from esim_bench.desk.api import SlotReading, Trouble
from esim_bench.desk.board import SlotView
from esim_bench.tui import signs
from esim_bench.tui.dialogs import Prompt
from esim_bench.tui.rack import face
from esim_bench.tui.rack.grid import RackGrid
from esim_bench.tui.rack.power import PowerMenu
from esim_bench.tui.screen import BenchScreen, Command

DENSITIES: Final = ("auto", "cards", "lines")
AT_ONCE: Final = 8
"""Slots that are read at the same time."""
CYCLE_SECONDS: Final = 2.0
_THEME: Final = {
    "text": "",
    "strong": "bold",
    "muted": "$foreground-muted",
    "good": "$text-success",
    "warn": "$text-warning",
    "bad": "bold $text-error",
    "accent": "bold $text-accent",
    "hand": "bold $text-secondary",
}


class RackScreen(BenchScreen):
    """The rack: what each slot is, what it does, and what is wrong with it."""

    NAME = "Rack"
    HELP = """\
Every slot of the rack, as it was last heard of. Nothing is opened by itself: **R** reads a slot.

* **arrows** move, **enter** opens the slot; **space** selects, **shift+arrows** select on the way, **a** selects all.
* **r** runs a scenario on what is selected, **t** shows its trace, **p** switches its power, **R** reads it.
* **/** filters by any words: a name, `MFF2`, `iSIM`, `FAIL`, `running`, an operator, part of an EID.
* **!** shows only what somebody must look at, **g** groups by form factor, **d** changes between cards and lines.

A double frame and ▲ mark a problem; the line below says what it is and what to do. ● power on, ○ off, · not known.
◆ is the enabled profile, ▶ a run (⇄ one of another process), ✎ work by hand, ◉ a selected slot.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "run", "Run"),
        Binding("t", "trace", "Trace"),
        Binding("p", "power", "Power"),
        Binding("R", "read", "Read", key_display="R"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("exclamation_mark", "problems_only", "Problems", key_display="!"),
        Binding("g", "group", "Group"),
        Binding("d", "density", "Density"),
    ]
    DEFAULT_CSS = """
    RackScreen #summary { height: 1; padding: 0 1; color: $foreground-muted; background: $surface; }
    RackScreen #board-trouble { height: auto; max-height: 3; padding: 0 1; color: $text-error; text-style: bold;
        display: none; }
    RackScreen #filter { height: 1; border: none; padding: 0 1; background: $panel; display: none; }
    RackScreen #details { height: 3; padding: 0 1; background: $surface; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._problems_only = False
        self._grouped = False
        self._density = "auto"
        self._told: Trouble | None = None
        self._texts: dict[str, Content] = {}

    def body(self) -> ComposeResult:
        """Make the parts: a summary, the slots, and what there is to say of the one under the cursor."""
        yield Static("", id="summary", markup=False)
        yield Static("", id="board-trouble", markup=False)
        yield RackGrid(lambda name: self.bench.context.watch.board.slot(name))
        yield Input(placeholder="words that a slot must have; escape shows all", id="filter", compact=True)
        yield Static("", id="details", markup=False)

    def on_mount(self) -> None:
        """Show the rack as its file has it."""
        super().on_mount()
        self._show()
        self.grid.focus()

    @property
    def grid(self) -> RackGrid:
        """Return the slots' widget."""
        return self.query_one(RackGrid)

    # -------------------------------------------------------------------------------------- what is seen

    def on_bench(self, what: frozenset[str]) -> None:
        """Show what has changed."""
        if not self.is_mounted:
            return
        if "rack" in what or self._filter or self._problems_only:
            self._show()
        self.grid.news(what)
        self._say()

    def _show(self) -> None:
        """Put the slots in their places that are wanted."""
        groups: dict[str, list[SlotView]] = {}
        for view in self._wanted():
            groups.setdefault(view.form_factor if self._grouped else "", []).append(view)
        shown = []
        for title, views in groups.items():
            wrong = sum(view.problem for view in views)
            more = f", {signs.PROBLEM.sign} {wrong} problem{'s' * (wrong != 1)}" if wrong else ""
            count = f"{len(views)} slot{'s' * (len(views) != 1)}"
            shown.append((f"{title}: {count}{more}" if title else "", [view.name for view in views]))
        self.grid.nothing = (
            "No slot has a problem. ! shows all of them."
            if self._problems_only and not self._filter
            else f'No slot has "{self._filter}". Escape shows all of them.'
        )
        self.grid.show_slots(shown, self._density)
        self._say()

    def _wanted(self) -> list[SlotView]:
        words = self._filter.lower().split()
        found = []
        for view in self.bench.context.watch.board.slots():
            if self._problems_only and not view.problem:
                continue
            if words:
                hay = face.haystack(view)
                if not all(word in hay for word in words):
                    continue
            found.append(view)
        return found

    def _say(self) -> None:
        """Say how it stands, and what there is to say of the slot under the cursor."""
        board = self.bench.context.watch.board
        views = board.slots()
        self._put("#summary", self._summary(views))
        spans: list[face.Span] = []
        if self.grid.cursor:
            view = board.slot(self.grid.cursor)
            width = max(20, self.size.width - 2)
            spans = [*face.line(face.details(view), [], width), ("\n", "text"), *face.advice(view)]
        self._put("#details", _content(spans))
        trouble = board.trouble
        if trouble != self._told:
            self._told = trouble
            panel = self.query_one("#board-trouble", Static)
            panel.display = trouble is not None
            if trouble is not None:
                panel.update(face.words(trouble))
                self.bench.problem(trouble)

    def _put(self, which: str, content: Content) -> None:
        if self._texts.get(which) != content:
            self._texts[which] = content
            self.query_one(which, Static).update(content)

    def _summary(self, views: list[SlotView]) -> Content:
        shown, selected = len(self.grid.names), len(self.grid.selected)
        runs = sum(view.activity == "run" for view in views)
        hands = sum(view.activity == "by hand" for view in views)
        wrong = sum(view.problem for view in views)
        count = f"{len(views)} slot{'s' * (len(views) != 1)}"
        spans: list[face.Span] = [(f"{shown} of {count}" if shown != len(views) else count, "text")]
        if selected:
            spans.append((f"  {face.SELECTED} {selected} selected", "accent"))
        if runs:
            spans.append((f"  {signs.RUNNING.sign} {runs} in a run", "accent"))
        if hands:
            spans.append((f"  {face.HAND} {hands} by hand", "hand"))
        if wrong:
            spans.append((f"  {signs.PROBLEM.sign} {wrong} problem{'s' * (wrong != 1)}", "bad"))
        if self._problems_only:
            spans.append(("  only problems (! shows all)", "warn"))
        if self._filter:
            spans.append((f'  only "{self._filter}" (escape shows all)', "warn"))
        return _content(spans)

    @on(RackGrid.Moved)
    def _moved(self) -> None:
        self._say()

    @on(RackGrid.Opened)
    def _opened(self, event: RackGrid.Opened) -> None:
        self.bench.open_slot(event.slot)

    # -------------------------------------------------------------------------------------- what is shown

    def action_filter(self) -> None:
        """Ask for the words that a slot must have."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.focus()

    @on(Input.Changed, "#filter")
    def _typed(self, event: Input.Changed) -> None:
        if event.value.strip() != self._filter:
            self._filter = event.value.strip()
            self._show()

    @on(Input.Submitted, "#filter")
    def _entered(self) -> None:
        self._hide_filter()

    def _hide_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.grid.focus()

    def action_back(self) -> None:
        """Leave the filter; then the selection; then the narrowing to problems."""
        line = self.query_one("#filter", Input)
        if line.display or self._filter:
            self._filter = ""
            line.value = ""
            self._hide_filter()
            self._show()
        elif self.grid.selected:
            self.grid.select([*self.grid.selected], False)
        elif self._problems_only:
            self.action_problems_only()
        else:
            super().action_back()

    def action_problems_only(self) -> None:
        """Show only what somebody must look at, or all."""
        self._problems_only = not self._problems_only
        self._show()

    def action_group(self) -> None:
        """Group by form factor, or not."""
        self._grouped = not self._grouped
        self._show()

    def action_density(self) -> None:
        """Show cards, lines, or what fits."""
        shown = self.grid.density
        # Whatever is shown now, the next press shows something else.
        order = {"auto": "lines" if shown == "cards" else "cards", "lines": "cards", "cards": "lines"}
        wanted = order[self._density]
        self._density = wanted
        self._show()

    # -------------------------------------------------------------------------------------- what is done

    def action_run(self) -> None:
        """Choose a scenario for the selected slots."""
        if chosen := self.grid.chosen:
            self.bench.plan_run(chosen)

    def action_trace(self) -> None:
        """Show what happened at the selected slots."""
        if chosen := self.grid.chosen:
            self.bench.open_trace(chosen)

    def action_read(self) -> None:
        """Read the selected slots: some at a time."""
        gate = asyncio.Semaphore(AT_ONCE)
        desk = self.bench.context.desk

        async def read(name: str) -> SlotReading:
            async with gate:
                return await desk.read(name)

        for name in self.grid.chosen:
            self.bench.job(read(name), f"read {name}", slot=name)

    def action_power(self) -> None:
        """Ask what is to be done to the power of the selected slots."""
        if chosen := self.grid.chosen:
            self.run_worker(self._power(chosen), group="power", exclusive=True)

    async def _power(self, chosen: list[str]) -> None:
        who = chosen[0] if len(chosen) == 1 else f"{len(chosen)} slots"
        what = await self.bench.ask(PowerMenu(f"Power of {who}"))
        if what is None:
            return
        seconds = 0.0
        if what == "cycle":
            answer = await self.bench.ask(Prompt(f"Cycle the power of {who}", "Seconds without power", "2"))
            if answer is None:
                return
            try:
                seconds = float(answer.replace(",", "."))
            except ValueError:
                self.bench.problem(
                    Trouble(kind="Input", what="seconds without power", expected="a number", found=repr(answer))
                )
                return
        desk = self.bench.context.desk
        for name in chosen:
            match what:
                case "on":
                    self.bench.job(desk.power_on(name), f"power on {name}", slot=name)
                case "off":
                    self.bench.job(desk.power_off(name), f"power off {name}", slot=name)
                case _:
                    self.bench.job(desk.power_cycle(name, seconds), f"power cycle {name}", slot=name)

    def commands(self) -> Iterable[Command]:
        """Return what the palette can do here."""
        yield "Rack: run a scenario", "on the selected slots", self.action_run
        yield "Rack: trace", "of the selected slots", self.action_trace
        yield "Rack: read", "EID, profiles and the modem's state of the selected slots", self.action_read
        yield "Rack: power", "on, off, cycle", self.action_power
        yield "Rack: only problems", "or all slots", self.action_problems_only
        yield "Rack: group by form factor", "or not", self.action_group
        yield "Rack: cards or lines", "", self.action_density
        yield "Rack: filter", "by words", self.action_filter
        yield "Rack: select all or none", "", self.grid.action_all

    # -------------------------------------------------------------------------------------- next start

    def saved(self) -> dict[str, Any]:
        """Return what is remembered."""
        return {
            "density": self._density,
            "grouped": self._grouped,
            "problems_only": self._problems_only,
            "filter": self._filter,
            "cursor": self.grid.cursor,
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Take in what was remembered; somebody may have written into that file."""
        density = values.get("density")
        self._density = density if density in DENSITIES else "auto"
        self._grouped = values.get("grouped") is True
        self._problems_only = values.get("problems_only") is True
        text = values.get("filter")
        self._filter = text if isinstance(text, str) else ""
        self.query_one("#filter", Input).value = self._filter
        cursor = values.get("cursor")
        self.grid.cursor = cursor if isinstance(cursor, str) else ""


def _content(spans: list[face.Span]) -> Content:
    return Content.assemble(*((text, _THEME[style]) for text, style in face.tidy(spans)))
