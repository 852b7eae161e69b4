"""What the watching thread does at each look."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from esim_bench.desk import journals
from esim_bench.desk.api import (
    Busy,
    DeskLost,
    JournalOpened,
    Progress,
    RunBegan,
    RunEnded,
    RunQuestion,
    SlotTrouble,
    Trouble,
)
from esim_bench.desk.board import Board, SlotView
from esim_bench.desk.feed import Feed
from esim_bench.desk.journals import Indexes, Journals, JournalSource
from esim_bench.desk.lookout import Lookout, RunSeen
from esim_bench.desk.slot_state import SlotState
from esim_bench.errors import BenchError
from esim_bench.rack.device_store import rack_folder
from esim_bench.rack.model import Rack
from esim_bench.store.home import home

BUDGET_SECONDS: Final = 0.04
"""How long one look lets indexes grow."""
FEED_SECONDS: Final = 0.2
"""Between two looks at what the journals tell of the slots."""
HISTORY_SECONDS: Final = 0.25
FOLDER_SECONDS: Final = 2.0
FILES_SECONDS: Final = 1.0
RESTS_SECONDS: Final = 2.0
"""After a full disk."""
LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a journal of former times that is read at the start to know its slot's state."""
QUIET_NS: Final = 60_000_000_000
"""A journal by hand to which nobody has written for so long is not looked at at each look."""


_OfSlot: TypeAlias = Busy | Progress | SlotTrouble | JournalOpened | RunQuestion


@dataclass(slots=True)
class _Followed:
    """A journal whose records come onto the board."""

    source: JournalSource
    feed: Feed
    inode: int
    size: int = 0


class Watching:
    """Finds journals, follows those that tell of the present, and keeps the board."""

    def __init__(self, rack: Rack, board: Board, known: Journals, indexes: Indexes) -> None:
        self._board = board
        self._journals = known
        self._indexes = indexes
        self._slots = {spec.name: SlotState(spec) for spec in rack.slots}
        self._lookout = Lookout(rack.name, frozenset(self._slots))
        self._folder = home() / "by-hand" / rack_folder(rack)
        self._own: set[str] = set()
        """Runs of our own desk."""
        self._seen: dict[str, RunSeen] = {}
        self._followed: dict[Path, _Followed] = {}
        self._wanted: dict[Path, JournalSource] = {}
        """Journals that are to be followed as soon as they are there."""
        self._opened: dict[str, Path] = {}
        """The journals that our own desk writes to."""
        self._changed: set[str] = set()
        self._crash: Trouble | None = None
        self._history_trouble: Trouble | None = None
        self._disk_trouble: Trouble | None = None
        self._due = dict.fromkeys(("history", "folder", "files", "disk", "feed"), 0.0)
        self._begun = False
        self.behind = False
        """There is more to be indexed."""

    @property
    def live(self) -> bool:
        """Tell whether something happens that is worth many looks."""
        return any(one.source.live for one in self._followed.values()) or bool(self._wanted)

    def close(self) -> None:
        """Let the journals go."""
        self._followed.clear()

    # --------------------------------------------------------------------------------------------------------- notices

    def notice(self, notice: Any) -> None:
        """Take in what the desk told."""
        match notice:
            case RunBegan(run=run):
                self._own.add(run)
                self._due["history"] = 0.0
                self._seen.pop(run, None)
            case RunEnded():
                self._due["history"] = 0.0
            case DeskLost():
                for state in self._slots.values():
                    state.works(None)
                    self._changed.add(state.name)
            case Busy() | Progress() | SlotTrouble() | JournalOpened() | RunQuestion():
                state = self._slots.get(notice.slot)  # type: ignore[assignment]
                if state is not None:
                    self._slot_notice(state, notice)
                    self._changed.add(state.name)

    def _slot_notice(
        self, state: SlotState, notice: Busy | Progress | SlotTrouble | JournalOpened | RunQuestion
    ) -> None:
        match notice:
            case Busy():
                state.works(notice.what)
            case Progress():
                state.progress(notice.what, notice.done, notice.total)
            case RunQuestion():
                state.question = notice.text or ""
            case SlotTrouble():
                state.trouble = notice.trouble
            case JournalOpened():
                path = Path(notice.path)
                source = JournalSource(path, state.name, "by hand", None, time.time_ns(), live=True)
                for older in self._journals.of(state.name):
                    if older.origin == "by hand":
                        self._journals.end(older.path)
                self._journals.put([source])
                self._wanted[path] = source
                self._opened[state.name] = path

    # ------------------------------------------------------------------------------------------------------------ looks

    def look(self) -> None:
        """Look at everything whose time has come."""
        now = time.monotonic()
        if self._is_due("history", now, HISTORY_SECONDS):
            self._look_at_history()
        if self._is_due("folder", now, FOLDER_SECONDS):
            self._look_at_folder()
        if not self._begun:
            self._begun = True
            self._remember()
        self._follow_wanted()
        if self._is_due("files", now, FILES_SECONDS):
            self._look_at_files()
        if now >= self._due["disk"]:
            self._grow(now)
        if self._is_due("feed", now, FEED_SECONDS):
            self._feed()

    def _is_due(self, what: str, now: float, seconds: float) -> bool:
        if now < self._due[what]:
            return False
        self._due[what] = now + seconds
        return True

    def _look_at_history(self) -> None:
        trouble = None
        try:
            if self._lookout.look():
                self._changed.add("runs")
                self._take_runs()
            self._take_states()
        except (BenchError, OSError) as exc:
            trouble = Trouble.of(exc)
            if not trouble.hint:
                trouble = trouble.model_copy(update={"hint": "runs go on; what is shown of them here may be old"})
        if trouble != self._history_trouble:
            self._history_trouble = trouble
            self._say()

    def _take_runs(self) -> None:
        """Take in the runs that are others than before: their journals."""
        runs = {run.run: run for run in self._lookout.runs}
        for gone in self._seen.keys() - runs.keys():
            traces = [one.trace for one in self._seen.pop(gone).slots if one.trace is not None]
            self._journals.drop(path for path in traces if path not in self._followed)
        for run in runs.values():
            if self._seen.get(run.run) != run:
                self._seen[run.run] = run
                self._take_run(run)

    def _take_run(self, run: RunSeen) -> None:
        found = []
        for one in run.slots:
            state = self._slots[one.slot]
            if one.eid and not run.running:
                state.eid = one.eid
            if one.trace is None or not (run.running or one.trace.exists()):
                continue
            live = run.running and not one.outcome
            found.append(JournalSource(one.trace, one.slot, "run", run.run, run.started_ns + one.repetition, live))
        for source in found:
            known = self._journals.get(source.path)
            followed = self._followed.get(source.path)
            if followed is not None and followed.source.run != source.run:
                self._unfollow(source.path)  # an older run wrote to the same file
                self._indexes.forget(source.path)
                followed = None
            if followed is not None:
                followed.source = source
            elif known is None and (source.live or self._begun):
                self._wanted[source.path] = source
        self._journals.put(found)

    def _take_states(self) -> None:
        """Take in which run goes on at each slot, and how the last one ended."""
        if "runs" in self._changed:
            for name, state in self._slots.items():
                state.ended(self._lookout.last_on(name))
            self._changed |= self._slots.keys()
        running = [run for run in self._lookout.runs if run.running]
        alive = {run.run for run in running if self._lookout.alive(run.run)}
        current: dict[str, RunSeen] = {}
        for run in running:
            names = {one.slot for one in run.slots}
            if run.run in alive:
                current |= dict.fromkeys(names, run)
                continue
            for source in [one for name in names for one in self._journals.of(name) if one.run == run.run]:
                self._journals.end(source.path)
                self._wanted.pop(source.path, None)
            for name in names:
                self._slots[name].died(run)
                self._changed.add(name)
        for name, state in self._slots.items():
            found = current.get(name)
            if state.in_run(found, foreign=found is not None and found.run not in self._own):
                self._changed.add(name)
                if found is not None:
                    form_factor = self._board.slot(name).form_factor
                    state.expected = self._lookout.expected_steps(found.scenario, name, form_factor)

    def _look_at_folder(self) -> None:
        """Look for journals of work by hand, also that of other processes."""
        with suppress(OSError):
            found = journals.by_hand(self._folder, frozenset(self._slots))
            now = time.time_ns()
            fresh = []
            for source in found:
                with suppress(OSError):
                    known = self._journals.get(source.path)
                    if known is not None and known.live:
                        continue
                    written = source.path.stat().st_mtime_ns
                    live = now - written < QUIET_NS
                    if known is None or live:
                        fresh.append(replace(known or source, live=live))
                    if live and source.path not in self._followed:
                        self._wanted[source.path] = replace(known or source, live=True)
            self._journals.put(fresh)

    def _remember(self) -> None:
        """Find out of each slot's newest journal what its state was when it was last heard of."""
        for name in self._slots:
            newest: tuple[int, JournalSource] | None = None
            for source in self._journals.of(name):
                with suppress(OSError):
                    status = source.path.stat()
                    if status.st_size <= LARGEST and (newest is None or status.st_mtime_ns >= newest[0]):
                        newest = status.st_mtime_ns, source
            if newest is not None:
                self._wanted[newest[1].path] = newest[1]

    # -------------------------------------------------------------------------------------------------------- following

    def _follow_wanted(self) -> None:
        for path, source in list(self._wanted.items()):
            try:
                status = os.stat(path)
                if status.st_size == 0:
                    continue  # its writer has just made it
                feed = Feed(self._indexes.open(path), self._slots[source.slot].facts)
            except FileNotFoundError:
                if not source.live:
                    del self._wanted[path]
                continue
            except OSError as exc:
                self._blame(source, Trouble.of(exc))  # no room, no descriptor: that may pass
                continue
            except BenchError as exc:
                del self._wanted[path]
                self._blame(source, Trouble.of(exc))
                continue
            del self._wanted[path]
            self._followed[path] = _Followed(source, feed, status.st_ino, status.st_size)
            self._clear(source.slot)

    def _unfollow(self, path: Path) -> None:
        self._followed.pop(path, None)

    def _blame(self, source: JournalSource, trouble: Trouble) -> None:
        state = self._slots[source.slot]
        state.journal_trouble = trouble
        self._changed.add(source.slot)

    def _clear(self, slot: str) -> None:
        state = self._slots[slot]
        if state.journal_trouble is not None:
            state.journal_trouble = None
            self._changed.add(slot)

    def _look_at_files(self) -> None:
        """See whether the journals that are followed are still what they were."""
        now = time.time_ns()
        for path, followed in list(self._followed.items()):
            what = ""
            try:
                status = os.stat(path)
            except FileNotFoundError:
                what = "the journal is gone"
            except OSError as exc:
                what = exc.strerror or "the journal cannot be read"
            else:
                if status.st_ino != followed.inode:
                    # A journal that is closed gets its comments, in a new file: its writer is done with it.
                    self._indexes.forget(path)
                    self._journals.end(path)
                    followed.source = replace(followed.source, live=False)
                    continue
                if status.st_size < followed.size:
                    what = "the journal became shorter"
                followed.size = status.st_size
            source = followed.source
            if what:
                self._unfollow(path)
                self._indexes.forget(path)
                self._journals.drop([path])
                if source.live:
                    hint = "something beside the bench took it away; the next run or job begins a new one"
                    self._blame(source, Trouble(kind="RigError", what=what, where=str(path), hint=hint))
            elif source.origin == "by hand" and source.live and now - status.st_mtime_ns > QUIET_NS:
                if self._opened.get(source.slot) == path:
                    continue
                self._journals.end(path)
                followed.source = replace(source, live=False)

    def _grow(self, now: float) -> None:
        """Let the indexes grow."""
        self.behind, failed = self._indexes.advance(BUDGET_SECONDS)
        trouble = None
        if failed:
            path, exc = next(iter(failed.items()))
            self.behind = False
            self._due["disk"] = now + RESTS_SECONDS
            hint = (
                "make room in the folder for temporary files, or set TMPDIR to another one; it goes on by itself then"
            )
            told = Trouble.of(exc)
            trouble = told.model_copy(update={"where": told.where or str(path), "hint": hint})
        if trouble != self._disk_trouble:
            self._disk_trouble = trouble
            self._say()

    def _feed(self) -> None:
        """Read what is new and of interest."""
        now = time.time_ns()
        for path, followed in list(self._followed.items()):
            source = followed.source
            state = self._slots[source.slot]
            try:
                if followed.feed.take():
                    written = now if source.live else os.stat(path).st_mtime_ns
                    state.heard(followed.feed, path, written)
                    self._changed.add(source.slot)
                elif not source.live and not followed.feed.index.behind:
                    self._unfollow(path)
            except (BenchError, OSError) as exc:
                self._unfollow(path)
                self._blame(source, Trouble.of(exc))

    # ------------------------------------------------------------------------------------------------------- the board

    def crashed(self, trouble: Trouble | None) -> None:
        """Take in what went wrong with a look, or that nothing did."""
        if trouble != self._crash:
            self._crash = trouble
            self._say()

    def _say(self) -> None:
        self._board.trouble = self._crash or self._disk_trouble or self._history_trouble
        self._changed.add("board")

    def publish(self) -> set[str]:
        """Put what changed on the board; return it."""
        changed, self._changed = self._changed, set()
        news = changed - self._slots.keys()
        views: list[SlotView] = []
        for name in changed & self._slots.keys():
            view = self._slots[name].view()
            if view != self._board.slot(name):
                views.append(view)
                news.add(name)
        self._board.put(views)
        return news
