"""The tab that tells what is known of the slot, live."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from esim_bench.desk.api import SlotReading
from esim_bench.tui import signs
from esim_bench.tui.slot.header import power_parts
from esim_bench.tui.slot.paint import Part, paint
from esim_bench.tui.slot.pane import Pane
from esim_bench.tui.slot.profiles import state_sign

_NAME: Final = 13


class Card(Static):
    """A part of what is known, under a title."""

    DEFAULT_CSS: ClassVar[str] = """
    Card { height: auto; padding: 0 1; border-top: solid $panel; border-title-color: $text-primary;
        border-title-style: bold; }
    """

    def __init__(self, title: str, id: str) -> None:
        super().__init__("", id=id, markup=False)
        self.border_title = title

    def tell(self, rows: list[tuple[str, list[Part]]]) -> None:
        """Show rows: a name, and parts of a text."""
        lines = [
            Content.assemble((f"{name:<{_NAME - 1}} ", "$foreground-muted"), *parts) for name, parts in rows if parts
        ]
        self.update(Content("\n").join(lines))


class OverviewPane(Pane):
    """What is known; it is read only where nothing is, or when asked to."""

    LABEL = "Overview"
    ALWAYS_NEW = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "profiles('enable')", "Enable …"),
        Binding("l", "profiles('download')", "Download"),
    ]

    class Wanted(Message):
        """Something is to be done with the profiles: that is another tab's."""

        def __init__(self, what: str) -> None:
            self.what = what
            super().__init__()

    SCOPED_CSS = False  # the screen's width counts
    DEFAULT_CSS: ClassVar[str] = """
    OverviewPane VerticalScroll { height: 1fr; }
    OverviewPane #cards { layout: grid; grid-size: 1; grid-rows: auto; height: auto; grid-gutter: 0 2; padding: 0 1; }
    .-wide OverviewPane #cards { grid-size: 2; }
    .-wide OverviewPane #profiles, .-wide OverviewPane #wrong { column-span: 2; }
    OverviewPane #wrong { display: none; border-title-color: $text-error; }
    OverviewPane #wrong.-shown { display: block; }
    """

    def parts(self) -> ComposeResult:
        """Make the cards."""
        with VerticalScroll(), Container(id="cards"):
            yield Card("What is wrong", id="wrong")
            yield Card("Identity", id="identity")
            yield Card("Now", id="now")
            yield Card("Profiles", id="profiles")
            yield Card("Modem and network", id="network")
            yield Card("Runs", id="runs")

    def shown(self) -> None:
        """Show what is known, also before it is read anew."""
        self.news()
        super().shown()

    def focus_main(self) -> None:
        """Let the arrows scroll."""
        self.query_one(VerticalScroll).focus()

    def action_profiles(self, what: str) -> None:
        """Go to the profiles, to enable one or to download one."""
        self.post_message(self.Wanted(what))

    @property
    def wanted(self) -> bool:
        """Read by itself only what nobody has read yet."""
        return super().wanted and not (self.about.eid and self.about.profiles)

    def fetch(self) -> Coroutine[Any, Any, SlotReading]:
        """Read the slot."""
        return self.desk.read(self.about.name)

    def show(self, value: SlotReading) -> None:
        """Show what was read."""
        self.about.read(value)
        self.news()

    def news(self) -> None:
        """Show what is known now."""
        if not self.alive:
            return
        self._wrong()
        self._identity()
        self._now()
        self._profiles()
        self._network()
        self._runs()

    def _card(self, name: str) -> Card:
        return self.query_one(f"#{name}", Card)

    def _wrong(self) -> None:
        trouble = self.about.view.trouble
        card = self._card("wrong")
        card.set_class(trouble is not None, "-shown")
        if trouble is not None:
            sign = signs.PROBLEM
            rows: list[tuple[str, list[Part]]] = [(trouble.kind, [(f"{sign.sign} {trouble.sentence}", paint(sign))])]
            if trouble.hint:
                rows.append(("what to do", [trouble.hint]))
            card.tell(rows)

    def _identity(self) -> None:
        about, view = self.about, self.about.view
        reading = about.reading
        kind = "simulated" if view.simulated else "real device"
        care = "protected: deleting is asked for twice" if view.protected else "not protected"
        self._card("identity").tell(
            [
                ("slot", [f"{view.name}, {view.form_factor}, {kind}"]),
                ("module", [view.module] if view.module else [("none: a card in a reader", "$foreground-muted")]),
                ("EID", [about.eid] if about.eid else [("not read yet: r reads", "$foreground-muted")]),
                ("ATR", [reading.atr] if reading is not None and reading.atr else []),
                ("protection", [care]),
            ]
        )

    def _now(self) -> None:
        about, view = self.about, self.about.view
        doing: list[Part] = [("idle", "$foreground-muted")]
        if view.activity == "run":
            whose = " of another process" if view.foreign else ""
            doing = [(f"{signs.RUNNING.sign} run {view.scenario}{whose}", "$text-accent")]
            if view.doing:
                doing.append(f", step {view.doing}")
        elif view.activity == "by hand":
            doing = [(f"{signs.RUNNING.sign} {view.doing}", "$text-accent")]
        heard = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(view.at_ns / 1e9)) if view.at_ns else ""
        counted = f"{view.apdus:,} in the latest trace, {view.errors:,} error answers"
        self._card("now").tell(
            [
                ("power", power_parts(about.power)),
                ("switch", [about.power.how] if about.power.how else []),
                ("doing", doing),
                ("APDUs", [counted] if view.journal else []),
                ("last heard", [heard] if heard else []),
            ]
        )

    def _profiles(self) -> None:
        profiles = self.about.profiles
        card = self._card("profiles")
        if profiles is None:
            card.update(Content.styled("Not read yet: r reads.", "$foreground-muted"))
            return
        if not profiles:
            card.update(Content.styled("No profile is installed: l downloads one.", "$foreground-muted"))
            return
        lines = []
        for one in profiles:
            sign = state_sign(one)
            extra = ", ".join([*one.roles, *one.rules])
            text = f"{one.label:<22.22} {one.iccid:<20} {one.plmn:<8}{one.profile_class}"
            lines.append(
                Content.assemble(
                    (f"{sign.sign} {one.state:<9}", paint(sign)),
                    text,
                    (f" {extra}" if extra else "", "$foreground-muted"),
                )
            )
        card.update(Content("\n").join(lines))

    def _network(self) -> None:
        about, view = self.about, self.about.view
        if not about.has_modem:
            self._card("network").update(Content.styled("This slot has no modem.", "$foreground-muted"))
            return
        modem = about.reading.modem if about.reading is not None else None
        identity = " ".join(part for part in (modem.manufacturer, modem.model, modem.revision) if part) if modem else ""
        registration = view.registration or (modem.registration if modem else "")
        operator = view.operator or (modem.operator if modem else "")
        dbm = view.signal_dbm if view.signal_dbm is not None else modem.signal_dbm if modem else None
        signal: list[Part] = [] if dbm is None else [(signs.signal_bars(dbm), "$text-success"), f" {dbm} dBm"]
        self._card("network").tell(
            [
                ("modem", [identity] if identity else [("not asked yet: r asks", "$foreground-muted")]),
                ("IMEI", [modem.imei] if modem and modem.imei else []),
                ("registration", [registration] if registration else []),
                ("operator", [operator] if operator else []),
                ("signal", signal),
            ]
        )

    def _runs(self) -> None:
        view = self.about.view
        if not view.outcome and view.activity != "run":
            self._card("runs").update(Content.styled("No run so far: x runs a scenario here.", "$foreground-muted"))
            return
        rows: list[tuple[str, list[Part]]] = []
        if view.activity == "run":
            steps = f"{view.steps_done} steps done" + (f" of {view.progress[1]}" if view.progress else "")
            rows.append(("running", [(f"{signs.RUNNING.sign} {view.scenario}", "$text-accent"), f", {steps}"]))
        if view.outcome:
            sign = signs.outcome(view.outcome)
            when = (
                time.strftime("%Y-%m-%d %H:%M", time.localtime(view.outcome_at_ns / 1e9)) if view.outcome_at_ns else ""
            )
            name = view.scenario if view.activity != "run" else "the one before"
            rows.append(("last outcome", [(f"{sign.sign} {view.outcome}", paint(sign)), f"  {name}  {when}"]))
        if view.reason:
            rows.append(("why", [view.reason]))
        self._card("runs").tell(rows)
