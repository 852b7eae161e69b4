"""The app: its screens, what they share, and what happens when something ends or goes wrong."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import ModalScreen

from esim_bench.desk.api import DeskError, DeskLost, RunEnded, RunRequest, SlotTrouble, Trouble
from esim_bench.tui import signs, themes
from esim_bench.tui.context import Context
from esim_bench.tui.crash import write_crash
from esim_bench.tui.demo import Demo
from esim_bench.tui.dialogs import Confirm
from esim_bench.tui.help import Help, keys_of
from esim_bench.tui.live import LiveRun, LiveRuns
from esim_bench.tui.palette import BenchCommands
from esim_bench.tui.problems import ProblemList, Problems
from esim_bench.tui.rackfile import RackFileWatch
from esim_bench.tui.screen import BenchScreen, Command
from esim_bench.tui.screens import MODE_SCREENS, load_all, runs_screen, scenarios_screen, slot_screen, trace_screen
from esim_bench.tui.terminal import TerminalDriver
from esim_bench.tui.work import work

T = TypeVar("T")
NEWS_SECONDS: Final = 0.1
"""Screens hear of news this often at most."""
SAVE_SECONDS: Final = 5.0
RACK_SECONDS: Final = 1.0
_HELPLESS: Final = frozenset(
    (
        "help",
        "mode",
        "problems",
        "command_palette",
        "leave",
        "back",
        "focus_next",
        "focus_previous",
        "copy_text",
        "help_quit",
    )
)


class BenchApp(App[None]):
    """The bench's screen."""

    TITLE = "esim-bench"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[Any]] = {BenchCommands}
    MODES: ClassVar[dict[str, Any]] = MODE_SCREENS
    DEFAULT_MODE = "rack"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", show=False, priority=True),
        Binding("f2", "mode('rack')", "Rack", show=False, priority=True),
        Binding("f3", "mode('trace')", "Trace", show=False, priority=True),
        Binding("f4", "mode('scenarios')", "Scenarios", show=False, priority=True),
        Binding("f5", "mode('runs')", "Runs", show=False, priority=True),
        Binding("f6", "problems", "Problems", show=False, priority=True),
        Binding("ctrl+q", "leave", "Quit", show=False, priority=True),
    ]
    CSS = """
    Toast { max-width: 90; }
    """

    def __init__(self, context: Context, life: Demo | None = None) -> None:
        super().__init__()
        self.context = context
        self._life = life
        self.problems = Problems()
        self.live_runs = LiveRuns()
        self._news: set[str] = set()
        self._foreign: dict[str, str] = {}
        self._loaded = asyncio.Event()
        self._came_from: dict[str, str] = {}
        """For a mode that another one led to: that one."""
        """Runs of other processes that go on: id to scenario."""
        self._slot_troubles: dict[str, Trouble] = {}
        self._ears: list[Callable[[], None]] = []
        self._leaving = False
        self._rack_file = RackFileWatch(context.rack)
        self.trap = True
        """Errors that nobody foresaw end the app with a sentence; tests see them as they are."""

    # ------------------------------------------------------------------------------------------------ life

    def on_mount(self) -> None:
        """Show the rack at once; what happens on it arrives later."""
        for theme in themes.THEMES:
            self.register_theme(theme)
        wanted = self.context.state.get("theme", themes.DARK.name)
        self.theme = wanted if wanted in self.available_themes else themes.DARK.name
        self.theme_changed_signal.subscribe(self, lambda theme: self.context.state.set("theme", theme.name))
        self._listen()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            with suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self.action_leave, False)
        if isinstance(self._driver, TerminalDriver):
            self.set_interval(NEWS_SECONDS, self._driver.look)
        self.call_after_refresh(lambda: self.run_worker(work(self._load), group="load"))
        if self._life is not None:
            self.run_worker(self._life.live(self), group="demo")
        self.set_interval(NEWS_SECONDS, self._tell_news)
        self.set_interval(SAVE_SECONDS, self._save)
        self.set_interval(RACK_SECONDS, lambda: self.run_worker(work(self._look_at_rack), group="rack", exclusive=True))

    async def _load(self) -> None:
        await asyncio.to_thread(load_all)
        self._loaded.set()

    def _once_loaded(self, then: Callable[[], object]) -> None:
        """Show a screen as soon as all are loaded; that is nearly always now."""

        async def wait() -> None:
            await self._loaded.wait()
            then()

        if self._loaded.is_set():
            then()
        else:
            self.run_worker(work(wait), group="way", exclusive=True)

    def get_driver_class(self) -> type[Driver]:
        """Return what talks to the terminal, or to the browser."""
        found = super().get_driver_class()
        return TerminalDriver if found is LinuxDriver else found

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()

        def changed(what: frozenset[str]) -> None:
            # In the watcher's thread; the loop may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._news.update, what)

        self._ears.append(self.context.desk.listen(self._notice))
        self.context.watch.start(changed)
        self._news |= {slot.name for slot in self.context.rack.slots} | {"runs"}

    async def _look_at_rack(self) -> None:
        """Read the rack file again when it was changed; a broken one is said, and the rack stays as it was."""
        found = await self.context.watch.read(self._rack_file.look)
        if isinstance(found, Trouble):
            self.problem(found)
        elif found is not None:
            if self.live_runs.running:
                self._rack_file.later()
                return
            old_desk, old_watch = self.context.desk, self.context.watch
            for end in self._ears:
                end()
            self._ears.clear()
            self.context.renew(found)
            self._listen()
            # At once: nobody may ask the new board for a slot of the old rack.
            self._tell_rack()
            self.notify(f"The rack file was changed: {len(found.slots)} slots.", title="Rack", markup=False)
            await asyncio.gather(old_desk.close(), asyncio.to_thread(old_watch.close))

    def _tell_rack(self) -> None:
        """Tell all screens, shown or not, of another rack; those of slots that are gone end."""
        for stack in self._screen_stacks.values():
            for screen in stack:
                if isinstance(screen, BenchScreen) and screen.is_attached and not self._is_gone(screen):
                    screen.take_news(frozenset(("rack",)))
        if self._is_gone(self.screen):
            self.back()

    def _is_gone(self, screen: object) -> bool:
        """Tell whether a screen is of a slot that the rack has no more."""
        name = getattr(screen, "slot", None)
        return isinstance(name, str) and all(slot.name != name for slot in self.context.rack.slots)

    def action_leave(self, ask: bool = True) -> None:
        """Quit; ask first while runs go on."""
        if not self._leaving:
            self.run_worker(work(self._leave, ask), group="leave", exclusive=True)

    async def _leave(self, ask: bool) -> None:
        running = self.live_runs.running
        if (
            ask
            and running
            and not self.context.demo
            and not await self.ask(
                Confirm(
                    "Quit?",
                    f"{len(running)} run{'s go' if len(running) > 1 else ' goes'} on. They will be aborted, "
                    "and the devices left in their safe state.",
                )
            )
        ):
            return
        self._leaving = True
        self.notify("Leaving the devices in their safe state …", title="Quit", markup=False)
        await self.shut_down()
        self.exit()

    async def shut_down(self) -> None:
        """End the work and the watching; never raises."""
        self._save(now=True)
        with suppress(Exception):
            await self.context.desk.close()
        with suppress(Exception):
            await asyncio.to_thread(self.context.watch.close)
        await asyncio.to_thread(self.context.state.save)

    def _handle_exception(self, error: Exception) -> None:
        """End with a sentence and a file that has the details: no traceback is for the bench's user."""
        if not self.trap:
            super()._handle_exception(error)
            return
        self._leaving = True
        where = write_crash(error)
        self.exit(return_code=2, message=f"esim-bench stopped by a mistake of its own: {error}\nDetails: {where}")

    def _save(self, *, now: bool = False) -> None:
        for mode in MODE_SCREENS:
            for screen in self._screen_stacks.get(mode, ())[:1]:
                if isinstance(screen, BenchScreen) and screen.is_attached:
                    self.context.state.set(f"screen.{mode}", screen.saved())
        if self.context.state.dirty and not now:
            self.run_worker(work(asyncio.to_thread, self.context.state.save), group="save", exclusive=True)

    # ------------------------------------------------------------------------------------------------ news

    def _notice(self, notice: object) -> None:
        """Take in what the desk tells of."""
        self.context.watch.notice(notice)
        run = self.live_runs.notice(notice)
        match notice:
            case RunEnded():
                self._run_ended(notice, run)
            case SlotTrouble():
                if notice.trouble is None:
                    self._slot_troubles.pop(notice.slot, None)
                else:
                    self._slot_troubles[notice.slot] = notice.trouble
                    self.problem(notice.trouble)
                self._news.add(notice.slot)
            case DeskLost():
                self.problem(notice.trouble)
            case _:
                pass
        self._news.add("notices")

    def _run_ended(self, notice: RunEnded, run: LiveRun | None) -> None:
        if notice.trouble is not None and notice.outcome is None:
            self.problem(notice.trouble)
            return
        name = run.request.scenario if run is not None and run.request.scenario else "the run"
        self._tell_outcome(name, notice.outcome, notice.trouble)

    def _tell_outcome(self, name: str, outcome: str | None, trouble: Trouble | None = None) -> None:
        sign = signs.outcome(outcome or "")
        text = f"{name} ended: {outcome or 'unknown'}" + (f". {trouble.sentence}" if trouble is not None else "")
        good = outcome in ("PASS", "SKIPPED")
        self.notify(
            text + ("" if good else " (F5 shows it)"),
            title=f"{sign.sign} Run finished",
            severity="information" if good else "warning" if outcome in ("ABORTED", "TIMEOUT") else "error",
            markup=False,
        )

    def _tell_news(self) -> None:
        if not self.is_running:
            return  # the screens are being taken down
        if "runs" in self._news:
            self.run_worker(work(self._look_at_runs), group="runs", exclusive=True)
        if not self._news or not isinstance(self.screen, BenchScreen) or not self.screen.is_ready:
            return
        news = frozenset(self._news)
        self._news.clear()
        self.screen.on_bench(news)

    def catch_up(self, screen: BenchScreen) -> None:
        """Tell a screen that is shown again everything there is."""
        if self._is_gone(screen):
            self.call_later(self.back)
            return
        everything = {slot.name for slot in self.context.rack.slots} | {"runs", "notices"}
        screen.call_later(screen.take_news, frozenset(everything))

    async def _look_at_runs(self) -> None:
        """Tell of runs of other processes that have ended."""
        from esim_bench.store import RunStore
        from esim_bench.store.home import store_path

        try:
            latest = await self.context.watch.read(RunStore(store_path()).list, 50)
        except Exception:
            return  # the board says what is wrong with the history
        own = {run.run for run in self.live_runs}
        for summary in latest:
            if summary["state"] == "running":
                if summary["run"] not in own:
                    self._foreign[summary["run"]] = summary["scenario"]
            elif self._foreign.pop(summary["run"], None) and summary["run"] not in own:
                self._tell_outcome(summary["scenario"], summary["outcome"])

    @property
    def running_count(self) -> int:
        """Return how many runs go on, ours and those of others."""
        own = {run.run for run in self.live_runs}
        return len(self.live_runs.running) + sum(run not in own for run in self._foreign)

    @property
    def trouble_count(self) -> int:
        """Return how many problems nobody has looked at."""
        return self.problems.unseen

    def problem(self, trouble: Trouble) -> None:
        """Say what went wrong and what to do next; F6 shows it again."""
        if self.problems.add(trouble):
            text = trouble.sentence + (f"\n→ {trouble.hint}" if trouble.hint else "")
            self.notify(text, title=f"{signs.PROBLEM.sign} {trouble.kind}", severity="error", timeout=10, markup=False)

    # ------------------------------------------------------------------------------------------------ work

    def job(
        self,
        coro: Coroutine[Any, Any, T],
        what: str,
        *,
        slot: str | None = None,
        done: Callable[[T], None] | None = None,
    ) -> None:
        """Have a job of the desk done; ``done`` gets its result. What goes wrong is shown as a problem."""

        async def job() -> None:
            try:
                result = await coro
            except DeskError as exc:
                trouble = exc.trouble
                if not trouble.where and slot is not None:
                    trouble = trouble.model_copy(update={"where": slot})
                self.problem(trouble)
            else:
                if done is not None:
                    done(result)

        self.run_worker(work(job), name=what, group="jobs", exit_on_error=True)

    async def ask(self, dialog: ModalScreen[T]) -> T | None:
        """Show a dialog and wait for its answer. To be awaited in a worker."""
        return await self.push_screen(dialog, wait_for_dismiss=True)

    def start_run(self, request: RunRequest) -> None:
        """Begin a run; its notices follow."""

        if request.rate is None:
            request = request.model_copy(update={"rate": self.context.rate})

        def begun(key: str) -> None:
            self.live_runs.add(key, request)
            self._news.add("notices")

        self.job(self.context.desk.start_run(request), f"start {request.scenario}", done=begun)

    # ------------------------------------------------------------------------------------------------ ways

    def action_mode(self, mode: str) -> None:
        """Show one of the four screens; what was open over it stays."""
        self._once_loaded(lambda: self._show_mode(mode))

    def _show_mode(self, mode: str) -> None:
        if isinstance(self.screen, ModalScreen):
            return
        if self.current_mode == mode:
            while len(self.screen_stack) > 1:
                self.pop_screen()
        else:
            self._came_from.pop(mode, None)
            self.switch_mode(mode)

    def back(self) -> None:
        """Leave a screen that lies on another, or to which another one has led."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
        elif before := self._came_from.pop(self.current_mode, None):
            self.switch_mode(before)

    def open_slot(self, name: str) -> None:
        """Show one slot."""
        self._once_loaded(lambda: self.push_screen(slot_screen(name)))

    def open_trace(self, slots: Sequence[str] = (), at_ns: int | None = None, paths: Sequence[Path] = ()) -> None:
        """Show the trace of slots (of the whole rack without), or of files, at a moment."""
        self._go("trace", lambda: trace_screen(self.screen).open(slots, at_ns, paths))

    def open_run(self, run: str) -> None:
        """Show one run of the history."""
        self._go("runs", lambda: runs_screen(self.screen).open_run(run))

    def plan_run(self, slots: Sequence[str], scenario: str | None = None, params: dict[str, str] | None = None) -> None:
        """Show the scenarios, with slots chosen, and a scenario and its parameters where they are known."""
        self._go("scenarios", lambda: scenarios_screen(self.screen).plan(slots, scenario, params or {}))

    def _go(self, mode: str, then: Callable[[], object]) -> None:
        async def go() -> None:
            await self._loaded.wait()
            if self.current_mode != mode:
                self._came_from[mode] = self.current_mode
                await self.switch_mode(mode)
            while len(self.screen_stack) > 1:
                await self.pop_screen()
            then()

        self.run_worker(work(go), group="way", exclusive=True)

    def action_help(self) -> None:
        """Show the help of this screen."""
        if isinstance(self.screen, Help):
            self.pop_screen()
        elif isinstance(self.screen, BenchScreen):
            self.push_screen(Help(self.screen.NAME, self.screen.HELP, keys_of(self.screen, _HELPLESS)))

    def action_problems(self) -> None:
        """Show what went wrong so far."""
        if isinstance(self.screen, ProblemList):
            self.pop_screen()
        elif isinstance(self.screen, BenchScreen):
            self.problems.unseen = 0
            self.push_screen(ProblemList(self.problems))

    def commands(self) -> list[Command]:
        """Return what can be done from everywhere."""
        ways = [
            ("Rack", "all slots", lambda: self.action_mode("rack")),
            ("Trace", "every APDU", lambda: self.action_mode("trace")),
            ("Scenarios", "run something", lambda: self.action_mode("scenarios")),
            ("Runs", "look back", lambda: self.action_mode("runs")),
        ]
        looks = [
            (f"Theme: {theme.name.removeprefix('bench-')}", "how the screen looks", self._theme(theme.name))
            for theme in themes.THEMES
        ]
        slots = [
            (f"Open slot {slot.name}", f"{slot.form_factor.value} {slot.module or ''}".strip(), self._opener(slot.name))
            for slot in self.context.rack.slots
        ]
        return [
            *((f"Go to: {title}", text, call) for title, text, call in ways),
            *slots,
            *looks,
            ("Problems", "what went wrong so far", self.action_problems),
            ("Help", "keys of this screen", self.action_help),
            ("Save a picture of the screen", "an SVG file in the current folder", lambda: self.deliver_screenshot()),
            ("Quit", "devices are left in their safe state", self.action_leave),
        ]

    def _theme(self, name: str) -> Callable[[], None]:
        return lambda: setattr(self, "theme", name)

    def _opener(self, name: str) -> Callable[[], None]:
        return lambda: self.open_slot(name)
