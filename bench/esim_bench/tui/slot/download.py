"""Asks what is to be downloaded: an activation code, a packaged profile, or a package file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, Input, Label, OptionList, Static

from esim_bench import data
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.desk.api import Source
from esim_bench.errors import CodecError
from esim_bench.tui import signs
from esim_bench.tui.slot.paint import paint
from esim_bench.tui.widgets.tick import Tick

if TYPE_CHECKING:
    from esim_bench.desk.watch import Watch


class Download(NamedTuple):
    """What is wanted."""

    source: Source
    confirmation_code: str = ""
    enable: bool = False
    cut_after: int | None = None
    """Segments that the eUICC takes in before the power is cut; None: it is not cut."""


class Meant(NamedTuple):
    """What a typed line means: what it is in words, and the source; None: it is nothing yet."""

    text: str
    source: Source | None
    wrong: bool = False
    code: bool = False
    """A confirmation code is needed."""


def meant(line: str, names: tuple[str, ...]) -> Meant:
    """Say what a line is: an activation code, the name of a packaged profile, or the path of a package."""
    text = line.strip()
    if not text:
        return Meant("An activation code (LPA:1$…), a profile's name, or the path of a package.", None)
    if text in names:
        return Meant(f"Profile {text} of the bench, from its own SM-DP+", Source(profile=text))
    if text.startswith("@"):
        return Meant(f"Activation code of the QR code in {text[1:] or '…'}", Source(activation_code=text))
    if "$" in text or text[:4].upper() == "LPA:":
        try:
            code = ActivationCode.parse(text)
        except CodecError as exc:
            return Meant(str(exc), None, wrong=True)
        needed = ", which asks for a confirmation code" if code.confirmation_code_required else ""
        return Meant(
            f"From SM-DP+ {code.address}{needed}", Source(activation_code=text), code=code.confirmation_code_required
        )
    if "/" in text or "." in text:
        return Meant(f"Package {text}, from the bench's own SM-DP+", Source(package=os.path.expanduser(text)))
    near = [name for name in names if name.startswith(text)]
    if near:
        return Meant("Profiles: " + ", ".join(near), None)
    return Meant("Neither an activation code, nor a profile's name, nor the path of a file.", None, wrong=True)


class DownloadDialog(ModalScreen[Download | None]):
    """The dialog."""

    DEFAULT_CSS: ClassVar[str] = """
    DownloadDialog { align: center middle; background: $background 60%; }
    DownloadDialog > Vertical {
        width: 76; max-width: 98%; height: auto; max-height: 100%; padding: 0 2; background: $surface;
        border: round $primary; border-title-color: $text-primary; border-title-style: bold;
    }
    DownloadDialog Input, DownloadDialog Checkbox { height: 1; border: none; padding: 0 1; background: $panel; }
    DownloadDialog Input:focus, DownloadDialog Checkbox:focus { border: none; background: $primary 30%; }
    DownloadDialog Checkbox { background: $surface; padding: 0; }
    DownloadDialog Label { color: $text-muted; margin-top: 1; }
    DownloadDialog OptionList:focus { border: none; }
    DownloadDialog OptionList { height: auto; max-height: 6; border: none; padding: 0; background: $surface; }
    DownloadDialog #meant { height: 2; width: 100%; }
    DownloadDialog #cutting { height: 1; margin-bottom: 1; }
    DownloadDialog #segment { width: 8; margin-left: 1; }
    DownloadDialog #buttons { height: 3; align-horizontal: right; }
    DownloadDialog Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, slot: str, watch: Watch) -> None:
        super().__init__()
        self._slot, self._watch = slot, watch
        self._names: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        """Make the dialog."""
        with Vertical() as box:
            box.border_title = f"Download a profile to {self._slot}"
            yield Label("What: type or paste, or choose a packaged profile below")
            yield Input(placeholder="LPA:1$smdp.example.com$… or a name or a file", id="what")
            yield Static("", id="meant", markup=False)
            yield OptionList(id="names", markup=False)
            yield Label("Confirmation code, where one is asked for")
            yield Input(password=True, id="code")
            yield Tick("Enable it afterwards", id="enable", compact=True)
            with Horizontal(id="cutting"):
                yield Tick("Cut the power in the middle, after segment", id="cut", compact=True)
                yield Input("6", id="segment", type="integer", max_length=4)
            with Horizontal(id="buttons"):
                yield Button("Download", id="ok", variant="primary", disabled=True)
                yield Button("Cancel", id="cancel")

    async def on_mount(self) -> None:
        """Begin in the line; the names come from the bench's folder."""
        self.query_one("#what").focus()
        self._say()
        self.run_worker(self._list())

    async def _list(self) -> None:
        self._names = await self._watch.read(data.profile_names)
        if self.is_attached:
            self.query_one("#names", OptionList).add_options(self._names)
            self._say()

    @property
    def _meant(self) -> Meant:
        return meant(self.query_one("#what", Input).value, self._names)

    def _say(self) -> None:
        found = self._meant
        sign = signs.PROBLEM if found.wrong else signs.OUTCOMES["PASS"] if found.source is not None else signs.UNKNOWN
        self.query_one("#meant", Static).update(Content.assemble((f"{sign.sign} ", paint(sign)), found.text))
        self.query_one("#ok", Button).disabled = found.source is None

    @on(Input.Changed, "#what")
    def _typed(self) -> None:
        self._say()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.query_one("#what", Input).value = str(event.option.prompt)
        self._say()
        self.query_one("#enable").focus()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        if event.input.id == "segment":
            self.query_one("#cut", Checkbox).value = True
        if event.input.id == "what" and self._meant.code:
            self.query_one("#code").focus()
        else:
            self._done()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "ok":
            self._done()
        else:
            self.dismiss(None)

    def _done(self) -> None:
        source = self._meant.source
        if source is not None:
            code = self.query_one("#code", Input).value
            self.dismiss(Download(source, code, self.query_one("#enable", Checkbox).value, self._cut_after))

    @property
    def _cut_after(self) -> int | None:
        text = self.query_one("#segment", Input).value
        return max(1, int(text or 1)) if self.query_one("#cut", Checkbox).value else None

    def action_cancel(self) -> None:
        """Want nothing."""
        self.dismiss(None)
