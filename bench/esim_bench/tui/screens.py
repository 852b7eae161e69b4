"""Where the screens live: loaded once the rack is shown, in a thread, so that it is there at once and no key waits."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from textual.screen import Screen

    from esim_bench.tui.runs.screen import RunsScreen
    from esim_bench.tui.scenarios.screen import ScenariosScreen
    from esim_bench.tui.screen import BenchScreen
    from esim_bench.tui.trace.screen import TraceScreen


_PLACES: Final = ("rack", "slot", "trace", "scenarios", "runs", "widgets")
_LATE: Final = ("rich._emoji_codes", "textual.command", "textual.scrollbar", "esim_bench.store")
"""What their libraries load when it is first needed."""


def load_all() -> None:
    """Load all screens and their tools: from files, so not on the screen's loop."""
    for place in _PLACES:
        package = importlib.import_module(f"esim_bench.tui.{place}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    for name in _LATE:
        importlib.import_module(name)


def _rack() -> BenchScreen:
    from esim_bench.tui.rack.screen import RackScreen

    return RackScreen()


def _trace() -> BenchScreen:
    from esim_bench.tui.trace.screen import TraceScreen

    return TraceScreen()


def _scenarios() -> BenchScreen:
    from esim_bench.tui.scenarios.screen import ScenariosScreen

    return ScenariosScreen()


def _runs() -> BenchScreen:
    from esim_bench.tui.runs.screen import RunsScreen

    return RunsScreen()


MODE_SCREENS: Final[dict[str, Any]] = {"rack": _rack, "trace": _trace, "scenarios": _scenarios, "runs": _runs}
"""What makes the screen of each mode."""


def slot_screen(name: str) -> BenchScreen:
    """Make the screen of a slot."""
    from esim_bench.tui.slot.screen import SlotScreen

    return SlotScreen(name)


def trace_screen(screen: Screen[Any]) -> TraceScreen:
    """Return a screen with its type."""
    return cast("TraceScreen", screen)


def runs_screen(screen: Screen[Any]) -> RunsScreen:
    """Return a screen with its type."""
    return cast("RunsScreen", screen)


def scenarios_screen(screen: Screen[Any]) -> ScenariosScreen:
    """Return a screen with its type."""
    return cast("ScenariosScreen", screen)
