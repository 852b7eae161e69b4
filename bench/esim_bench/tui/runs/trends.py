"""How things change over the runs: pass rate, download and recovery time, per module and firmware."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from esim_bench.desk import history
from esim_bench.desk.api import Trouble
from esim_bench.errors import BenchError
from esim_bench.tui.screen import BenchScreen
from esim_bench.tui.widgets.plot import Plot
from esim_bench.tui.work import work


class TrendsScreen(BenchScreen):
    """Three plots."""

    NAME = "Trends"
    HELP = """\
Each sign is one run of a device of that kind; the newest is at the right. A pass rate is over the last ten runs, a
download time that of a whole download, a recovery time from the power cut to the device as it must be.

**s** goes through the scenarios: all of them, then each one.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "scenario", "Scenario"),
        Binding("r", "read", "Read again"),
        Binding("escape", "back", "Back", show=True),
    ]
    DEFAULT_CSS = """
    TrendsScreen #of { height: 1; padding: 0 1; background: $surface; }
    TrendsScreen #plots { height: 1fr; }
    TrendsScreen Plot { margin: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._scenarios = [""]
        self._place = 0

    def body(self) -> ComposeResult:
        """Make the places of the plots."""
        yield Static("reading …", id="of", markup=False)
        yield Vertical(id="plots")

    def on_mount(self) -> None:
        """Read."""
        self.action_read()

    def action_scenario(self) -> None:
        """Show another scenario's runs."""
        self._place = (self._place + 1) % len(self._scenarios)
        self.action_read()

    def action_read(self) -> None:
        """Read the history again."""
        self.run_worker(work(self._read), group="read", exclusive=True)

    async def _read(self) -> None:
        read = self.bench.context.watch.read
        scenario = self._scenarios[self._place]
        try:
            found = await read(history.trends, scenario)
            runs = await read(history.summaries, "", history.TREND_RUNS)
        except (BenchError, OSError) as exc:
            self.bench.problem(Trouble.of(exc))
            return
        self._scenarios = ["", *sorted({one.scenario for one in runs})]
        self._place = self._scenarios.index(scenario) if scenario in self._scenarios else 0
        self.query_one("#of", Static).update(f"Runs of {scenario or 'all scenarios'}; s changes that")
        plots = self.query_one("#plots", Vertical)
        await plots.remove_children()
        # Where there is room for one only, that one which has something to show.
        most = max(1, self.size.height // 12)
        shown = sorted(found, key=lambda trend: not trend.series)[:most]
        await plots.mount(*(Plot(trend.title, trend.unit, trend.series) for trend in found if trend in shown))
