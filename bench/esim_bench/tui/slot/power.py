"""The power of a slot: on, off, and off for a time."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from esim_bench.tui.slot.about import About
from esim_bench.tui.slot.header import power_parts

DEFAULT_SECONDS: Final = 5.0
MOST_SECONDS: Final = 3600.0


class PowerWish(NamedTuple):
    """What is wanted of the power."""

    what: Literal["on", "off", "cycle"]
    seconds: float = 0.0


class PowerMenu(ModalScreen[PowerWish | None]):
    """Asks what is to be done with the power."""

    DEFAULT_CSS: ClassVar[str] = """
    PowerMenu { align: center middle; background: $background 60%; }
    PowerMenu > Vertical {
        width: 66; max-width: 96%; height: auto; max-height: 96%; padding: 0 2; background: $surface;
        border: round $primary; border-title-color: $text-primary; border-title-style: bold;
    }
    PowerMenu #state { width: 100%; height: auto; margin-bottom: 1; }
    PowerMenu .line { height: 3; }
    PowerMenu .line Label { padding: 1 1; }
    PowerMenu .line Button { width: 14; margin-right: 1; }
    PowerMenu #seconds { width: 14; }
    PowerMenu #wrong { color: $text-error; height: 1; width: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
        Binding("n", "want('on')", "On"),
        Binding("f", "want('off')", "Off"),
        Binding("c", "want('cycle')", "Cycle"),
    ]

    def __init__(self, about: About, seconds: float) -> None:
        super().__init__()
        self._about = about
        self._seconds = max(seconds, about.power.minimum_off_s)

    def compose(self) -> ComposeResult:
        """Make the menu."""
        with Vertical() as box:
            box.border_title = f"Power of {self._about.name}"
            yield Static(self._state(), id="state", markup=False)
            with Horizontal(classes="line"):
                yield Button("n  On", id="on", variant="success")
                yield Label("gives it back, starts the card")
            with Horizontal(classes="line"):
                yield Button("f  Off", id="off", variant="error")
                yield Label("cold, at once: also under what goes on")
            with Horizontal(classes="line"):
                yield Button("c  Cycle", id="cycle", variant="primary")
                yield Label("off for")
                yield Input(f"{self._seconds:g}", id="seconds", max_length=7)
                yield Label("seconds")
            yield Static("", id="wrong", markup=False)

    def _state(self) -> Content:
        about = self._about
        parts: list[str | tuple[str, str]] = [*power_parts(about.power)]
        if about.power.how:
            parts.append(f"\nSwitch: {about.power.how}")
        if about.power.minimum_off_s:
            parts.append(f", at least {about.power.minimum_off_s:g} s off")
        if about.view.activity != "idle":
            what = about.view.doing or about.view.scenario
            parts += ["\n", (f"Goes on: {what}. A cut breaks in.", "$text-warning")]
        return Content.assemble(*parts)

    def on_mount(self) -> None:
        """Begin where the letters are keys."""
        self.query_one("#off" if self._about.power.state != "off" else "#on").focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.action_want(event.button.id or "")

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.action_want("cycle")

    def action_want(self, what: str) -> None:
        """Answer."""
        if what == "on":
            self.dismiss(PowerWish("on"))
        elif what == "off":
            self.dismiss(PowerWish("off"))
        else:
            try:
                seconds = float(self.query_one("#seconds", Input).value.replace(",", "."))
            except ValueError:
                seconds = -1.0
            if 0.0 <= seconds <= MOST_SECONDS:
                self.dismiss(PowerWish("cycle", seconds))
            else:
                self.query_one("#wrong", Static).update(f"Seconds from 0 to {MOST_SECONDS:g} are expected.")
                self.query_one("#seconds").focus()

    def action_cancel(self) -> None:
        """Leave the power as it is."""
        self.dismiss(None)
