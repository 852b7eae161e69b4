"""The two lines above the tabs: which slot, its power with proof, and what goes on since when; and the tabs' names."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Click
from textual.widgets import Static

from esim_bench.tui import signs
from esim_bench.tui.slot.about import About, PowerKnown
from esim_bench.tui.slot.paint import Part, paint

_BAR: Final = 16
"""Cells of the progress bar."""
NARROW: Final = 100
"""Cells; a terminal with fewer is a narrow one."""


def power_parts(power: PowerKnown, *, proof: bool = True) -> list[Part]:
    """Say the state of the power, and what proves it."""
    sign = {"on": signs.ON, "off": signs.OFF}.get(power.state, signs.UNKNOWN)
    text = {"on": "power on", "off": "power off"}.get(power.state, "power unknown")
    parts: list[Part] = [(f"{sign.sign} {text}", paint(signs.PROBLEM) if power.state == "off" else paint(sign))]
    if proof and power.proof:
        parts.append((f" ({power.proof})", "$foreground-muted"))
    return parts


def bar(done: int, total: int, width: int = _BAR) -> str:
    """Draw how much is done."""
    full = round(width * min(1.0, done / total)) if total > 0 else 0
    return "█" * full + "░" * (width - full)


def duration(seconds: float) -> str:
    """Say a time that passes: "7 s", "3:05 min"."""
    whole = max(0, int(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02d} min"


class Header(Static):
    """What the slot is, and what it does."""

    DEFAULT_CSS: ClassVar[str] = """
    Header { height: 2; padding: 0 1; background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, about: About) -> None:
        super().__init__("", markup=False)
        self._about = about
        self._told: Content | None = None

    def on_mount(self) -> None:
        """Begin; the seconds go on by themselves."""
        self.renew()
        self.set_interval(1.0, self.renew)

    def renew(self) -> None:
        """Show what is known now."""
        if not self.screen.is_current:
            return
        content = Content("\n").join([Content.assemble(*self._who()), Content.assemble(*self._what())])
        if content != self._told:
            self._told = content
            self.update(content)

    def _who(self) -> list[Part]:
        about, view = self._about, self._about.view
        parts: list[Part] = [(view.name, "bold $text-primary"), f"  {view.form_factor}"]
        if view.module:
            parts.append(f" · {view.module}")
        if self.app.size.width >= NARROW:
            parts.append(
                (" · simulated" if view.simulated else " · protected" if view.protected else "", "$foreground-muted")
            )
        # What may be cut at the end of a narrow line is what matters least.
        narrow = self.app.size.width < NARROW
        parts += ["  ", *power_parts(about.power, proof=not narrow)]
        enabled = about.enabled
        if enabled is not None:
            parts += [("  ● ", "$text-success"), enabled.label]
        if narrow and about.power.proof:
            parts.append((f"  ({about.power.proof})", "$foreground-muted"))
        if about.eid and not narrow:
            parts.append((f"  EID {about.eid}", "$foreground-muted"))
        return parts

    def _what(self) -> list[Part]:
        about, view = self._about, self._about.view
        since = duration(time.time() - about.since)
        if view.activity == "idle":
            return self._idle()
        parts: list[Part] = [(f"{signs.RUNNING.sign} ", "$text-accent")]
        if view.activity == "run":
            parts += [(f"run {view.scenario}", "$text-accent"), f": {view.doing}" if view.doing else ""]
        else:
            parts.append((view.doing, "$text-accent"))
        if view.progress is not None:
            done, total = view.progress
            width = _BAR if self.app.size.width >= NARROW else _BAR // 2
            parts += [f"  {done}/{total} ", (bar(done, total, width), "$text-accent")]
        parts.append((f"  for {since}", "$foreground-muted"))
        if view.foreign:
            parts.append(("  by another process", "$foreground-muted"))
        return parts

    def _idle(self) -> list[Part]:
        view = self._about.view
        if view.trouble is not None:
            return [(f"{signs.PROBLEM.sign} {view.trouble.sentence}", paint(signs.PROBLEM))]
        parts: list[Part] = [("idle", "$foreground-muted")]
        if view.outcome:
            sign = signs.outcome(view.outcome)
            parts += [
                ("  last run ", "$foreground-muted"),
                view.scenario,
                (f" {sign.sign} {view.outcome}", paint(sign)),
            ]
            parts.append((f"  {view.reason}", "$foreground-muted"))
        return parts


class TabLabel(Static):
    """The name of a tab; a click shows it."""

    def __init__(self, number: int, label: str, act: Callable[[int], object]) -> None:
        super().__init__(Content.assemble((f"{number} ", "$text-accent"), label), classes="tab", markup=False)
        self.number = number
        self._act = act

    def on_click(self, event: Click) -> None:
        """Show the tab."""
        event.stop()
        self._act(self.number)


class TabBar(Horizontal):
    """The names of the tabs in one line."""

    SCOPED_CSS = False  # the screen's width counts

    DEFAULT_CSS: ClassVar[str] = """
    TabBar { height: 1; background: $panel; }
    TabBar > .tab { width: auto; padding: 0 1; }
    TabBar > .tab:hover { background: $surface; }
    TabBar > .tab.-active { background: $background; color: $text-primary; text-style: bold underline; }
    .-narrow TabBar > .tab { padding: 0 0 0 1; }
    """

    def __init__(self, labels: Sequence[str], act: Callable[[int], object]) -> None:
        super().__init__()
        self._labels, self._act = labels, act

    def compose(self) -> ComposeResult:
        """Make the names."""
        for number, label in enumerate(self._labels, 1):
            yield TabLabel(number, label, self._act)

    def activate(self, number: int) -> None:
        """Mark the tab that is shown."""
        for tab in self.query(TabLabel):
            tab.set_class(tab.number == number, "-active")
