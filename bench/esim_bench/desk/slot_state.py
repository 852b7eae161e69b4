"""What is known of one slot, put together from its journals, the history and the desk's notices."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from esim_bench.desk.api import Trouble
from esim_bench.desk.board import Activity, SlotView
from esim_bench.desk.feed import Facts, Feed
from esim_bench.desk.lookout import LastRun, RunSeen
from esim_bench.rack.model import SlotSpec

_DIED: Final = "the process of the run died before its end"


class SlotState:
    """One slot, for the watching thread alone; ``view`` is for everybody."""

    def __init__(self, spec: SlotSpec) -> None:
        self._base = SlotView.of(spec)
        self.name = spec.name
        self.facts = Facts(spec.simulated)
        self.eid = ""
        """Of the history, where no journal told it."""
        self.last: LastRun | None = None
        self.busy = ""
        self.question = ""
        self.trouble: Trouble | None = None
        """As the desk told it."""
        self.journal_trouble: Trouble | None = None
        self.feed: Feed | None = None
        """Of the journal that was heard of last."""
        self.journal: Path | None = None
        self.at_ns = 0
        self.expected = 0
        """Steps that the scenario had the last time."""
        self._run: RunSeen | None = None
        self._repetition = 0
        self._foreign = False
        self._died: Trouble | None = None
        self._progress: tuple[int, int] | None = None

    # ------------------------------------------------------------------------------------------------------------ runs

    def in_run(self, run: RunSeen | None, *, foreign: bool = False) -> bool:
        """Take in which run goes on here; tell whether that is another one than before, or its next repetition."""
        repetition = max((one.repetition for one in run.of(self.name)), default=1) if run is not None else 0
        before = (self._run.run if self._run is not None else "", self._repetition)
        self._run, self._repetition, self._foreign = run, repetition, foreign
        if run is None:
            self.question = ""
        if run is None or before == (run.run, repetition):
            return run is None and bool(before[0])
        facts = self.facts
        facts.scenario, facts.step, facts.steps_done, facts.outcome, facts.reason = run.scenario, "", 0, "", ""
        self._died = None
        return True

    def died(self, run: RunSeen) -> None:
        """Take it that a run's process is gone without having said how it ended."""
        if self.last is not None and (
            self.last.number > run.number or (self._died is not None and self.last.run == run.run)
        ):
            return
        facts = self.facts
        mine = self._run is not None and self._run.run == run.run
        if mine and facts.outcome:
            return  # it was done here
        step = facts.step if mine else ""
        reason = f"{_DIED}, at {step}" if step else _DIED
        self.last = LastRun(
            run.run, run.scenario, "ABORTED", time.time_ns() if mine else run.started_ns, reason, run.number
        )
        self._died = Trouble(
            kind="RigError",
            what=reason,
            where=f"run {run.run}",
            hint="its trace is kept (t shows it); the device may be in mid-work: cycle its power, then run it again",
        )

    def ended(self, last: LastRun | None) -> None:
        """Take in how the last run ended, as the history has it."""
        if last is None:
            return
        if self._died is not None and self.last is not None:
            if last.number < self.last.number:
                return  # the history does not know yet that the later one has died
            self._died = None
        if self.last is not None and self.last.run == last.run:
            last = replace(last, at_ns=self.last.at_ns or last.at_ns)
        self.last = last

    # ---------------------------------------------------------------------------------------------------- journals

    def heard(self, feed: Feed, path: Path, at_ns: int) -> None:
        """Take it that a journal told something new."""
        self.feed, self.journal = feed, path
        self.at_ns = max(self.at_ns, at_ns)
        facts, run = self.facts, self._run
        if run is not None and facts.outcome and (self.last is None or self.last.run != run.run):
            self.last = LastRun(run.run, run.scenario, facts.outcome, at_ns, facts.reason, run.number)

    # ------------------------------------------------------------------------------------------------------ by hand

    def works(self, what: str | None) -> None:
        """Take in what is done by hand."""
        self.busy = what or ""
        self._progress = None

    def progress(self, what: str, done: int, total: int) -> None:
        """Take in how far that is."""
        self.busy = what
        self._progress = (done, total) if total > 0 else None

    # ------------------------------------------------------------------------------------------------------- the view

    def view(self) -> SlotView:
        """Return what is known now."""
        facts, run = self.facts, self._run
        running = run is not None and not facts.outcome
        activity: Activity = "run" if running else "by hand" if self.busy else "idle"
        last = self.last
        shown = run if running else None
        progress = self._progress if activity == "by hand" else None
        if running and self.expected >= facts.steps_done > 0:
            progress = (facts.steps_done, self.expected)
        return replace(
            self._base,
            eid=facts.eid or self.eid,
            profiles=tuple(facts.profiles.values()),
            operator=facts.operator,
            registration=facts.registration,
            signal_dbm=facts.signal_dbm,
            power=facts.power,
            proof=facts.proof,
            activity=activity,
            doing=facts.step if running else self.busy,
            scenario=shown.scenario if shown is not None else last.scenario if last is not None else "",
            run=shown.run if shown is not None else last.run if last is not None else "",
            steps_done=facts.steps_done if running else 0,
            foreign=running and self._foreign,
            outcome=last.outcome if last is not None else "",
            outcome_at_ns=last.at_ns if last is not None else 0,
            reason=last.reason if last is not None else "",
            trouble=self.trouble or self._died or self.journal_trouble,
            journal=self.journal,
            apdus=self.feed.apdus if self.feed is not None else 0,
            errors=self.feed.errors if self.feed is not None else 0,
            at_ns=self.at_ns,
            progress=progress,
            question=self.question if running else "",
        )
