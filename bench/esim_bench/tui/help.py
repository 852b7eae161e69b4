"""Help of the screen that is shown: what it is for, and its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Markdown, Static

EVERYWHERE: Final = (
    ("F1", "this help"),
    ("F2 F3 F4 F5", "rack, trace, scenarios, runs"),
    ("F6", "what went wrong so far, and what to do"),
    ("Ctrl+P", "all commands by name: themes are there, too"),
    ("Tab, Shift+Tab", "to the next part of the screen, and back"),
    ("Escape", "back"),
    ("Ctrl+Q", "quit: runs are aborted, devices left in their safe state"),
)
Keys = Sequence[tuple[str, str]]
"""Names of keys, what they do."""


class Help(ModalScreen[None]):
    """A page over the screen."""

    DEFAULT_CSS: ClassVar[str] = """
    Help { align: center middle; background: $background 60%; }
    Help > Vertical {
        width: 92; max-width: 96%; height: 90%; background: $surface; border: round $primary; padding: 0 1;
        border-title-color: $text-primary; border-title-style: bold;
    }
    Help Markdown { padding: 0 1; margin: 0; }
    Help VerticalScroll > .title { margin: 1 0 0 0; text-style: bold; color: $text-primary; }
    Help VerticalScroll > Static { padding: 0 1; height: auto; }
    Help #hint { color: $text-muted; height: 1; text-align: center; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "app.pop_screen", "Close")]

    def __init__(self, name: str, text: str, keys: Keys) -> None:
        super().__init__()
        self._name, self._text, self._keys = name, text.strip(), keys

    def compose(self) -> ComposeResult:
        """Make the page."""
        with Vertical() as box:
            box.border_title = f"Help: {self._name}"
            with VerticalScroll():
                if self._text:
                    yield Markdown(self._text)
                for title, keys in (("Keys here", self._keys), ("Keys everywhere", EVERYWHERE)):
                    if keys:
                        yield Static(title, classes="title")
                        yield Static(_listed(keys), markup=False)
            yield Static("Escape closes this page", id="hint")

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(VerticalScroll).focus()


def keys_of(screen: Screen[Any], app_keys: frozenset[str]) -> Keys:
    """Return the keys that are active on a screen, but for those of the app."""
    found: dict[str, list[str]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        action = binding.action.removeprefix("app.").removeprefix("screen.").partition("(")[0]
        if not binding.description or binding.system or action in app_keys:
            continue
        shown = screen.app.get_key_display(binding)
        meaning = f"{binding.description}: {active.tooltip}" if active.tooltip else binding.description
        keys = found.setdefault(meaning, [])
        if shown not in keys:
            keys.append(shown)
    return [(" ".join(keys), meaning) for meaning, keys in found.items()]


def _listed(keys: Keys) -> Content:
    width = min(24, max(len(key) for key, _ in keys))
    lines = [Content.assemble((f"{key:<{width + 2}}", "$text-accent bold"), meaning) for key, meaning in keys]
    return Content("\n").join(lines)
