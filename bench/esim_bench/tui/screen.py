"""What all screens of the bench have in common: a bar above, the keys below, help, and news of the bench between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen
from textual.widgets import Footer

from esim_bench.tui.topbar import MODES, TopBar
from esim_bench.tui.work import stands

if TYPE_CHECKING:
    from esim_bench.tui.app import BenchApp

Command = tuple[str, str, Callable[[], Any]]
"""An entry of the command palette: what it does, more of it, and what is called."""


class BenchScreen(Screen[None]):
    """A screen of the bench. ``body`` makes what stands between the bar and the keys."""

    NAME: ClassVar[str] = ""
    """As it is called in the bar and in the help."""
    HELP: ClassVar[str] = ""
    """Markdown, shown by F1 above the list of keys."""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back", show=False)]
    DEFAULT_CSS = """
    BenchScreen > #body { height: 1fr; }
    """

    def compose(self) -> ComposeResult:
        """Put the bar above the body and the keys below."""
        yield TopBar(self.NAME)
        with Container(id="body"):
            yield from self.body()
        yield Footer(show_command_palette=False)

    def body(self) -> ComposeResult:
        """Make the widgets of this screen."""
        yield from ()

    @property
    def bench(self) -> BenchApp:
        """Return the app, with its type."""
        return cast("BenchApp", self.app)

    @property
    def is_ready(self) -> bool:
        """Tell whether its widgets are there: they are not before it is mounted, nor while it is taken down."""
        return self.is_mounted and stands(self)

    def take_news(self, what: frozenset[str]) -> None:
        """Take news in, if there is anything to show them with."""
        if self.is_ready:
            self.on_bench(what)

    def on_bench(self, what: frozenset[str]) -> None:
        """Take news in: names of slots whose view changed, "runs", "notices", "rack".

        Called at most ten times a second while the screen is shown, and with everything when it is shown again.
        """

    def on_mount(self) -> None:
        """Take in what was remembered of the last time."""
        mode = next((mode for mode, _, name in MODES if name == self.NAME), None)
        if mode is not None:
            self.restore(self.bench.context.state.get(f"screen.{mode}", {}))

    def on_screen_resume(self) -> None:
        """Catch up with what happened while another screen was shown."""
        self.bench.catch_up(self)

    def action_back(self) -> None:
        """Leave this screen, if it lies on another one."""
        self.bench.back()

    def commands(self) -> Iterable[Command]:
        """Return what this screen adds to the command palette."""
        return ()

    def saved(self) -> dict[str, Any]:
        """Return what is to be remembered to the next start, as JSON values."""
        return {}

    def restore(self, values: dict[str, Any]) -> None:
        """Take in what was remembered; called once, when the screen is mounted."""
