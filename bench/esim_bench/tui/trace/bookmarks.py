"""Bookmarks and notes at records: kept in the bench's home, by journal and record, also over a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from esim_bench.desk.api import Trouble
from esim_bench.store.files import write_whole
from esim_bench.store.home import home
from esim_bench.trace.show import time_of
from esim_bench.tui.dialogs import Prompt

if TYPE_CHECKING:
    from esim_bench.trace.timeline import Anchor
    from esim_bench.tui.trace.screen import TraceScreen

FILE: Final = "bookmarks.json"
KEPT: Final = 2000
"""Bookmarks in all; the oldest go first."""
MARK: Final = "★"


@dataclass(frozen=True, slots=True)
class Bookmark:
    """One record that somebody wants to find again."""

    path: str
    """The journal's file."""
    number: int
    """The record's, from 0."""
    slot: str
    at_ns: int
    text: str
    """What the record said."""
    note: str = ""


class Bookmarks:
    """All of them, the newest last. Reads and writes a file: for the reader's thread."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or home() / FILE
        self.all: list[Bookmark] = []
        try:
            for one in json.loads(self._path.read_text()):
                self.all.append(Bookmark(**one))
        except (OSError, ValueError, TypeError):
            pass  # none yet, or a file that is not ours

    def find(self, path: str, number: int) -> Bookmark | None:
        """Return the bookmark at a record."""
        return next((one for one in self.all if one.path == path and one.number == number), None)

    def put(self, bookmark: Bookmark) -> None:
        """Add a bookmark, or put it in the place of the one that is there. Raises OSError."""
        self.all = [one for one in self.all if (one.path, one.number) != (bookmark.path, bookmark.number)]
        self.all.append(bookmark)
        del self.all[:-KEPT]
        self._save()

    def remove(self, bookmark: Bookmark) -> None:
        """Take a bookmark away. Raises OSError."""
        self.all.remove(bookmark)
        self._save()

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fields = ("path", "number", "slot", "at_ns", "text", "note")
        write_whole(self._path, json.dumps([{name: getattr(one, name) for name in fields} for one in self.all]))


async def toggle(screen: TraceScreen) -> None:
    """Set a bookmark at the chosen record, or take it away."""
    await _change(screen, lambda known, made: None if known is not None else made)


async def note(screen: TraceScreen) -> None:
    """Write a note to the chosen record; an empty one leaves the bookmark without note."""
    found = await _here(screen)
    if found is None:
        return
    known = found[1]
    text = await screen.bench.ask(
        Prompt("Note", "What is to be remembered at this record:", known.note if known else "")
    )
    if text is not None:
        await _change(screen, lambda known, made: Bookmark(**{**_values(made), "note": text.strip()}))


def _values(bookmark: Bookmark) -> dict[str, Any]:
    return {name: getattr(bookmark, name) for name in Bookmark.__slots__}


async def _here(screen: TraceScreen) -> tuple[Bookmark, Bookmark | None] | None:
    """Return a bookmark for the chosen record, and the one that is there."""
    row = screen.row
    if row is None:
        screen.notify("No record is chosen.", severity="warning")
        return None
    path = str(screen.model.index_of(row.anchor).path)
    made = Bookmark(path, row.anchor.n, row.slot, row.at_ns, row.text)
    known = (await screen.bench.context.watch.read(Bookmarks)).find(path, row.anchor.n)
    return made, known


async def _change(screen: TraceScreen, change: Callable[[Bookmark | None, Bookmark], Bookmark | None]) -> None:
    found = await _here(screen)
    if found is None:
        return
    made, known = found
    wanted = change(known, made)

    def write() -> None:
        kept = Bookmarks()
        if wanted is not None:
            kept.put(wanted)
        elif (old := kept.find(made.path, made.number)) is not None:
            kept.remove(old)

    try:
        await screen.bench.context.watch.read(write)
    except OSError as exc:
        screen.bench.problem(Trouble.of(exc))
        return
    row = screen.row
    if row is not None:
        if wanted is None:
            screen.log_view.signs.pop(row.anchor, None)
        else:
            screen.log_view.signs[row.anchor] = MARK
        screen.log_view.refresh()
    screen.notify("Bookmark taken away." if wanted is None else f"{MARK} Bookmark set: B lists them.", timeout=2)


async def choose(screen: TraceScreen) -> None:
    """List all bookmarks, and go to the one that is chosen."""
    kept = await screen.bench.context.watch.read(Bookmarks)
    bookmark = await screen.bench.ask(BookmarkList(kept.all[::-1]))
    if bookmark is None:
        return
    anchor = await screen.bench.context.watch.read(_anchor, screen, bookmark)
    if anchor is not None:
        screen.log_view.jump(anchor)
    else:
        screen.open(paths=[Path(bookmark.path)], at_ns=bookmark.at_ns)


def _anchor(screen: TraceScreen, bookmark: Bookmark) -> Anchor | None:
    """Return where a bookmark is among what is shown; None where its journal is not."""
    return screen.model.anchor_of(Path(bookmark.path), bookmark.number)


class BookmarkList(ModalScreen[Bookmark | None]):
    """The list; Enter goes there."""

    DEFAULT_CSS: ClassVar[str] = """
    BookmarkList { align: center middle; background: $background 60%; }
    BookmarkList > Vertical {
        width: 100; max-width: 94%; height: auto; max-height: 80%; padding: 0 1;
        background: $surface; border: round $primary; border-title-color: $text-primary; border-title-style: bold;
    }
    BookmarkList OptionList { height: auto; max-height: 100%; border: none; background: $surface; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,B", "close", "Close")]

    def __init__(self, found: list[Bookmark]) -> None:
        super().__init__()
        self._found = found

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical() as box:
            box.border_title = "Bookmarks"
            if not self._found:
                yield Static("None yet: b sets one at the chosen record, m writes a note to it.")
            else:
                yield OptionList(*(Option(_listed(one)) for one in self._found))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go there."""
        self.dismiss(self._found[event.option_index])

    def action_close(self) -> None:
        """Stay."""
        self.dismiss(None)


def _listed(bookmark: Bookmark) -> Content:
    when = time_of(bookmark.at_ns)[:19].replace("T", " ")
    parts: list[str | tuple[str, str]] = [
        (f"{when} ", "$foreground-muted"),
        (f"{bookmark.slot} ", "bold"),
        bookmark.note or bookmark.text,
    ]
    if bookmark.note:
        parts.append((f"  {bookmark.text}", "$foreground-muted"))
    return Content.assemble(*parts)
