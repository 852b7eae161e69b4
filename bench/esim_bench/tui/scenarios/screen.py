"""The scenarios: what there is, with what and on which slots it is to run; and what runs, live."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize
from textual.widgets import ContentSwitcher, OptionList
from textual.widgets.option_list import Option

from esim_bench.desk.api import RunRequest
from esim_bench.scenario.registry import CONSUMER, SCENARIOS
from esim_bench.tui.dialogs import Confirm
from esim_bench.tui.scenarios.live import LivePane
from esim_bench.tui.scenarios.plan import PlanForm
from esim_bench.tui.screen import BenchScreen, Command
from esim_bench.tui.work import work

_LPA: Final = frozenset(module.NAME for module in CONSUMER)


class ScenariosScreen(BenchScreen):
    """Two views: the plan, and what runs."""

    NAME = "Scenarios"
    HELP = """\
**1** plans a run: choose a scenario, its parameters, the slots (space ticks one), then **s** or the button starts it.
Slots that cannot run the scenario are not offered: eIM scenarios need a device with an IPA, the others an LPA.

**2** shows what runs: the steps of every slot with their times. **Enter** on a step opens the trace where it is, **a**
aborts (the devices are left in their safe state), **x** runs the same again, **o** answers a question to the operator.
Runs of other terminals are shown, too; they can only be watched.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "view('plan')", "Plan"),
        Binding("2", "view('live')", "Runs now"),
        Binding("s", "start", "Start"),
        Binding("a", "abort", "Abort"),
        Binding("x", "again", "Again"),
        Binding("t", "trace", "Trace"),
        Binding("o", "answer", "Answer"),
    ]
    DEFAULT_CSS = """
    ScenariosScreen ContentSwitcher { height: 1fr; }
    ScenariosScreen #plan { height: 1fr; }
    ScenariosScreen #library { width: 26; height: 1fr; border: none; padding: 0; background: $background; }
    ScenariosScreen #library:focus { border: none; }
    ScenariosScreen PlanForm { width: 1fr; border-left: solid $panel; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._names = list(SCENARIOS)
        self._plans: dict[str, dict[str, str]] = {}
        """What was filled in for each scenario."""

    def body(self) -> ComposeResult:
        """Make both views."""
        with ContentSwitcher(initial="plan"):
            with Horizontal(id="plan"):
                yield OptionList(*_library(), id="library")
                yield PlanForm()
            yield LivePane(id="live")

    def on_mount(self) -> None:
        """Begin in the library."""
        library = self.query_one("#library", OptionList)
        library.focus()
        if library.highlighted is None:
            library.highlighted = 1
        self.query_one(LivePane).refresh_runs()

    def on_resize(self, event: Resize) -> None:
        """Let the form know how much room there is."""
        self.set_class(event.size.width < 100, "-narrow")

    def on_bench(self, what: frozenset[str]) -> None:
        """Show how the runs go on."""
        if "rack" in what:
            self.query_one(PlanForm).renew()
        self.query_one(LivePane).refresh_runs()

    def saved(self) -> dict[str, Any]:
        """Remember the scenario."""
        return {"scenario": self.query_one(PlanForm).name_shown} if self.is_mounted else {}

    def restore(self, values: dict[str, Any]) -> None:
        """Choose the same scenario again."""
        self._choose(str(values.get("scenario", "")))

    def plan(self, slots: Sequence[str], scenario: str | None, params: dict[str, str]) -> None:
        """Begin with slots chosen, a scenario and its parameters."""
        self.action_view("plan")
        if scenario is not None:
            self._choose(scenario)
            self.query_one(PlanForm).show(scenario, params)
        self.query_one(PlanForm).choose_slots(slots)
        self.query_one("#library").focus()

    def _choose(self, scenario: str) -> None:
        library = self.query_one("#library", OptionList)
        if scenario in SCENARIOS:
            library.highlighted = library.get_option_index(scenario)

    @property
    def _view(self) -> str:
        return str(self.query_one(ContentSwitcher).current)

    def action_view(self, name: str) -> None:
        """Show the plan, or what runs."""
        self.query_one(ContentSwitcher).current = name
        if name == "plan":
            self.query_one("#library").focus()
        else:
            self.query_one(LivePane).focus_runs()
        self.refresh_bindings()

    def action_back(self) -> None:
        """From a field to the library, from what runs to the plan."""
        if self._view == "live":
            self.action_view("plan")
        elif self.focused is not self.query_one("#library"):
            self.query_one("#library").focus()
        else:
            super().action_back()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show the keys of the view that is shown."""
        if not self.is_mounted:
            return True
        if action in ("abort", "again", "trace", "answer"):
            return self._view == "live"
        return self._view == "plan" if action == "start" else True

    # --------------------------------------------------------------------------------------------------- the plan

    @on(OptionList.OptionHighlighted, "#library")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        name = event.option_id
        form = self.query_one(PlanForm)
        if name is None or name == form.name_shown:
            return
        if form.name_shown:
            self._plans[form.name_shown] = form.values()
        form.show(name, self._plans.get(name, {}))

    @on(OptionList.OptionSelected, "#library")
    def _selected(self) -> None:
        self.query_one(PlanForm).focus_first()

    @on(PlanForm.Start)
    def _start(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        """Start what is planned."""
        self.run_worker(work(self._begin), group="start", exclusive=True)

    async def _begin(self) -> None:
        request = self.query_one(PlanForm).request()
        if request is None:
            return
        if request.allow_destructive:
            slots = [slot for slot in self.bench.context.rack.slots if slot.name in request.slots and slot.protected]
            if slots and not await self.bench.ask(
                Confirm(
                    "Protected slots",
                    f"Profiles on {', '.join(slot.name for slot in slots)} may be deleted for good.",
                    word=slots[0].name,
                    yes="Start",
                )
            ):
                return
        self._run(request)

    def _run(self, request: RunRequest) -> None:
        self.bench.start_run(request)
        self.action_view("live")

    # --------------------------------------------------------------------------------------------------- what runs

    def action_abort(self) -> None:
        """Abort the chosen run."""
        run = self.query_one(LivePane).own
        if run is None or not run.running:
            self.notify("Only a run of this screen that goes on can be aborted.", severity="warning")
            return
        key, name = run.key, run.request.scenario

        async def abort() -> None:
            if await self.bench.ask(
                Confirm("Abort?", f"{name} ends now: ABORTED. The devices are left in their safe state.", yes="Abort")
            ):
                self.bench.job(self.bench.context.desk.abort_run(key), f"abort {name}")

        self.run_worker(work(abort), group="abort", exclusive=True)

    def action_again(self) -> None:
        """Run the chosen run's request again."""
        run = self.query_one(LivePane).own
        if run is None or not run.request.scenario:
            self.notify("Choose a run of this screen; F5 has the others.", severity="warning")
            return
        self._run(run.request)

    def action_trace(self) -> None:
        """Open the trace of the chosen slot."""
        slots = self.query_one(LivePane).slots
        if slots:
            self.bench.open_trace(slots)

    def action_answer(self) -> None:
        """Answer the chosen run's question."""
        self.query_one(LivePane).ask()

    def commands(self) -> Iterable[Command]:
        """Return the scenarios themselves."""
        for name, scenario in SCENARIOS.items():
            yield f"Plan {name}", scenario.summary, partial(self._plan, name)
        yield "Runs now", "what runs, live", lambda: self.action_view("live")

    def _plan(self, name: str) -> None:
        self.action_view("plan")
        self._choose(name)


def _library() -> list[Option]:
    options = [Option(Content.styled("With an LPA (SGP.22)", "$foreground-muted"), disabled=True)]
    rest = [Option(Content.styled("With an eIM (SGP.32)", "$foreground-muted"), disabled=True)]
    for name in SCENARIOS:
        (options if name in _LPA else rest).append(Option(f"  {name}", id=name))
    return [*options, *rest]
