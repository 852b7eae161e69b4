"""The runs: history with search, what one of them did, comparison, trends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from esim_bench.desk import history
from esim_bench.desk.api import Trouble
from esim_bench.desk.history import Summary
from esim_bench.errors import BenchError
from esim_bench.report.junit import junit
from esim_bench.tui import signs
from esim_bench.tui.dialogs import Prompt
from esim_bench.tui.runs.compare import CompareScreen
from esim_bench.tui.runs.trends import TrendsScreen
from esim_bench.tui.screen import BenchScreen, Command
from esim_bench.tui.work import work

SHOWN: Final = 500
"""Runs in the list at once; the search finds the others."""
_WAIT: Final = 0.15


class RunsScreen(BenchScreen):
    """The list beside what the chosen run did."""

    NAME = "Runs"
    HELP = """\
Every run of this bench, the newest first, also those of other terminals and of nightly jobs.

* **/** searches: words that all must be in it, such as `switch FAIL MFF2 2026-11`.
* **Enter** goes from the run to its steps; **Enter** or **t** on a step opens the trace where it began.
* **c** marks a run, **c** on another one compares the two. **v** shows trends. **x** runs the same again.
* **j** writes a JUnit report.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", key_display="/"),
        Binding("t", "trace", "Trace"),
        Binding("c", "compare", "Compare"),
        Binding("v", "trends", "Trends"),
        Binding("x", "again", "Run again"),
        Binding("j", "junit", "JUnit"),
    ]
    DEFAULT_CSS = """
    RunsScreen #split { height: 1fr; }
    RunsScreen #left { width: 2fr; max-width: 72; }
    RunsScreen #right { width: 3fr; border-left: solid $panel; }
    RunsScreen.-narrow #left { width: 30; }
    RunsScreen OptionList { height: 1fr; border: none; padding: 0; background: $background; }
    RunsScreen OptionList:focus { border: none; }
    RunsScreen #wanted { height: 1; border: none; padding: 0 1; background: $panel; }
    RunsScreen #wanted:focus { border: none; }
    RunsScreen #count { height: 1; padding: 0 1; background: $surface; color: $foreground-muted; }
    RunsScreen #about { height: auto; max-height: 12; padding: 0 1; background: $surface; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: list[Summary] = []
        self._wanted: str | None = None
        """The run to be shown as soon as it is there."""
        self._document: dict[str, Any] | None = None
        self._steps: list[tuple[int, int]] = []
        """Of each line of the detail: place of the slot, place of the step."""
        self._marked: str | None = None

    def body(self) -> ComposeResult:
        """Make the parts."""
        with Horizontal(id="split"):
            with Vertical(id="left"):
                yield Input(placeholder="/ search: scenario, slot, outcome, date …", id="wanted")
                yield OptionList(id="runs")
                yield Static("reading …", id="count", markup=False)
            with Vertical(id="right"):
                yield Static("", id="about", markup=False)
                yield OptionList(id="steps")

    def on_mount(self) -> None:
        """Begin in the list."""
        self.query_one("#runs").focus()
        self._read()

    def on_resize(self, event: Resize) -> None:
        """Leave out what has no room."""
        self.set_class(event.size.width < 110, "-narrow")

    def on_bench(self, what: frozenset[str]) -> None:
        """Read again when a run began or ended."""
        if "runs" in what:
            self._read()

    def saved(self) -> dict[str, Any]:
        """Remember the search."""
        return {"search": self.query_one("#wanted", Input).value} if self.is_mounted else {}

    def restore(self, values: dict[str, Any]) -> None:
        """Search for the same again."""
        text = values.get("search")
        if isinstance(text, str):
            with self.prevent(Input.Changed):
                self.query_one("#wanted", Input).value = text

    def open_run(self, run: str) -> None:
        """Show one run."""
        self._wanted = run
        with self.prevent(Input.Changed):
            self.query_one("#wanted", Input).value = ""
        self._read()

    # ------------------------------------------------------------------------------------------------ the list

    def _read(self, wait: float = 0.0) -> None:
        self.run_worker(work(self._list, wait), group="list", exclusive=True)

    async def _list(self, wait: float) -> None:
        await asyncio.sleep(wait)
        text = self.query_one("#wanted", Input).value
        try:
            found = await self.bench.context.watch.read(history.summaries, text)
        except (BenchError, OSError) as exc:
            self.query_one("#count", Static).update("the history cannot be read: F6 says why")
            self.bench.problem(Trouble.of(exc))
            return
        runs = self.query_one("#runs", OptionList)
        chosen = self._wanted or self._chosen
        if found[:SHOWN] != self._found[:SHOWN] or not runs.option_count:
            self._found = found
            self._fill(runs)
        place = next((place for place, one in enumerate(found[:SHOWN]) if one.run == chosen), None)
        if self._wanted is not None and place is None:
            await self._show(self._wanted)
        self._wanted = None
        if found:
            runs.highlighted = place or 0
        else:
            self._document = None
            self._detail()
        told = f"{len(found):,} runs" if len(found) != 1 else "1 run"
        more = f", the newest {SHOWN} shown" if len(found) > SHOWN else ""
        none = "no run has all of these words" if text else "no run yet: F4 starts one"
        self.query_one("#count", Static).update(f"{told}{more}" if found else none)

    @property
    def _chosen(self) -> str | None:
        place = self.query_one("#runs", OptionList).highlighted
        return self._found[place].run if place is not None and place < len(self._found) else None

    def _fill(self, runs: OptionList) -> None:
        narrow = self.has_class("-narrow")
        with self.prevent(OptionList.OptionHighlighted):
            runs.clear_options()
            runs.add_options([Option(self._line(one, narrow)) for one in self._found[:SHOWN]])

    def _line(self, one: Summary, narrow: bool) -> Content:
        sign = signs.outcome(one.outcome if one.state != "running" else None)
        mark = "c" if one.run == self._marked else " "
        when = one.started[5:16].replace("T", " ")
        slots = " ".join(name for name, _, _ in one.slots)
        parts: list[str | tuple[str, str]] = [
            (mark, "$text-accent bold"),
            (f"{sign.sign} ", f"${sign.colour}"),
            (f"{when} " if not narrow else f"{when[6:]} ", "$foreground-muted"),
            one.scenario,
        ]
        if not narrow:
            parts.append((f"  {slots}", "$foreground-muted"))
        return Content.assemble(*parts)

    @on(Input.Changed, "#wanted")
    def _typed(self) -> None:
        self._read(_WAIT)

    @on(Input.Submitted, "#wanted")
    def _entered(self) -> None:
        self.query_one("#runs").focus()

    @on(OptionList.OptionHighlighted, "#runs")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_index < len(self._found):
            self.run_worker(work(self._show, self._found[event.option_index].run), group="show", exclusive=True)

    @on(OptionList.OptionSelected, "#runs")
    def _selected(self) -> None:
        self.query_one("#steps").focus()

    def action_search(self) -> None:
        """Let words be typed."""
        self.query_one("#wanted").focus()

    def action_back(self) -> None:
        """From the steps to the list; from the search to the list, which is whole again."""
        line = self.query_one("#wanted", Input)
        if self.focused is line or self.focused is self.query_one("#steps"):
            if self.focused is line:
                line.value = ""
            self.query_one("#runs").focus()
        else:
            super().action_back()

    # ------------------------------------------------------------------------------------------------ one run

    async def _show(self, run: str) -> None:
        await asyncio.sleep(0.03)  # while the cursor flies over the list
        try:
            self._document = await self.bench.context.watch.read(history.document, run)
        except (BenchError, OSError) as exc:
            self._document = None
            self.bench.problem(Trouble.of(exc))
        self._detail()

    def _detail(self) -> None:
        document = self._document
        about, steps = self.query_one("#about", Static), self.query_one("#steps", OptionList)
        before = steps.highlighted
        steps.clear_options()
        self._steps = []
        if document is None:
            about.update("")
            return
        about.update(_about(document))
        lines = []
        for place, slot in enumerate(document["slots"]):
            sign = signs.outcome(slot["outcome"])
            device = history.kind_of(slot)
            lines.append(
                Content.assemble(
                    (f"{sign.sign} {slot['slot']}", f"${sign.colour} bold"),
                    f" {slot['form_factor']}  {slot['outcome'] or 'running'}",
                    f"  {slot['seconds']:.1f} s  {slot['apdus']} APDUs",
                    (f"  {device}", "$foreground-muted"),
                )
            )
            self._steps.append((place, -1))
            for number, step in enumerate(slot["steps"]):
                sign = signs.outcome(step["outcome"])
                lines.append(
                    Content.assemble(
                        (f"  {sign.sign} ", f"${sign.colour}"),
                        f"{step['name']}  ",
                        (f"{step['seconds']:.2f} s  {step['detail']}", "$foreground-muted"),
                    )
                )
                self._steps.append((place, number))
        steps.add_options([Option(line) for line in lines])
        if lines:
            steps.highlighted = min(before or 0, len(lines) - 1)

    @on(OptionList.OptionSelected, "#steps")
    def _step(self) -> None:
        self.action_trace()

    def action_trace(self) -> None:
        """Open the trace of the chosen slot at the chosen step."""
        if self._document is not None:
            self.run_worker(work(self._trace, self._document), group="trace", exclusive=True)

    async def _trace(self, document: dict[str, Any]) -> None:
        place = self.query_one("#steps", OptionList).highlighted or 0
        slot, step = self._steps[place] if self._steps else (0, -1)
        whole = self.focused is self.query_one("#runs")
        watch = self.bench.context.watch

        def find() -> tuple[list[Path], int | None]:
            wanted = [] if whole else [document["slots"][slot]["slot"]]
            paths = history.traces(document, wanted)
            at_ns = history.step_time(watch.index(paths[0]), step) if paths and step >= 0 and not whole else None
            return paths, at_ns

        try:
            paths, at_ns = await watch.read(find)
        except (BenchError, OSError) as exc:
            self.bench.problem(Trouble.of(exc))
            return
        if paths:
            self.bench.open_trace(paths=paths, at_ns=at_ns)
        else:
            self.notify("The traces of this run are no more.", severity="warning")

    # ------------------------------------------------------------------------------------------------ what else

    def action_compare(self) -> None:
        """Mark the chosen run, or compare it with the marked one."""
        chosen = self._chosen
        if chosen is None:
            return
        if self._marked in (None, chosen):
            self._marked = None if self._marked == chosen else chosen
            runs = self.query_one("#runs", OptionList)
            place = runs.highlighted
            self._fill(runs)
            with self.prevent(OptionList.OptionHighlighted):
                runs.highlighted = place
            if self._marked is not None:
                self.notify("Marked: c on another run compares the two.", timeout=3)
            return
        self.run_worker(work(self._compare, str(self._marked), chosen), group="compare", exclusive=True)

    async def _compare(self, left: str, right: str) -> None:
        read = self.bench.context.watch.read
        try:
            documents = [await read(history.document, run) for run in sorted((left, right))]
        except (BenchError, OSError) as exc:
            self.bench.problem(Trouble.of(exc))
            return
        await self.app.push_screen(CompareScreen(*documents))

    def action_trends(self) -> None:
        """Show how things change over the runs."""
        self.app.push_screen(TrendsScreen())

    def action_again(self) -> None:
        """Plan the same run again."""
        document = self._document
        if document is None:
            return
        known = {slot.name for slot in self.bench.context.rack.slots}
        slots = list(dict.fromkeys(slot["slot"] for slot in document["slots"] if slot["slot"] in known))
        params = {name: str(value) for name, value in (document.get("params") or {}).items() if value is not None}
        self.bench.plan_run(slots, document["scenario"], params)

    def action_junit(self) -> None:
        """Write a JUnit report of the chosen run."""
        if self._document is not None:
            self.run_worker(work(self._junit, self._document), group="dialog", exclusive=True)

    async def _junit(self, document: dict[str, Any]) -> None:
        wanted = await self.bench.ask(Prompt("JUnit report", "File to write:", f"{document['run']}.xml"))
        if not wanted or not wanted.strip():
            return

        def write() -> Path:
            path = Path(wanted.strip()).expanduser()
            with path.open("x") as file:
                file.write(junit(document))
            return path

        try:
            path = await asyncio.to_thread(write)
        except OSError as exc:
            self.bench.problem(Trouble.of(exc))
            return
        self.notify(f"Written: {path}", markup=False)

    def commands(self) -> Iterable[Command]:
        """Return what can be done with the runs."""
        return (
            ("Search the runs", "by scenario, slot, outcome, date", self.action_search),
            ("Trends", "pass rate, download and recovery time", self.action_trends),
            ("Compare two runs", "marks one, then compares another with it", self.action_compare),
            ("Run this again", "with the same slots and parameters", self.action_again),
            ("JUnit report of this run", "for a CI system", self.action_junit),
        )


def _about(document: dict[str, Any]) -> Content:
    """Return what is to be known of a run as a whole."""
    outcome = document.get("outcome")
    sign = signs.outcome(outcome)
    bench = document.get("bench") or {}
    params = ", ".join(f"{name}={value}" for name, value in (document.get("params") or {}).items() if value is not None)
    parts: list[str | tuple[str, str]] = [
        (f"{sign.sign} {outcome or 'running'}", f"${sign.colour} bold"),
        (f"  {document['scenario']}", "bold"),
        f"  {document.get('started', '')[:19].replace('T', ' ')}",
        (f"\n{document['run']}  rack {document.get('rack', '')}", "$foreground-muted"),
    ]
    if document.get("seed") is not None:
        parts.append((f"  seed {document['seed']}", "$foreground-muted"))
    if params:
        parts.append((f"\n{params}", "$foreground-muted"))
    if document.get("state") == "interrupted":
        parts.append(("\nIts process died: what was done until then is below.", "$text-warning"))
    if document.get("reason"):
        parts.append((f"\n{signs.PROBLEM.sign} {document['reason']}", "$text-error"))
    host = " ".join(str(bench[name]) for name in ("host", "kernel") if bench.get(name))
    parts.append((f"\nesim-bench {document.get('version', '')}  {host}".rstrip(), "$foreground-muted"))
    return Content.assemble(*parts)
