"""What a scenario works with on one slot: the slot, its steps, its parameters, the profile to install."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from esim_bench import clock
from esim_bench.agents.secrecy import hide
from esim_bench.errors import BenchError
from esim_bench.events import MarkEvent
from esim_bench.rack.operator import Action, Operator, Question, SimulatedOperator
from esim_bench.rack.slot import Slot
from esim_bench.rack.source import ProfileOrder, ProfileSource
from esim_bench.scenario import marks
from esim_bench.scenario.asking import ASK_SECONDS, question_answered
from esim_bench.scenario.results import CheckFailed, Outcome, Skip, StepResult, outcome_of


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
        operator: Operator | None = None,
    ) -> None:
        """``secrets``: words that no detail of a step may tell, wherever they come from; ``operator``: who can be asked
        (a simulated slot has one of its own, unless it is given one)."""
        self.slot = slot
        self._operator = SimulatedOperator(slot.hardware) if slot.spec.simulated and operator is None else operator
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
            if self.slot.rig_trouble is not None:
                # Somebody took the error for the cut's effect: nothing that was seen since then tells of the device.
                raise self.slot.rig_trouble
        except StepFailed:
            raise
        except BaseException as exc:
            outcome = outcome_of(exc)
            detail = str(exc) if isinstance(exc, BenchError) else describe_crash(exc)
            trouble = self.slot.rig_trouble
            if trouble is not None and exc is not trouble and outcome is not Outcome.ABORTED:
                outcome, detail = outcome_of(trouble), f"{trouble}; then: {detail}"
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

    # -------------------------------------------------------------------------------------------------- operator

    def need_operator(self, action: Action = Action.OTHER) -> None:
        """Raise Skip where nobody is there who could do something."""
        if self._operator is None:
            raise Skip(
                "this needs an operator",
                expected="a person at a terminal",
                found="nobody",
                hint="run it at a terminal, without --unattended and not in CI",
            )
        if isinstance(self._operator, SimulatedOperator) and not self._operator.can(action):
            raise Skip("this simulated slot has no way to do it", expected="a slot with a hand", found=action.value)

    async def ask(
        self,
        text: str,
        *,
        until: Callable[[], Awaitable[bool]] | None = None,
        action: Action = Action.OTHER,
        seconds: float = ASK_SECONDS,
    ) -> None:
        """Have the operator do something, as a part of a step; question and answer are marks in the trace.

        ``until`` looks whether it is done: then no answer is needed, and "done" alone is not enough. Raises Skip (there
        is nobody, or he says so), Aborted, DeviceTimeout after ``seconds``, RigError when "done" is not seen.
        """
        self.need_operator(action)
        assert self._operator is not None
        self.mark(f"operator asked: {text}")
        # A person takes his time by the wall clock, however fast that of the slot runs.
        seconds *= clock.rate()
        said = await question_answered(self._operator, Question(self.slot.name, text, action), until, seconds)
        self.mark(f"operator: {said}")

    # ---------------------------------------------------------------------------------------------------- profile

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
