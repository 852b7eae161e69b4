"""The tab of the modem: its state, and an AT console."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from esim_bench.desk.api import AtView, ModemView, Trouble
from esim_bench.tui import signs
from esim_bench.tui.slot.console import CommandLine, History, LineBox
from esim_bench.tui.slot.paint import Part, paint
from esim_bench.tui.slot.pane import Pane

HISTORY: Final = "slot.at.history"
KNOWN: Final = (
    "AT",
    "ATI",
    "AT+CSQ",
    "AT+CESQ",
    "AT+CREG?",
    "AT+CGREG?",
    "AT+CEREG?",
    "AT+C5GREG?",
    "AT+COPS?",
    "AT+COPS=?",
    "AT+CPIN?",
    "AT+CIMI",
    "AT+CCID",
    "AT+CGSN",
    "AT+CFUN?",
    "AT+CFUN=1",
    "AT+CFUN=0",
    "AT+CGDCONT?",
    "AT+CGATT?",
    "AT+CMEE=2",
)
"""Lines that are suggested."""
_SECRET: Final = re.compile(r"\+(CPIN2?|CPWD|CLCK)\s*=", re.IGNORECASE)
MOST: Final = 100
"""Answers that stay on the screen."""


def is_secret(line: str) -> bool:
    """Tell whether a line holds a PIN or a password: it is in no file then."""
    return _SECRET.search(line) is not None


class ModemPane(Pane):
    """The modem."""

    LABEL = "Modem"
    ALWAYS_NEW = False
    DEFAULT_CSS: ClassVar[str] = """
    ModemPane #state { height: auto; max-height: 3; padding: 0 1; background: $surface; }
    ModemPane #answers { height: 1fr; padding: 0 1; }
    ModemPane .answer { height: auto; width: 100%; }
    """

    def parts(self) -> ComposeResult:
        """Make state, answers and line; or the sentence that there is no modem."""
        if not self.about.has_modem:
            yield Static(
                "This slot has no modem: its card sits in a reader. A module in the rack file gives it one.\n\n"
                "7 is the console to the card itself.",
                classes="empty",
                markup=False,
            )
            return
        yield Static("", id="state", markup=False)
        with VerticalScroll(id="answers"):
            yield Static("Type an AT command: AT+CSQ tells the signal.", classes="answer hint", markup=False)
        yield LineBox(History(self.bench.context.state, HISTORY, is_secret), placeholder="AT…", known=KNOWN)

    def focus_main(self) -> None:
        """Begin in the line."""
        if self.about.has_modem:
            self.query_one(CommandLine).focus()

    def fetch(self) -> Coroutine[Any, Any, ModemView] | None:
        """Ask for the modem's state."""
        return self.desk.modem(self.about.name) if self.about.has_modem else None

    def show(self, value: ModemView) -> None:
        """Show its state."""
        parts: list[Part] = [(" ".join(part for part in (value.manufacturer, value.model) if part), "bold")]
        if value.revision:
            parts.append((f"  {value.revision}", "$foreground-muted"))
        if value.imei:
            parts.append((f"  IMEI {value.imei}", "$foreground-muted"))
        parts += ["\n", ("SIM ", "$foreground-muted"), value.sim or "–", ("  registration ", "$foreground-muted")]
        parts += [value.registration or "–", ("  operator ", "$foreground-muted"), value.operator or "–"]
        if value.signal_dbm is not None:
            parts += ["  ", (signs.signal_bars(value.signal_dbm), "$text-success"), f" {value.signal_dbm} dBm"]
        self.query_one("#state", Static).update(Content.assemble(*parts))

    @on(LineBox.Sent)
    def _send(self, event: LineBox.Sent) -> None:
        if self.free():
            box = self.query_one(LineBox)
            line = event.line
            box.sent(line)
            self.work(self.desk.at(self.about.name, line), f"Waiting for the answer to {line}", self._answered)

    def _answered(self, view: AtView) -> None:
        sign = signs.OUTCOMES["PASS" if view.ok else "FAIL"]
        parts: list[Part] = [
            ("› ", "$text-accent"),
            (view.line, "bold"),
            (f"  {view.milliseconds:g} ms", "$foreground-muted"),
        ]
        for number, line in enumerate(view.answer, 1):
            last = number == len(view.answer)
            parts.append("\n  ")
            parts.append((f"{sign.sign} {line}", paint(sign)) if last else f"  {line}")
        for text in view.meaning:
            parts += ["\n    ", ("→ ", "$text-accent"), text]
        self._add(Content.assemble(*parts))

    def failed(self, trouble: Trouble) -> None:
        """Keep what went wrong among the answers, too."""
        super().failed(trouble)
        if self.alive and self.about.has_modem:
            hint = f"\n    → {trouble.hint}" if trouble.hint else ""
            self._add(Content.assemble((f"{signs.PROBLEM.sign} {trouble.sentence}", paint(signs.PROBLEM)), hint))

    def _add(self, content: Content) -> None:
        answers = self.query_one("#answers", VerticalScroll)
        for hint in answers.query(".hint"):
            hint.remove()
        old = [*answers.children]
        for one in old[: max(0, len(old) + 1 - MOST)]:
            one.remove()
        answers.mount(Static(content, classes="answer", markup=False))
        answers.scroll_end(animate=False)

    @on(CommandLine.Cleared)
    def _clear(self) -> None:
        self.query_one("#answers", VerticalScroll).remove_children()

    @on(CommandLine.Left)
    def _left(self) -> None:
        self.query_one("#answers", VerticalScroll).focus()
