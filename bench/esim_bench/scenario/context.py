"""What a scenario works with on one slot: the slot, its steps, its parameters, the profile to install."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from esim_bench import clock
from esim_bench.agents.secrecy import hide
from esim_bench.errors import BenchError
from esim_bench.events import MarkEvent
from esim_bench.rack.slot import Slot
from esim_bench.rack.source import ProfileOrder, ProfileSource
from esim_bench.scenario import marks
from esim_bench.scenario.results import CheckFailed, Outcome, StepResult, outcome_of


class StepFailed(Exception):
    """A step ended otherwise than PASS; the scenario ends with it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome


@dataclass(slots=True)
class Step:
    """A step while it runs; ``detail`` is what a reader of the report wants to know of it."""

    name: str
    detail: str = ""


class Bench:
    """One slot, seen by a scenario."""

    def __init__(
        self,
        slot: Slot,
        on_step: Callable[[str, str | None], None] | None = None,
        *,
        secrets: Sequence[str] = (),
    ) -> None:
        """``secrets``: words that no detail of a step may tell, wherever they come from."""
        self.slot = slot
        self._secrets = secrets
        self.steps: list[StepResult] = []
        self._on_step = on_step or (lambda name, outcome: None)

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[Step]:
        """Run a step: its outcome and time are recorded, its begin and end are marks in the trace."""
        step = Step(name)
        self._on_step(name, None)
        self.mark(marks.step_began(name))
        began = clock.now()
        try:
            yield step
        except StepFailed:
            raise
        except BaseException as exc:
            outcome = outcome_of(exc)
            detail = str(exc) if isinstance(exc, BenchError) else describe_crash(exc)
            self._end(step, outcome, began, f"{step.detail}; {detail}" if step.detail else detail)
            if isinstance(exc, asyncio.CancelledError | KeyboardInterrupt | SystemExit | GeneratorExit):
                raise
            raise StepFailed(outcome) from exc
        self._end(step, Outcome.PASS, began, step.detail)

    def _end(self, step: Step, outcome: Outcome, began: float, detail: str) -> None:
        detail = hide(detail, self._secrets)
        self.steps.append(StepResult(step.name, outcome, clock.now() - began, detail))
        self.mark(marks.step_ended(step.name, outcome, detail))
        self._on_step(step.name, outcome.value)

    def mark(self, text: str) -> None:
        """Put a mark into the trace."""
        self.slot.sink.emit(MarkEvent(clock.wall_ns(), text))

    def check(self, what: str, *, expected: object, found: object) -> None:
        """Fail the step unless two values are equal."""
        if expected != found:
            raise CheckFailed(what, expected=expected, found=found)

    async def order(self, source: ProfileSource) -> ProfileOrder:
        """Have the profile to install ordered for this slot."""
        return await self.slot.world.order(source)


def describe_crash(exc: BaseException) -> str:
    """Say an unexpected exception in one line."""
    if isinstance(exc, asyncio.CancelledError):
        return "given up before its end"
    text = str(exc) or "no message"
    return f"unexpected {type(exc).__name__}: {text}"


def clean(values: dict[str, Any]) -> dict[str, Any]:
    """Return parameters without the ones that were not given."""
    return {key: value for key, value in values.items() if value is not None}
