"""Asks for one of a few things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static


class Choose(ModalScreen[int | None]):
    """Gives the number of what was chosen, from 0; None: nothing is wanted."""

    DEFAULT_CSS: ClassVar[str] = """
    Choose { align: center middle; background: $background 60%; }
    Choose > Vertical {
        width: 64; max-width: 96%; height: auto; max-height: 90%; padding: 1 2; background: $surface;
        border: round $primary; border-title-color: $text-primary; border-title-style: bold;
    }
    Choose Static { width: 100%; height: auto; margin-bottom: 1; }
    Choose OptionList:focus { border: none; }
    Choose OptionList { height: auto; max-height: 12; border: none; padding: 0; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, title: str, text: str, options: Sequence[str]) -> None:
        super().__init__()
        self._title, self._text, self._options = title, text, options

    def compose(self) -> ComposeResult:
        """Make the dialog."""
        with Vertical() as box:
            box.border_title = self._title
            yield Static(self._text, markup=False)
            yield OptionList(*self._options, markup=False)

    def on_mount(self) -> None:
        """Begin in the list."""
        self.query_one(OptionList).focus()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index)

    def action_cancel(self) -> None:
        """Want nothing."""
        self.dismiss(None)
