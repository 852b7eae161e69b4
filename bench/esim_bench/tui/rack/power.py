"""The menu of the power."""

from __future__ import annotations

from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

CHOICES: Final = (
    ("cycle", "Cycle: off, wait, on (c)"),
    ("off", "Off, cold, at once (o)"),
    ("on", "On, and start the card (n)"),
)


class PowerMenu(ModalScreen[str | None]):
    """Asks what is to be done to the power: "cycle", "off", "on"; None for nothing."""

    DEFAULT_CSS: ClassVar[str] = """
    PowerMenu { align: center middle; background: $background 60%; }
    PowerMenu > Vertical {
        width: 50; max-width: 96%; height: auto; padding: 1 2; background: $surface;
        border: round $primary; border-title-color: $text-primary; border-title-style: bold;
    }
    PowerMenu OptionList, PowerMenu OptionList:focus { height: auto; border: none; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "choose('')", "Cancel"),
        Binding("c", "choose('cycle')", "Cycle", show=False),
        Binding("o", "choose('off')", "Off", show=False),
        Binding("n", "choose('on')", "On", show=False),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        """Make the menu."""
        with Vertical() as box:
            box.border_title = self._title
            yield OptionList(*(Option(text, id=choice) for choice, text in CHOICES))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    def action_choose(self, choice: str) -> None:
        """Take a choice, "" for none."""
        self.dismiss(choice or None)
