"""Small questions over a screen: yes or no, yes by typing a word, a line of text."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

_CSS = """
{name} {{ align: center middle; background: $background 60%; }}
{name} > Vertical {{
    width: 64; max-width: 96%; height: auto; max-height: 90%; padding: 1 2; background: $surface;
    border: round $primary; border-title-color: $text-primary; border-title-style: bold;
}}
{name} Static, {name} Label {{ width: 100%; height: auto; }}
{name} Input {{ margin-top: 1; }}
{name} Horizontal {{ height: auto; margin-top: 1; align-horizontal: right; }}
{name} Button {{ margin-left: 2; }}
"""


class Confirm(ModalScreen[bool]):
    """A question that is answered by yes or no. ``word``: yes is to type it."""

    DEFAULT_CSS: ClassVar[str] = _CSS.format(name="Confirm")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "no", "No"),
        Binding("y", "yes", "Yes", show=False),
        Binding("n", "no", "No", show=False),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, text: str, word: str | None = None, yes: str = "Yes") -> None:
        super().__init__()
        self._title, self._text, self._word, self._yes = title, text, word, yes

    def compose(self) -> ComposeResult:
        """Make the dialog."""
        with Vertical() as box:
            box.border_title = self._title
            yield Static(self._text, markup=False)
            if self._word is not None:
                yield Label(f"Type {self._word} to go on:", markup=False)
                yield Input(id="word")
            with Horizontal():
                yield Button(
                    self._yes, id="yes", variant="error" if self._word else "primary", disabled=bool(self._word)
                )
                yield Button("No", id="no")

    def on_mount(self) -> None:
        """Begin at the harmless end, or where something is to be typed."""
        self.query_one("#word" if self._word is not None else "#no").focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value.strip() != self._word

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._word:
            self.dismiss(True)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_yes(self) -> None:
        """Say yes, where no word is asked for."""
        if self._word is None:
            self.dismiss(True)

    def action_no(self) -> None:
        """Say no."""
        self.dismiss(False)


class Prompt(ModalScreen[str | None]):
    """Asks for a line of text; None when nothing is wanted."""

    DEFAULT_CSS: ClassVar[str] = _CSS.format(name="Prompt")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, title: str, label: str, value: str = "", placeholder: str = "") -> None:
        super().__init__()
        self._title, self._label, self._value, self._placeholder = title, label, value, placeholder

    def compose(self) -> ComposeResult:
        """Make the dialog."""
        with Vertical() as box:
            box.border_title = self._title
            yield Static(self._label, markup=False)
            yield Input(self._value, placeholder=self._placeholder, id="text")
            with Horizontal():
                yield Button("OK", id="ok", variant="primary")
                yield Button("Cancel", id="cancel")

    def on_mount(self) -> None:
        """Begin in the line."""
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(self.query_one(Input).value if event.button.id == "ok" else None)

    def action_cancel(self) -> None:
        """Want nothing."""
        self.dismiss(None)
