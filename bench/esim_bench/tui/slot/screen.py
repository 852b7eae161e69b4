"""One slot: what it is, what is on it, consoles to its card and its modem, its files, and its power."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize
from textual.widgets import Footer

from esim_bench.desk.api import DeskError, PowerView
from esim_bench.tui import signs
from esim_bench.tui.screen import BenchScreen, Command
from esim_bench.tui.slot.about import About
from esim_bench.tui.slot.apdu import ApduPane
from esim_bench.tui.slot.eim import EimPane
from esim_bench.tui.slot.euicc import EuiccPane
from esim_bench.tui.slot.files import FilesPane
from esim_bench.tui.slot.header import NARROW, Header, TabBar
from esim_bench.tui.slot.modem import ModemPane
from esim_bench.tui.slot.notifications import NotificationsPane
from esim_bench.tui.slot.overview import OverviewPane
from esim_bench.tui.slot.pane import Pane
from esim_bench.tui.slot.power import DEFAULT_SECONDS, PowerMenu, PowerWish
from esim_bench.tui.slot.profiles import ProfilesPane
from esim_bench.tui.work import work

PANES: Final[tuple[type[Pane], ...]] = (
    OverviewPane,
    ProfilesPane,
    EuiccPane,
    NotificationsPane,
    EimPane,
    ModemPane,
    ApduPane,
    FilesPane,
)
SECONDS_KEY: Final = "slot.power.seconds"


class SlotScreen(BenchScreen):
    """One slot."""

    NAME = "Slot"
    HELP = """
Everything about one slot. The two lines above tell its power, with what proves it, and what goes on since when.
Keys **1** to **8** (or a click, or Ctrl+PageUp/PageDown) choose a tab. A tab reads when it is first shown; **r** reads
again.

* **1 Overview** what is known, live, also while a run has the slot. **l** downloads a profile, **e** leads to those
  that can be enabled.
* **2 Profiles** enable, disable, delete, name, and download by activation code, packaged profile or package
  file; the dialog can cut the power after a segment of your choice.
* **3 eUICC** what the eUICC says of itself, decoded; **/** searches.
* **4 Notifications** those that wait for their SM-DP+: send or remove.
* **5 eIM** associated eIMs (SGP.32), and orders of the bench's own.
* **6 Modem**, **7 APDU** consoles: Enter sends, Up and Down bring earlier lines back, Tab takes what is suggested.
  **Escape leaves the line**: then single letters are keys again.
* **8 Files** the files of the UICC; Enter reads one.

**o** (Ctrl+O also in a console) switches the power: a cut breaks into whatever goes on. **t** shows the trace of the
slot, **x** runs a scenario on it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"tab({number})", pane.LABEL, show=False) for number, pane in enumerate(PANES, 1)),
        Binding("ctrl+pagedown", "step(1)", "Next tab", show=False, priority=True),
        Binding("ctrl+pageup", "step(-1)", "Previous tab", show=False, priority=True),
        Binding("r", "reload", "Read"),
        Binding("o", "power", "Power"),
        Binding("ctrl+o", "power", "Power", show=False),
        Binding("t", "trace", "Trace"),
        Binding("x", "run", "Run"),
    ]

    def __init__(self, name: str) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (NARROW, "-wide")]
        self.slot = name
        self.number = 0
        self._about: About | None = None
        self._panes: dict[int, Pane] = {}

    @property
    def about(self) -> About:
        """Return what is known of the slot."""
        if self._about is None:
            self._about = About(self.bench, self.slot)
        return self._about

    @property
    def header(self) -> Header:
        """Return the lines above the tabs."""
        return self.query_one(Header)

    @property
    def alive(self) -> bool:
        """Tell whether the screen is there, all of it: news may come while it comes or goes."""
        return self.is_attached and bool(self.query(Header))

    @property
    def pane(self) -> Pane | None:
        """Return the tab that is shown."""
        return self._panes.get(self.number)

    def body(self) -> ComposeResult:
        """Make the frame; tabs are made when they are first shown."""
        yield Header(self.about)
        yield TabBar([pane.LABEL for pane in PANES], self.action_tab)
        yield Container(id="panes")

    def on_mount(self) -> None:
        """Begin with the overview, and with the power as it is."""
        self.action_tab(1)
        self._switch(self.bench.context.desk.power(self.slot), "", quiet=True)

    def on_bench(self, what: frozenset[str]) -> None:
        """Show what is new of the slot; leave when the rack file does not have it any more."""
        if not any(slot.name == self.slot for slot in self.bench.context.rack.slots):
            self.bench.notify(f"{self.slot} is in the rack no more.", title="Rack", severity="warning", markup=False)
            self.bench.back()
            return
        if not self.alive:
            return
        if "rack" in what:
            self.about.respecify()
            self._renew()
        if not ({self.slot, "notices"} & what) or not self.about.refresh():
            return
        self._renew()

    @on(Pane.Done)
    def _done(self, event: Pane.Done) -> None:
        if not self.alive:
            return
        self.header.renew()
        for pane in self._panes.values():
            if pane is not event.pane:
                pane.news()

    def _renew(self) -> None:
        self.header.renew()
        for pane in self._panes.values():
            pane.news()
        if self.pane is not None:
            self.pane.catch_up()

    def on_resize(self, event: Resize) -> None:
        """Use the width there is: the keys of a tab stand closer in a narrow terminal."""
        self.query_one(Footer).compact = event.size.width < NARROW

    # ----------------------------------------------------------------------------------------------------------- tabs

    def action_tab(self, number: int) -> None:
        """Show a tab."""
        if number == self.number:
            return
        self.number = number
        self.query_one(TabBar).activate(number)
        for other, pane in self._panes.items():
            pane.display = other == number
        if number in self._panes:
            self._panes[number].shown()
        else:
            pane = self._panes[number] = PANES[number - 1](self.about)
            mounted = self.query_one("#panes").mount(pane)

            async def show() -> None:
                await mounted
                pane.display = self.number == number
                if pane.display:
                    pane.shown()

            self.run_worker(show(), group="show")

    @on(OverviewPane.Wanted)
    def _to_profiles(self, event: OverviewPane.Wanted) -> None:
        number = PANES.index(ProfilesPane) + 1
        self.action_tab(number)
        if event.what == "download":
            self.run_worker(work(self._download_there, number), group="ask", exclusive=True)

    async def _download_there(self, number: int) -> None:
        pane = self._panes[number]
        while self.number == number and (not pane.alive or pane.working):  # noqa: ASYNC110 (a tab has no event for it)
            await asyncio.sleep(0.02)  # it is being made, and reads the profiles first
        if self.number == number and isinstance(pane, ProfilesPane):
            pane.action_download()

    def action_step(self, step: int) -> None:
        """Show the tab beside."""
        self.action_tab((self.number - 1 + step) % len(PANES) + 1)

    def action_reload(self) -> None:
        """Read the tab again."""
        if self.pane is not None:
            self.pane.forgive()
            self.pane.reload()

    # ---------------------------------------------------------------------------------------------------------- power

    def action_power(self) -> None:
        """Ask what is to be done with the power."""

        async def ask() -> None:
            seconds = self.bench.context.state.get(SECONDS_KEY, DEFAULT_SECONDS)
            wish = await self.bench.ask(PowerMenu(self.about, seconds))
            if wish is not None:
                self.power(wish)

        self.run_worker(ask(), group="ask", exclusive=True)

    def power(self, wish: PowerWish) -> None:
        """Switch the power, whatever goes on."""
        desk = self.bench.context.desk
        match wish.what:
            case "on":
                self._switch(desk.power_on(self.slot), "power on")
            case "off":
                self._switch(desk.power_off(self.slot), "power off")
            case _:
                self.bench.context.state.set(SECONDS_KEY, wish.seconds)
                self._switch(desk.power_cycle(self.slot, wish.seconds), f"power off for {wish.seconds:g} s")

    def _switch(self, coro: Coroutine[Any, Any, PowerView], what: str, *, quiet: bool = False) -> None:
        async def switch() -> None:
            try:
                view = await coro
            except DeskError as exc:
                if not quiet:
                    self.bench.problem(exc.trouble)
                return
            self.about.powered(view, switched=not quiet)
            if not quiet:
                proof = f" ({view.proof})" if view.proof else ""
                sign = signs.ON if view.powered else signs.OFF
                self.bench.notify(
                    f"{sign.sign} power {'on' if view.powered else 'off'}{proof}",
                    title=f"{self.slot}: {what}",
                    markup=False,
                )
                self.about.changed()
            if self.alive:
                for pane in self._panes.values() if view.powered else ():
                    pane.forgive()  # without power, what was said last stays: it tells what the cut hit
                self.header.renew()
                for pane in self._panes.values():
                    pane.news()
                if view.powered and not quiet and self.pane is not None:
                    self.pane.catch_up()

        self.bench.run_worker(switch(), name=what or "power", group="jobs")

    # ----------------------------------------------------------------------------------------------------------- ways

    def action_trace(self) -> None:
        """Show the trace of the slot, at its end."""
        self.bench.open_trace([self.slot])

    def action_run(self) -> None:
        """Choose a scenario for the slot."""
        self.bench.plan_run([self.slot])

    def commands(self) -> Iterable[Command]:
        """Return what can be done with the slot."""
        for number, pane in enumerate(PANES, 1):
            yield f"{self.slot}: {pane.LABEL}", f"tab {number}", self._tab(number)
        yield f"{self.slot}: power on", "starts the card", lambda: self.power(PowerWish("on"))
        yield f"{self.slot}: power off", "cold, at once", lambda: self.power(PowerWish("off"))
        yield f"{self.slot}: power cycle …", "off for some seconds", self.action_power
        yield f"{self.slot}: trace", "what card and modem said", self.action_trace
        yield f"{self.slot}: run a scenario …", "with this slot chosen", self.action_run
        yield f"{self.slot}: read again", "this tab", self.action_reload
        yield f"{self.slot}: release", "leave it safe, let its devices go", self._release

    def _tab(self, number: int) -> Any:
        return lambda: self.action_tab(number)

    def _release(self) -> None:
        self.bench.job(self.bench.context.desk.release(self.slot), f"release {self.slot}", slot=self.slot)
