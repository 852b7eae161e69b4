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
    NoAccessError,
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


class Aborted(BenchError):
    """The operator wants no more of it."""


def outcome_of(error: BaseException) -> Outcome:
    """Tell what an exception that ended a step means."""
    match error:
        case Skip():
            return Outcome.SKIPPED
        case Aborted():
            return Outcome.ABORTED
        case DeviceTimeout() | TimeoutError():
            return Outcome.TIMEOUT
        case ConfigError():
            return Outcome.ERROR
        case (
            CheckFailed()
            | CardStatusError()
            | NoAccessError()
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
    began: bool = False
    ended: bool = False
    device: dict[str, Any] = field(default_factory=dict)
    """What the device told of itself: EID, ATR, versions, the modem's identity."""
    bench: dict[str, Any] = field(default_factory=dict)
    """What it was reached by: drivers and their packages, names of the devices."""

    def document(self, *, running: bool = False) -> dict[str, Any]:
        """Return the slot's result as JSON values; while the run is running, None is the outcome of what has none."""
        return {
            "slot": self.slot,
            "form_factor": self.form_factor,
            "scenario": self.scenario,
            "outcome": self.outcome.value if self.ended or not running else None,
            "seconds": round(self.seconds, 6),
            "steps": [step.document() for step in self.steps],
            "trace": self.trace,
            "apdus": self.apdus,
            "repetition": self.repetition,
            "device": self.device,
            "bench": self.bench,
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
    bench: dict[str, Any] = field(default_factory=dict)
    """Our version, the rack file's digest; of real racks also host, kernel and libraries."""
    slots: list[SlotResult] = field(default_factory=list)
    process: dict[str, Any] | None = None
    """Who works on the run, while it is running: pid, host, since_ns."""
    trouble: str = ""
    """What of the bench itself went wrong beside the slots; makes the run an ERROR."""

    @property
    def running(self) -> bool:
        """Tell whether somebody still works on the run."""
        return self.process is not None

    @property
    def outcome(self) -> Outcome:
        """Return the worst outcome of all slots."""
        own = [Outcome.ERROR] if self.trouble else []
        return worst([*(slot.outcome for slot in self.slots), *own])

    def document(self) -> dict[str, Any]:
        """Return the run as JSON values. A running run has no outcome yet: None."""
        more: dict[str, Any] = {"reason": self.trouble} if self.trouble else {}
        if self.process is not None:
            more["process"] = self.process
        return {
            "run": self.run,
            "state": "running" if self.running else "finished",
            "outcome": None if self.running else self.outcome.value,
            "seed": self.seed,
            "scenario": self.scenario,
            "rack": self.rack,
            "started": self.started,
            "params": self.params,
            "version": self.version,
            "bench": self.bench,
            "slots": [slot.document(running=self.running) for slot in self.slots],
            **more,
        }
