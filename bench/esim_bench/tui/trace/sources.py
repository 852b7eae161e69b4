"""Where a trace comes from: the rack as it lives, slots, a run of the history, files; and the list to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from esim_bench.desk.api import Trouble
from esim_bench.errors import BenchError
from esim_bench.trace.index import TraceIndex
from esim_bench.tui.trace.model import LogModel

if TYPE_CHECKING:
    from esim_bench.desk.journals import JournalSource
    from esim_bench.desk.watch import Watch
    from esim_bench.rack.model import Rack

OF_RACK: Final = 2
"""Journals of each slot that a rack's trace begins with: there may be 64 slots, and each file takes two handles."""
OF_SLOT: Final = 16
"""The same for a slot's own trace."""


_OTHER_CLOCK: Final = 3_600_000_000_000
"""A journal whose first record is further than that from when it was made goes by another clock: virtual time."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a trace is of: slots (none: the whole rack), or journals by their paths."""

    slots: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    title: str = ""

    @property
    def name(self) -> str:
        """Return it as a person calls it."""
        if self.title:
            return self.title
        if self.paths:
            return self.paths[0].name if len(self.paths) == 1 else f"{len(self.paths)} files"
        if not self.slots:
            return "Whole rack"
        return f"Slot {self.slots[0]}" if len(self.slots) == 1 else f"Slots {', '.join(self.slots)}"

    @property
    def lives(self) -> bool:
        """Tell whether new journals belong to it."""
        return not self.paths


@dataclass(frozen=True, slots=True)
class Opened:
    """Journals that were opened."""

    paths: tuple[Path, ...]
    live: bool
    """Something may still be written to one of them."""
    slot_width: int
    """The longest name of a slot; 0 where there is but one slot."""
    troubles: tuple[Trouble, ...] = ()
    fresh: bool = True
    """There are other journals than before."""


def open_scope(
    watch: Watch, rack: Rack, scope: Scope, model: LogModel, known: Sequence[Path] = (), at_ns: int | None = None
) -> Opened:
    """Open what a scope means; ``known`` journals stay, and stay first. For the reader's thread."""
    sources = _sources(watch, rack, scope, at_ns)
    by_path = {source.path: source for source in sources}
    paths = [*known, *(path for path in scope.paths or by_path if path not in set(known))]
    before = dict(zip(known, model.indexes, strict=False))
    indexes: dict[Path, TraceIndex] = {}
    troubles: list[Trouble] = []
    for path in paths:
        try:
            index = watch.index(by_path.get(path, path))
        except (BenchError, OSError) as exc:
            if scope.paths or path.exists():
                troubles.append(Trouble.of(exc))
            # Else it was announced and is not there yet, or was tidied away: nobody asked for it by name.
            continue
        old = before.get(path)
        if old is not None and len(index) < len(old):
            # The journal was closed, and got its meanings in a new file: that has the same records, once it is read.
            index = old
        if len(index) or path in known or scope.paths:
            # One that has just been made is taken when its first record tells which clock it goes by.
            indexes[path] = index
    names = [index.slot for index in indexes.values()]
    opened = tuple(indexes)
    keep = bool(known) and opened[: len(known)] == tuple(known)
    shifts = _shifts([by_path.get(path) for path in opened], [*indexes.values()])
    if keep:
        # What is shown already stays where it is.
        shifts[: len(known)] = model.shifts
    fresh = model.open([*indexes.values()], names, shifts, keep=keep)
    width = max(map(len, names)) if len(set(names)) > 1 else 0
    live = scope.lives or any(source.live for source in sources)
    return Opened(opened, live, width, tuple(troubles), fresh)


@dataclass(slots=True)
class _Stay:
    """The journals of one run, or one by hand."""

    since: int
    first: int
    last: int
    slots: set[str]


def _shifts(sources: list[JournalSource | None], indexes: list[TraceIndex]) -> list[int]:
    """Return how much later the records of each journal were than their clock said: runs in virtual time.

    What was done on one slot was done one after another, also where more virtual time passed than real time.
    """
    stays: dict[str, _Stay] = {}
    keys = [source.run or str(source.path) if source is not None else "" for source in sources]
    for key, source, index in zip(keys, sources, indexes, strict=True):
        if source is None or not source.since_ns or not len(index):
            continue
        first, last = index.stamp(0), index.stamp(len(index) - 1)
        stay = stays.setdefault(key, _Stay(source.since_ns, first, last, set()))
        stay.since, stay.first = min(stay.since, source.since_ns), min(stay.first, first)
        stay.last = max(stay.last, last)
        stay.slots.add(source.slot)
    found: dict[str, int] = {}
    ends: dict[str, int] = {}
    for key, stay in sorted(stays.items(), key=lambda item: item[1].since):
        shift = 0
        if abs(stay.since - stay.first) > _OTHER_CLOCK:
            shift = max([stay.since, *(ends.get(slot, 0) + 1 for slot in stay.slots)]) - stay.first
        found[key] = shift
        ends |= dict.fromkeys(stay.slots, stay.last + shift)
    return [found.get(key, 0) for key in keys]


def _sources(watch: Watch, rack: Rack, scope: Scope, at_ns: int | None) -> list[JournalSource]:
    """Return the journals of a scope, the oldest first."""
    names = [slot.name for slot in rack.slots]
    if scope.paths:
        wanted = set(scope.paths)
        return [source for name in names for source in watch.sources(name) if source.path in wanted]
    slots = [name for name in names if name in scope.slots] or names
    most = OF_SLOT if len(slots) == 1 else OF_RACK
    sources: list[JournalSource] = []
    for slot in slots:
        of_slot = watch.sources(slot)
        first = max(0, len(of_slot) - most)
        if at_ns is not None and of_slot and at_ns > of_slot[0].since_ns:
            # The journal in which that moment is, and what came after it.
            before = [place for place, source in enumerate(of_slot) if source.since_ns <= at_ns]
            first = min(first, max(before, default=first))
        sources += of_slot[first : first + most] + tuple(one for one in of_slot[first + most :] if one.live)
    return sorted(sources, key=lambda source: (source.since_ns, source.slot))


@dataclass(frozen=True, slots=True)
class Choice:
    """A line of the list."""

    scope: Scope
    text: str
    note: str


def choices(watch: Watch, rack: Rack) -> list[Choice]:
    """Return what there is to choose from. For the reader's thread."""
    found = [Choice(Scope(), "Whole rack", f"{len(rack.slots)} slots, live")]
    found += [Choice(Scope((slot.name,)), f"Slot {slot.name}", "live") for slot in rack.slots]
    runs: dict[str, list[JournalSource]] = {}
    single: list[JournalSource] = []
    for slot in rack.slots:
        for source in watch.sources(slot.name):
            if source.run is not None:
                runs.setdefault(source.run, []).append(source)
            else:
                single.append(source)
    late = sorted(runs.items(), key=lambda item: -max(source.since_ns for source in item[1]))
    for run, sources in late:
        paths = tuple(source.path for source in sources)
        slots = ", ".join(sorted({source.slot for source in sources}))
        when = _when(min(source.since_ns for source in sources))
        found.append(Choice(Scope(paths=paths, title=f"Run {run}"), f"Run {run}", f"{when}  {slots}"))
    for source in sorted(single, key=lambda source: -source.since_ns):
        title = f"{source.slot} {source.origin}"
        found.append(Choice(Scope(paths=(source.path,), title=title), title, _when(source.since_ns)))
    return found


def _when(at_ns: int) -> str:
    try:
        return f"{datetime.fromtimestamp(at_ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"


class SourceDialog(ModalScreen[Scope | None]):
    """The list of what a trace can be of. What is typed narrows it; a path of a file can be typed too."""

    DEFAULT_CSS: ClassVar[str] = """
    SourceDialog { align: center middle; background: $background 60%; }
    SourceDialog > Vertical {
        width: 80; max-width: 94%; height: 80%; max-height: 36; padding: 0 1;
        background: $surface; border: round $primary; border-title-color: $text-primary; border-title-style: bold;
    }
    SourceDialog OptionList { height: 1fr; border: none; background: $surface; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
        Binding("down", "list(1)", show=False),
        Binding("up", "list(-1)", show=False),
    ]

    def __init__(self, found: list[Choice]) -> None:
        super().__init__()
        self._all = found
        self._shown = found

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical() as box:
            box.border_title = "Trace of"
            yield Input(placeholder="slot, run, date, or the path of a .pcapng file", id="wanted")
            yield OptionList(id="choices")

    def on_mount(self) -> None:
        """Show everything."""
        self._narrow("")
        self.query_one("#wanted").focus()

    def _narrow(self, text: str) -> None:
        words = text.lower().split()
        self._shown = [one for one in self._all if all(word in f"{one.text} {one.note}".lower() for word in words)]
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(
            [Option(Content.assemble(one.text, "  ", (one.note, "$foreground 60%"))) for one in self._shown[:500]]
        )
        if self._shown:
            listed.highlighted = 0

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._narrow(event.value.strip())

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        place = self.query_one(OptionList).highlighted
        if self._shown and place is not None:
            self.dismiss(self._shown[place].scope)
        elif text:
            self.dismiss(Scope(paths=(Path(text).expanduser(),)))

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index].scope)

    def action_list(self, rows: int) -> None:
        """Move in the list while the line has the focus."""
        listed = self.query_one(OptionList)
        if self._shown:
            listed.highlighted = max(0, min((listed.highlighted or 0) + rows, min(len(self._shown), 500) - 1))

    def action_cancel(self) -> None:
        """Leave the trace as it is."""
        self.dismiss(None)
