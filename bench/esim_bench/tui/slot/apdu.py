"""The tab with the console to the card: APDUs in hex or by name, decoded."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from esim_bench.desk.api import ApduView, DeskError, Trouble
from esim_bench.tui import signs
from esim_bench.tui.slot.bytesview import BytesView
from esim_bench.tui.slot.console import CommandLine, History, LineBox
from esim_bench.tui.slot.nodetree import NodeTree
from esim_bench.tui.slot.paint import Part, paint
from esim_bench.tui.slot.pane import Pane

HISTORY: Final = "slot.apdu.history"
MOST: Final = 200
"""Exchanges that stay on the screen."""
_LONG: Final = 24
_PIN_COMMANDS: Final = frozenset((0x20, 0x24, 0x26, 0x28, 0x2C))
"""VERIFY and its like (TS 102 221 11.1.9 to 11.1.13)."""


def is_secret(line: str) -> bool:
    """Tell whether a line holds a PIN: it is in no file then."""
    try:
        raw = bytes.fromhex("".join(line.split()))
    except ValueError:
        return False
    return len(raw) > 1 and raw[1] in _PIN_COMMANDS


class ApduPane(Pane):
    """The console."""

    LABEL = "APDU"
    ALWAYS_NEW = False
    SCOPED_CSS = False  # the screen's width counts
    DEFAULT_CSS: ClassVar[str] = """
    ApduPane #split { height: 1fr; layout: vertical; }
    .-wide ApduPane #split { layout: horizontal; }
    ApduPane #exchanges { height: 1fr; border: none; padding: 0 1; background: $background; }
    ApduPane #decoded { height: 2fr; border-top: solid $panel; }
    .-wide ApduPane #exchanges { height: 100%; width: 2fr; }
    .-wide ApduPane #decoded { height: 100%; width: 3fr; border-top: none; border-left: solid $panel; }
    ApduPane #about { height: auto; max-height: 4; padding: 0 1; }
    ApduPane #bytes { height: auto; max-height: 40%; }
    ApduPane #decoded NodeTree { display: none; }
    ApduPane #decoded.-decoded NodeTree { display: block; }
    """

    def __init__(self, about: Any) -> None:
        super().__init__(about)
        self.exchanges: list[ApduView] = []

    def parts(self) -> ComposeResult:
        """Make exchanges, decoded answer and line."""
        with Container(id="split"):
            yield OptionList(id="exchanges", markup=False)
            with Vertical(id="decoded"):
                yield Static("What an answer means is shown here, beside its bytes.", classes="empty", id="about")
                yield NodeTree()
                yield BytesView(id="bytes")
        yield LineBox(
            History(self.bench.context.state, HISTORY, is_secret),
            placeholder="hex, or a name: SELECT ADF.USIM, GetEuiccInfo2",
        )

    def on_mount(self) -> None:
        """Ask what can be sent by name."""
        self.query_one(BytesView).display = False

        async def names() -> None:
            try:
                found = await self.desk.apdu_names()
            except DeskError as exc:
                self.failed(exc.trouble)
            else:
                self.query_one(LineBox).offer(found)

        self.run_worker(names(), group="names")

    def focus_main(self) -> None:
        """Begin in the line."""
        self.query_one(CommandLine).focus()

    @property
    def _list(self) -> OptionList:
        return self.query_one("#exchanges", OptionList)

    @on(LineBox.Sent)
    def _send(self, event: LineBox.Sent) -> None:
        event.stop()
        if self.free():
            line = event.line
            self.query_one(LineBox).sent(line)
            self.work(self.desk.apdu(self.about.name, line), f"Waiting for the answer to {line[:60]}", self._answered)

    def _answered(self, view: ApduView) -> None:
        if len(self.exchanges) >= MOST:
            del self.exchanges[0]
            self._list.remove_option_at_index(0)
        self.exchanges.append(view)
        self._list.add_option(_line(view))
        self._list.highlighted = len(self.exchanges) - 1
        self._show(view)

    def failed(self, trouble: Trouble) -> None:
        """Say it above; what was typed can be brought back with Up."""
        super().failed(trouble)

    @on(OptionList.OptionHighlighted, "#exchanges")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_index < len(self.exchanges):
            self._show(self.exchanges[event.option_index])

    @on(OptionList.OptionSelected, "#exchanges")
    def _again(self, event: OptionList.OptionSelected) -> None:
        """Bring the command back into the line."""
        event.stop()
        line = self.query_one(CommandLine)
        line.value = self.exchanges[event.option_index].command
        line.focus()

    def _show(self, view: ApduView) -> None:
        data = bytes.fromhex(view.response)
        sign = signs.OUTCOMES["PASS" if is_good(view) else "FAIL"]
        size = f"{len(data)} bytes" if data else "no data"
        parts: list[Part] = [
            (f"{sign.sign} SW {view.sw}", paint(sign)),
            f"  {view.meaning}",
            (f"  {size}, {view.milliseconds:g} ms", "$foreground-muted"),
            ("\n› ", "$text-accent"),
            (view.command, "$foreground-muted"),
        ]
        about = self.query_one("#about", Static)
        about.update(Content.assemble(*parts))
        about.remove_class("empty")
        self.query_one("#decoded").set_class(bool(view.decoded), "-decoded")
        self.query_one(NodeTree).load(view.decoded, depth=6)
        box = self.query_one(BytesView)
        box.display = bool(data)
        box.load([data] if data else [])

    @on(NodeTree.Chosen)
    def _chosen(self, event: NodeTree.Chosen) -> None:
        event.stop()
        item = event.path[-1]
        if item.start is not None and item.end is not None:
            self.query_one(BytesView).mark(0, item.start, item.end)
        else:
            self.query_one(BytesView).unmark()

    @on(CommandLine.Cleared)
    def _clear(self) -> None:
        self.exchanges.clear()
        self._list.clear_options()

    @on(CommandLine.Left)
    def _left(self) -> None:
        self._list.focus()


def _line(view: ApduView) -> Content:
    sign = signs.OUTCOMES["PASS" if is_good(view) else "FAIL"]
    text = Content.assemble((f"{sign.sign} ", paint(sign)), view.meaning)
    # The bytes of a command whose meaning is long are seen when it is chosen.
    return text if len(view.meaning) > _LONG else text + Content.styled(f"  {view.command[:16]}", "$foreground-muted")


def is_good(view: ApduView) -> bool:
    """Tell whether a status word says that it was done (TS 102 221 10.2.1.1, 10.2.1.2)."""
    return view.sw[:2] in ("90", "91", "92", "61", "9F")
