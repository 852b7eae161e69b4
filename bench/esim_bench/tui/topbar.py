"""The bar above every screen: the rack, the four screens, what runs, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, cast

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Click
from textual.widgets import Static

from esim_bench.tui import signs

if TYPE_CHECKING:
    from esim_bench.tui.app import BenchApp

MODES: Final = (
    ("rack", "F2", "Rack"),
    ("trace", "F3", "Trace"),
    ("scenarios", "F4", "Scenarios"),
    ("runs", "F5", "Runs"),
)
"""Mode of the app, key, name."""


class ModeTab(Static):
    """The name of one screen; a click goes there."""

    def __init__(self, mode: str, key: str, label: str) -> None:
        self.mode = mode
        super().__init__(Content.assemble((f"{key} ", "$foreground-muted"), label), classes="mode", markup=False)

    def on_click(self, event: Click) -> None:
        """Go to the screen."""
        event.stop()
        cast("BenchApp", self.app).action_mode(self.mode)


class TopBar(Horizontal):
    """One line."""

    DEFAULT_CSS: ClassVar[str] = """
    TopBar { height: 1; background: $panel; color: $foreground; dock: top; }
    TopBar > #where { width: auto; max-width: 40%; padding: 0 1; text-style: bold; color: $text-primary; }
    TopBar > .mode { width: auto; padding: 0 1; }
    TopBar > .mode:hover { background: $surface; }
    TopBar > .mode.-active { background: $primary; color: $background; text-style: bold; }
    TopBar > #news { width: 1fr; padding: 0 1; content-align: right middle; text-align: right; }
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._told: Content | None = None
        self._where = ""

    def compose(self) -> ComposeResult:
        """Make the parts."""
        yield Static("", id="where", markup=False)
        for mode, key, label in MODES:
            yield ModeTab(mode, key, label)
        yield Static("", id="news", markup=False)

    def on_mount(self) -> None:
        """Begin to show what is."""
        self.refresh_news()
        self.set_interval(0.5, self.refresh_news)

    def refresh_news(self) -> None:
        """Show the rack's name, where we are, what runs and what is wrong."""
        app = cast("BenchApp", self.app)
        if not self.screen.is_current:
            return
        narrow = self.app.size.width < 100
        where = app.context.rack.name if not narrow else "esim"
        if where != self._where:
            self._where = where
            self.query_one("#where", Static).update(where)
        for tab in self.query(ModeTab):
            tab.set_class(tab.mode == app.current_mode, "-active")
        running, troubles = app.running_count, app.trouble_count
        parts: list[Content | str | tuple[str, str]] = []
        if running:
            parts += [(f"{signs.RUNNING.sign} {running} running", "$text-accent"), "  "]
        if troubles:
            parts += [(f"{signs.PROBLEM.sign} {troubles} problem{'s' * (troubles != 1)} (F6)", "$text-error"), "  "]
        parts.append(("F1 help", "$foreground-muted"))
        news = Content.assemble(*parts)
        if news != self._told:
            self._told = news
            self.query_one("#news", Static).update(news)
