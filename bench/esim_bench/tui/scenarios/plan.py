"""The form of a run: what the scenario does, its parameters, the slots, how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Static
from textual.widgets.selection_list import Selection

from esim_bench.desk.api import RunRequest
from esim_bench.errors import ConfigError
from esim_bench.scenario.registry import CONSUMER, SCENARIOS
from esim_bench.tui.trace.filterbar import Ticks
from esim_bench.tui.widgets.tick import Tick
from esim_bench.tui.work import work

if TYPE_CHECKING:
    from esim_bench.rack.model import SlotSpec
    from esim_bench.tui.app import BenchApp


class Field(Vertical):
    """One parameter: name, value, what it is for, what is wrong with it."""

    DEFAULT_CSS: ClassVar[str] = """
    Field { height: auto; }
    Field > Horizontal { height: 1; }
    Field .name { width: 20; text-style: bold; }
    Field Input { width: 1fr; height: 1; border: none; padding: 0 1; background: $panel; }
    Field Input:focus { border: none; background: $primary 30%; }
    Field .about { color: $foreground-muted; height: auto; padding-left: 20; }
    Field .wrong { color: $text-error; height: auto; padding-left: 20; display: none; }
    """

    def __init__(self, name: str, default: str, about: str, value: str) -> None:
        super().__init__()
        self.key, self._default, self._about, self._value = name, default, about, value

    def compose(self) -> ComposeResult:
        """Make the parts."""
        with Horizontal():
            yield Static(self.key, classes="name", markup=False)
            yield Input(self._value, placeholder=self._default or "none")
        yield Static(self._about, classes="about", markup=False)
        yield Static("", classes="wrong", markup=False)

    @property
    def value(self) -> str:
        """Return what was typed."""
        lines = self.query(Input)  # none until the field is made
        return (lines.first().value if lines else self._value).strip()

    def wrong(self, text: str) -> None:
        """Say what is wrong; "": nothing."""
        for line in self.query(".wrong").results(Static):
            line.update(f"✗ {text}")
            line.display = bool(text)


class PlanForm(VerticalScroll, can_focus=False):
    """What is to run."""

    DEFAULT_CSS: ClassVar[str] = """
    PlanForm { padding: 0 1; }
    PlanForm .about { height: auto; margin-bottom: 1; }
    PlanForm #none { color: $text-warning; height: auto; margin-bottom: 1; }
    PlanForm #wrong { color: $text-error; height: auto; }
    PlanForm .title { height: 1; color: $text-primary; text-style: bold; }
    PlanForm #fields { height: auto; }
    PlanForm Ticks { height: auto; max-height: 12; border: none; padding: 0; background: $background; }
    PlanForm Ticks:focus { border: none; background: $surface; }
    PlanForm #bottom { height: 3; margin-top: 1; }
    PlanForm Tick { height: 1; border: none; padding: 0 1 0 0; background: $background; margin-bottom: 1; }
    PlanForm Tick:focus { border: none; }
    """

    class Start(Message):
        """The button was pressed."""

    def __init__(self) -> None:
        super().__init__()
        self.name_shown = ""
        self._wanted: set[str] = set()
        """Slots that are ticked, also where the scenario shown cannot run on them."""

    @property
    def _bench(self) -> BenchApp:
        return cast("BenchApp", self.app)

    def compose(self) -> ComposeResult:
        """Make the parts that every scenario has."""
        yield Static("", id="about", classes="about", markup=False)
        yield Static("Slots (space ticks, Ctrl+A all)", classes="title")
        yield Ticks[str](id="slots")
        yield Static("", id="none", markup=False)
        yield Static("Parameters", classes="title", id="params")
        yield Vertical(id="fields")
        yield Static("Run", classes="title")
        yield Field("seed", "0", "Of simulated racks: the same seed, the same traces.", "")
        yield Field("repeat", "1", "How many times, each a whole run.", "")
        yield Tick("allow deleting profiles on protected slots", id="destructive")
        yield Static("", id="wrong", markup=False)
        with Horizontal(id="bottom"):
            yield Button("Start (s)", id="start", variant="primary")

    def show(self, scenario: str, values: dict[str, str]) -> None:
        """Show a scenario, with values of its parameters."""
        self.name_shown = scenario
        one = SCENARIOS[scenario]
        description = " ".join(one.description.split())
        self.query_one("#about", Static).update(
            Content.assemble((f"{one.name}  ", "bold"), one.summary, (f"\n{description}" if description else "", ""))
        )
        fields = self.query_one("#fields", Vertical)
        parameters = one.parameters()
        self.query_one("#params").display = bool(parameters)

        async def renew() -> None:
            async with fields.batch():
                await fields.remove_children()
                await fields.mount(
                    *(
                        Field(item["name"], item["default"], item["description"], values.get(item["name"], ""))
                        for item in parameters
                    )
                )

        self.run_worker(work(renew), group="fields", exclusive=True)
        self._say("")
        self.renew()

    def renew(self) -> None:
        """Offer the slots that can run it."""
        ticks = self.query_one(Ticks)
        slots = [slot for slot in self._bench.context.rack.slots if self._can(slot)]
        if not self._wanted & {slot.name for slot in slots} and len(slots) == 1:
            self._wanted.add(slots[0].name)
        with self.prevent(Ticks.SelectedChanged):
            ticks.clear_options()
            for slot in slots:
                more = "  ".join(filter(None, (slot.form_factor.value, slot.module or "", _state(slot))))
                text = Content.assemble((f"{slot.name:<8}", "bold"), (more, "$foreground-muted"))
                ticks.add_option(Selection(text, slot.name, slot.name in self._wanted))
        needed = "an LPA, and an eUICC that takes one (SGP.22)" if self._consumer else "an IPA (SGP.32)"
        none = self.query_one("#none", Static)
        none.update("" if slots else f"▲ No slot of this rack can run it: it needs a device with {needed}.")
        none.display = not slots

    @property
    def _consumer(self) -> bool:
        return any(self.name_shown == module.NAME for module in CONSUMER)

    def _can(self, slot: SlotSpec) -> bool:
        return _lpa(slot) if self._consumer else slot.iot

    def choose_slots(self, slots: Sequence[str]) -> None:
        """Tick slots, and no others."""
        self._wanted = set(slots)
        self.renew()

    @on(Ticks.SelectedChanged)
    def _ticked(self, event: Ticks.SelectedChanged[str]) -> None:
        offered = {slot.name for slot in self._bench.context.rack.slots if self._can(slot)}
        self._wanted = (self._wanted - offered) | set(event.selection_list.selected)

    @on(Button.Pressed, "#start")
    def _pressed(self) -> None:
        self.post_message(self.Start())

    def focus_first(self) -> None:
        """Go to the slots."""
        ticks = self.query_one(Ticks)
        ticks.focus()
        if ticks.highlighted is None and ticks.option_count:
            ticks.highlighted = 0

    def on_key(self, event: object) -> None:
        """Tick all slots by Ctrl+A."""
        if getattr(event, "key", "") == "ctrl+a" and self.query_one(Ticks).has_focus:
            self.query_one(Ticks).select_all()

    def values(self) -> dict[str, str]:
        """Return the parameters that were filled in."""
        return {field.key: field.value for field in self.query("#fields Field").results(Field) if field.value}

    def _say(self, text: str) -> None:
        line = self.query_one("#wrong", Static)
        line.update(f"✗ {text}" if text else "")
        if text:
            line.scroll_visible()

    def request(self) -> RunRequest | None:
        """Return the run that is planned; None where something is wrong, which is said beside it."""
        fields = [*self.query(Field)]
        for field in fields:
            field.wrong("")
        self._say("")
        offered = [slot.name for slot in self._bench.context.rack.slots if self._can(slot)]
        slots = [name for name in offered if name in self._wanted]
        good = True
        if not slots:
            self._say("No slot is ticked.")
            good = False
        numbers: dict[str, int] = {}
        for name, least, most, default in (("seed", 0, 2**63 - 1, 0), ("repeat", 1, 100_000, 1)):
            field = next(one for one in fields if one.key == name)
            try:
                numbers[name] = int(field.value or default)
            except ValueError:
                numbers[name] = least - 1
            if not least <= numbers[name] <= most:
                field.wrong(f"expected a number from {least} to {most}")
                good = False
        try:
            SCENARIOS[self.name_shown].parse(self.values())
        except ConfigError as exc:
            good = False
            named = [field for field in fields if field.key in self.values() and f"{field.key}:" in str(exc)]
            for field in named:
                field.wrong(str(exc).partition(f"{field.key}:")[2].partition(";")[0].strip())
            if not named:
                self._say(str(exc))
        if not good:
            return None
        return RunRequest(
            scenario=self.name_shown,
            slots=slots,
            params=self.values(),
            seed=numbers["seed"],
            repeat=numbers["repeat"],
            allow_destructive=self.query_one(Tick).value,
        )


def _lpa(slot: SlotSpec) -> bool:
    """Tell whether a slot's eUICC can be worked on by an LPA, as far as the rack file tells."""
    return slot.sim is None or "sgp22" in slot.sim.rsp


def _state(slot: SlotSpec) -> str:
    return "protected" if slot.protected else "simulated" if slot.simulated else ""
