"""Outcomes, and what a run leaves behind: steps, slots, the whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from esim_bench.errors import (
    AgentError,
    BenchError,
    CardStatusError,
    CodecError,
    ConfigError,
    CryptoError,
    DeviceTimeout,
    ProtocolError,
    RspError,
)


class Outcome(Enum):
    """How something ended. Closed: there is no other way."""

    PASS = "PASS"
    FAIL = "FAIL"
    """The device (or the server it was sent to) is wrong."""
    ERROR = "ERROR"
    """The bench or the rig is wrong."""
    TIMEOUT = "TIMEOUT"
    ABORTED = "ABORTED"
    SKIPPED = "SKIPPED"


_SEVERITY = (Outcome.SKIPPED, Outcome.PASS, Outcome.FAIL, Outcome.TIMEOUT, Outcome.ERROR, Outcome.ABORTED)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome of a whole from its parts: the worst of them; SKIPPED when there are none."""
    return max(outcomes, key=_SEVERITY.index, default=Outcome.SKIPPED)


class CheckFailed(BenchError):
    """A scenario looked, and the device was not as it must be."""


class Skip(BenchError):
    """A scenario cannot be run on this slot: the message says what is missing."""


def outcome_of(error: BaseException) -> Outcome:
    """Tell what an exception that ended a step means."""
    match error:
        case Skip():
            return Outcome.SKIPPED
        case DeviceTimeout() | TimeoutError():
            return Outcome.TIMEOUT
        case ConfigError():
            return Outcome.ERROR
        case (
            CheckFailed()
            | CardStatusError()
            | ProtocolError()
            | RspError()
            | AgentError()
            | CryptoError()
            | CodecError()
        ):
            return Outcome.FAIL
        case Exception():
            return Outcome.ERROR
    return Outcome.ABORTED


@dataclass(slots=True)
class StepResult:
    """One step of a scenario on one slot."""

    name: str
    outcome: Outcome
    seconds: float
    detail: str = ""

    def document(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "seconds": round(self.seconds, 6),
            "detail": self.detail,
        }


@dataclass(slots=True)
class SlotResult:
    """A scenario on one slot."""

    slot: str
    form_factor: str
    scenario: str
    outcome: Outcome = Outcome.SKIPPED
    seconds: float = 0.0
    steps: list[StepResult] = field(default_factory=list)
    trace: str | None = None
    apdus: int = 0
    repetition: int = 1

    def document(self) -> dict[str, Any]:
        """Return the slot's result as JSON values."""
        return {
            "slot": self.slot,
            "form_factor": self.form_factor,
            "scenario": self.scenario,
            "outcome": self.outcome.value,
            "seconds": round(self.seconds, 6),
            "steps": [step.document() for step in self.steps],
            "trace": self.trace,
            "apdus": self.apdus,
            "repetition": self.repetition,
        }


@dataclass(slots=True)
class RunResult:
    """A scenario on some slots of a rack."""

    run: str
    scenario: str
    rack: str
    seed: int | None
    """None on racks whose randomness is the operating system's."""
    started: str
    params: dict[str, Any]
    version: str
    slots: list[SlotResult] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """Return the worst outcome of all slots."""
        return worst(slot.outcome for slot in self.slots)

    def document(self) -> dict[str, Any]:
        """Return the run as JSON values."""
        return {
            "run": self.run,
            "outcome": self.outcome.value,
            "seed": self.seed,
            "scenario": self.scenario,
            "rack": self.rack,
            "started": self.started,
            "params": self.params,
            "version": self.version,
            "slots": [slot.document() for slot in self.slots],
        }
