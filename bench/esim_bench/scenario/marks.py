"""The marks that a run leaves in its traces, written and read: they tell of a run whose process died."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from esim_bench.scenario.results import Outcome

_OUTCOMES: Final = "|".join(outcome.value for outcome in Outcome)
_BEGIN: Final = re.compile(r"scenario (\S+) on \S+ slot \S+")
_STEP_END: Final = re.compile(f"step (.+?): ({_OUTCOMES})(?: (.*))?", re.DOTALL)
_STEP_BEGIN: Final = re.compile("step (.+)", re.DOTALL)
_END: Final = re.compile(f"end of (.+): ({_OUTCOMES})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ScenarioBegan:
    """A scenario began on a slot: nothing comes before it."""

    scenario: str


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A step began."""

    name: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step ended."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class ScenarioEnded:
    """All is done on a slot: nothing comes after it."""

    scenario: str
    outcome: Outcome


def begun(scenario: str, form_factor: str, slot: str) -> str:
    """Return the first mark of a slot."""
    return f"scenario {scenario} on {form_factor} slot {slot}"


def step_began(name: str) -> str:
    """Return the mark at the beginning of a step."""
    return f"step {name}"


def step_ended(name: str, outcome: Outcome, detail: str) -> str:
    """Return the mark at the end of a step."""
    return f"step {name}: {outcome.value}" + (f" {detail}" if detail else "")


def ended(scenario: str, outcome: Outcome) -> str:
    """Return the last mark of a slot."""
    return f"end of {scenario}: {outcome.value}"


def parse(text: str) -> ScenarioBegan | StepBegan | StepEnded | ScenarioEnded | None:
    """Read a mark; None for one that says something else."""
    if found := _STEP_END.fullmatch(text):
        return StepEnded(found[1], Outcome(found[2]), found[3] or "")
    if found := _STEP_BEGIN.fullmatch(text):
        return StepBegan(found[1])
    if found := _END.fullmatch(text):
        return ScenarioEnded(found[1], Outcome(found[2]))
    if found := _BEGIN.fullmatch(text):
        return ScenarioBegan(found[1])
    return None
