"""What runs: each run with its steps, slot by slot, as they begin and end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from esim_bench.desk.api import RunQuestion
from esim_bench.tui import signs
from esim_bench.tui.live import LiveRun
from esim_bench.tui.work import work

if TYPE_CHECKING:
    from esim_bench.tui.app import BenchApp

Answer = Literal["done", "skip", "abort"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the list: one of this screen, or one of another process."""

    key: str
    own: LiveRun | None
    scenario: str
    slots: tuple[str, ...]
    run: str


class QuestionDialog(ModalScreen[Answer | None]):
    """What an operator is to do at a slot."""

    DEFAULT_CSS: ClassVar[str] = """
    QuestionDialog { align: center middle; background: $background 60%; }
    QuestionDialog > Vertical {
        width: 70; max-width: 96%; height: auto; padding: 1 2; background: $surface; border: round $accent;
        border-title-color: $text-accent; border-title-style: bold;
    }
    QuestionDialog Static { height: auto; }
    QuestionDialog Horizontal { height: auto; margin-top: 1; align-horizontal: right; }
    QuestionDialog Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "say('done')", "Done"),
        Binding("s", "say('skip')", "Skip"),
        Binding("a", "say('abort')", "Abort"),
        Binding("escape", "later", "Later"),
    ]

    def __init__(self, run: LiveRun, question: RunQuestion) -> None:
        super().__init__()
        self._run, self._question = run, question

    def compose(self) -> ComposeResult:
        """Make the dialog."""
        with Vertical() as box:
            box.border_title = f"Slot {self._question.slot}: {self._run.request.scenario}"
            yield Static(self._question.text or "", markup=False)
            with Horizontal():
                yield Button("Done (d)", id="done", variant="primary")
                yield Button("Skip (s)", id="skip")
                yield Button("Abort (a)", id="abort", variant="error")

    def on_mount(self) -> None:
        """Go away when no answer is needed any more."""
        self.set_interval(0.2, self._look)

    def _look(self) -> None:
        if self._run.questions.get(self._question.slot) != self._question and self.is_current:
            self.dismiss(None)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(cast("Answer", event.button.id))

    def action_say(self, answer: Answer) -> None:
        """Answer."""
        self.dismiss(answer)

    def action_later(self) -> None:
        """Leave the question open."""
        self.dismiss(None)


class LivePane(Horizontal):
    """The list of runs beside the steps of the chosen one."""

    DEFAULT_CSS: ClassVar[str] = """
    LivePane { height: 1fr; }
    LivePane #runs { width: 34; height: 1fr; border: none; padding: 0; background: $background; }
    LivePane OptionList:focus { border: none; }
    LivePane > Vertical { width: 1fr; border-left: solid $panel; }
    LivePane #head { height: auto; padding: 0 1; background: $surface; }
    LivePane #steps { height: 1fr; border: none; padding: 0; background: $background; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._entries: list[Entry] = []
        self._drawn: list[str] = []
        self._asked: set[tuple[str, str]] = set()
        self._lines: list[str] = []
        """Of each line of the steps: its slot."""

    @property
    def _bench(self) -> BenchApp:
        return cast("BenchApp", self.app)

    def compose(self) -> ComposeResult:
        """Make the parts."""
        yield OptionList(id="runs")
        with Vertical():
            yield Static("", id="head", markup=False)
            yield OptionList(id="steps")

    def on_mount(self) -> None:
        """Let times go on."""
        self.set_interval(0.5, self._tick)

    def focus_runs(self) -> None:
        """Go to the list."""
        self.query_one("#runs").focus()
        self.refresh_runs()

    def _tick(self) -> None:
        if self.display and any(entry.own is None or entry.own.running for entry in self._entries):
            self._show()

    # ----------------------------------------------------------------------------------------------- the list

    def refresh_runs(self) -> None:
        """Look what there is, ask what is to be asked."""
        entries = self._found()
        texts = [self._line(entry).markup for entry in entries]
        runs = self.query_one("#runs", OptionList)
        if texts != self._drawn:
            chosen = self.chosen.key if self.chosen is not None else None
            newest = bool(entries) and (not self._entries or entries[0].key not in {one.key for one in self._entries})
            self._entries, self._drawn = entries, texts
            with self.prevent(OptionList.OptionHighlighted):
                runs.clear_options()
                runs.add_options([Option(self._line(entry)) for entry in entries])
                place = next((place for place, one in enumerate(entries) if one.key == chosen), 0)
                if entries:
                    runs.highlighted = 0 if newest else place
        else:
            self._entries = entries
        self._show()
        self._ask_new()

    def _found(self) -> list[Entry]:
        found = [
            Entry(run.key, run, run.request.scenario, tuple(run.request.slots), run.run or "")
            for run in self._bench.live_runs
        ][::-1]
        own = {entry.run for entry in found}
        foreign: dict[str, list[str]] = {}
        names: dict[str, str] = {}
        for view in self._bench.context.watch.board.slots():
            if view.activity == "run" and view.run and view.run not in own:
                foreign.setdefault(view.run, []).append(view.name)
                names[view.run] = view.scenario
        return [*(Entry(run, None, names[run], tuple(slots), run) for run, slots in foreign.items()), *found]

    def _line(self, entry: Entry) -> Content:
        run = entry.own
        outcome = None if run is None or run.end is None else run.end.outcome or "ERROR"
        sign = signs.outcome(outcome)
        asks = run is not None and bool(run.questions)
        slots = f"{len(entry.slots)} slots" if len(entry.slots) > 3 else " ".join(entry.slots)
        parts: list[str | tuple[str, str]] = [
            (f" {sign.sign} ", f"${sign.colour}"),
            entry.scenario,
            (f"  {slots}", "$foreground-muted"),
        ]
        if run is None:
            parts.append(("  elsewhere", "$foreground-muted"))
        if asks:
            parts.append(("  ? asks (o)", "$text-accent bold"))
        return Content.assemble(*parts)

    @property
    def chosen(self) -> Entry | None:
        """Return the chosen run."""
        place = self.query_one("#runs", OptionList).highlighted
        return self._entries[place] if place is not None and place < len(self._entries) else None

    @property
    def own(self) -> LiveRun | None:
        """Return the chosen run, where it is one of this screen."""
        return self.chosen.own if self.chosen is not None else None

    @property
    def slots(self) -> list[str]:
        """Return the slot of the chosen step, or those of the chosen run."""
        steps = self.query_one("#steps", OptionList)
        if steps.has_focus and steps.highlighted is not None and steps.highlighted < len(self._lines):
            return [self._lines[steps.highlighted]]
        return list(self.chosen.slots) if self.chosen is not None else []

    @on(OptionList.OptionHighlighted, "#runs")
    def _highlighted(self) -> None:
        self._show()

    @on(OptionList.OptionSelected, "#runs")
    def _selected(self) -> None:
        self.query_one("#steps").focus()

    @on(OptionList.OptionSelected, "#steps")
    def _step(self) -> None:
        self._bench.open_trace(self.slots)

    # ----------------------------------------------------------------------------------------------- the steps

    def _show(self) -> None:
        head, steps = self.query_one("#head", Static), self.query_one("#steps", OptionList)
        entry = self.chosen
        if entry is None:
            head.update("Nothing runs, and nothing was started from this screen. 1 plans a run, F5 shows what was.")
            steps.clear_options()
            self._lines = []
            return
        head.update(self._head(entry))
        lines = self._foreign_lines(entry) if entry.own is None else self._own_lines(entry.own)
        place, follow = steps.highlighted, not steps.has_focus
        with self.prevent(OptionList.OptionHighlighted):
            if len(lines) == steps.option_count:
                for number, (_, line) in enumerate(lines):
                    if steps.get_option_at_index(number).prompt != line:
                        steps.replace_option_prompt_at_index(number, line)
            else:
                steps.clear_options()
                steps.add_options([Option(line) for _, line in lines])
                if lines:
                    steps.highlighted = len(lines) - 1 if follow or place is None else min(place, len(lines) - 1)
        self._lines = [slot for slot, _ in lines]

    def _head(self, entry: Entry) -> Content:
        run = entry.own
        if run is None:
            text = f"{entry.scenario} runs in another process: it can be watched, not steered."
            return Content.assemble((f"{signs.RUNNING.sign} ", f"${signs.RUNNING.colour}"), text)
        seconds = (run.ended or time.time()) - run.began
        outcome = None if run.end is None else run.end.outcome or "ERROR"
        sign = signs.outcome(outcome)
        parts: list[str | tuple[str, str]] = [
            (f"{sign.sign} {outcome or 'running'}", f"${sign.colour} bold"),
            f"  {entry.scenario}  {seconds:.0f} s",
            (f"  {run.run or ''}", "$foreground-muted"),
        ]
        if run.end is not None and run.end.trouble is not None:
            parts.append((f"\n{signs.PROBLEM.sign} {run.end.trouble.sentence}", "$text-error"))
            if run.end.trouble.hint:
                parts.append(f"\n→ {run.end.trouble.hint}")
        for question in run.questions.values():
            parts.append((f"\n? {question.slot}: {question.text}  (o answers)", "$text-accent bold"))
        return Content.assemble(*parts)

    def _own_lines(self, run: LiveRun) -> list[tuple[str, Content]]:
        """Return the steps, those of each slot together."""
        lines: list[tuple[str, Content]] = []
        slots = list(dict.fromkeys([*run.request.slots, *(step.slot for step in run.steps)]))
        now = time.time()
        for slot in slots:
            steps = [step for step in run.steps if step.slot == slot]
            last = steps[-1] if steps else None
            doing = "waits" if last is None else last.step if last.outcome is None else f"{len(steps)} steps"
            lines.append((slot, Content.assemble((f" {slot}", "bold"), (f"  {doing}", "$foreground-muted"))))
            for step in steps:
                sign = signs.outcome(step.outcome)
                seconds = (step.ended or (run.ended or now)) - step.began
                lines.append(
                    (
                        slot,
                        Content.assemble(
                            (f"   {sign.sign} ", f"${sign.colour}"),
                            f"{step.step}  ",
                            (f"{seconds:.1f} s", "$foreground-muted"),
                        ),
                    )
                )
        return lines

    def _foreign_lines(self, entry: Entry) -> list[tuple[str, Content]]:
        lines: list[tuple[str, Content]] = []
        for name in entry.slots:
            view = self._bench.context.watch.board.slot(name)
            text = Content.assemble(
                (f" {name}", "bold"),
                f"  {view.doing or view.outcome}",
                (f"  step {view.steps_done + 1}", "$foreground-muted"),
            )
            lines.append((name, text))
        return lines

    # ----------------------------------------------------------------------------------------------- questions

    def _ask_new(self) -> None:
        """Ask at once what nobody was asked yet, while this screen is shown."""
        if not self.screen.is_current:
            return
        for entry in self._entries:
            if entry.own is None:
                continue
            for slot, question in entry.own.questions.items():
                if (entry.key, f"{slot} {question.text}") not in self._asked:
                    self._asked.add((entry.key, f"{slot} {question.text}"))
                    self._ask(entry.own, question)
                    return

    def ask(self) -> None:
        """Ask the chosen run's first question again."""
        run = self.own or next((one.own for one in self._entries if one.own is not None and one.own.questions), None)
        if run is None or not run.questions:
            self.notify("No run asks anything.", severity="information")
            return
        self._ask(run, next(iter(run.questions.values())))

    def _ask(self, run: LiveRun, question: RunQuestion) -> None:
        async def ask() -> None:
            answer = await self._bench.ask(QuestionDialog(run, question))
            if answer is not None and run.questions.get(question.slot) == question:
                self._bench.job(
                    self._bench.context.desk.answer(run.key, question.slot, answer), "answer", slot=question.slot
                )

        self.run_worker(work(ask), group="ask", exclusive=True)
