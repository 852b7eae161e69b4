"""The runs that were started from this screen, as their notices tell of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from esim_bench.desk.api import RunBegan, RunEnded, RunQuestion, RunRequest, RunStep

KEPT: Final = 50
"""Ended runs that stay at hand; all are in the history."""


@dataclass(slots=True)
class LiveStep:
    """One step on one slot."""

    slot: str
    step: str
    began: float
    """Of ``time.time``."""
    outcome: str | None = None
    ended: float | None = None


@dataclass(slots=True)
class LiveRun:
    """One run of this screen."""

    key: str
    request: RunRequest
    began: float
    run: str | None = None
    """Its id in the history, as soon as it has one."""
    steps: list[LiveStep] = field(default_factory=list)
    questions: dict[str, RunQuestion] = field(default_factory=dict)
    """By slot: what waits for an answer."""
    end: RunEnded | None = None
    ended: float | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        """Tell whether it goes on."""
        return self.end is None

    def step_of(self, slot: str) -> LiveStep | None:
        """Return the latest step of a slot."""
        return next((step for step in reversed(self.steps) if step.slot == slot), None)


class LiveRuns:
    """All of them, the newest last."""

    def __init__(self) -> None:
        self._runs: dict[str, LiveRun] = {}

    def __iter__(self) -> Iterator[LiveRun]:
        return iter([*self._runs.values()])

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, key: str) -> LiveRun | None:
        """Return a run by its key."""
        return self._runs.get(key)

    @property
    def running(self) -> list[LiveRun]:
        """Return those that go on."""
        return [run for run in self._runs.values() if run.running]

    def add(self, key: str, request: RunRequest) -> LiveRun:
        """Add a run that was asked for."""
        known = self._runs.get(key)
        if known is not None:
            # Its first notices were faster than the answer to who asked for it.
            known.request = request
            return known
        run = self._runs[key] = LiveRun(key, request, time.time())
        for old in [one.key for one in self._runs.values() if not one.running][: -KEPT or None]:
            del self._runs[old]
        return run

    def notice(self, notice: object) -> LiveRun | None:
        """Take a notice in; return the run that it tells of."""
        if not isinstance(notice, RunBegan | RunStep | RunQuestion | RunEnded):
            return None
        run = self._runs.get(notice.key) or self.add(notice.key, RunRequest(scenario="", slots=[]))
        now = time.time()
        match notice:
            case RunBegan():
                run.run = notice.run
            case RunStep(outcome=None):
                run.steps.append(LiveStep(notice.slot, notice.step, now))
            case RunStep():
                step = next(
                    (one for one in reversed(run.steps) if one.slot == notice.slot and one.outcome is None), None
                )
                if step is None:
                    step = LiveStep(notice.slot, notice.step, now)
                    run.steps.append(step)
                step.outcome, step.ended = notice.outcome, now
            case RunQuestion(text=None):
                run.questions.pop(notice.slot, None)
            case RunQuestion():
                run.questions[notice.slot] = notice
            case RunEnded():
                run.end, run.ended = notice, now
                run.run = notice.run or run.run
                run.questions.clear()
                run.over.set()
        return run
