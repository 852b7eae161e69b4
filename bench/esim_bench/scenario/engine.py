"""Runs a scenario on slots in parallel: one task per slot, a trace per slot, a result whatever happens."""

from __future__ import annotations

import asyncio
import datetime
import json
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

import esim_bench
from esim_bench import clock
from esim_bench.errors import BenchError
from esim_bench.events import MarkEvent, TeeSink
from esim_bench.rack.model import Rack, SlotSpec
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.state import SimState, save_state
from esim_bench.rack.world import World
from esim_bench.scenario.context import Bench, StepFailed, describe_crash
from esim_bench.scenario.registry import Scenario
from esim_bench.scenario.results import Outcome, RunResult, SlotResult, StepResult, outcome_of, worst
from esim_bench.store.home import runs_dir
from esim_bench.trace import Journal, SecretMask

T = TypeVar("T")

SLOT_TIMEOUT = 24 * 3600.0
"""Seconds after which a scenario on one slot is given up."""

OnStep = Callable[[str, str, str | None], None]
"""Told of each step: slot, step name, outcome (None when it begins)."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run: seed, repetitions, places for the traces and the run's folder."""

    seed: int = 0
    repeat: int = 1
    trace_dir: Path | None = None
    real_time: bool = False
    """Run simulated slots on the real clock, because something outside (a foreign server) takes part."""
    tls_roots: Path | None = None
    keep_state: bool = True
    """Remember simulated cards as the run leaves them, for commands by hand."""
    timeout: float = SLOT_TIMEOUT
    allow_destructive: bool = False
    """Lift the protection of protected slots."""
    trace_secrets: bool = False
    """Leave secrets in the traces of real slots, in files that only their owner may read."""


def run_scenario(
    rack: Rack,
    slots: Sequence[SlotSpec],
    scenario: Scenario,
    params: BaseModel,
    options: RunOptions,
    on_step: OnStep | None = None,
) -> tuple[RunResult, Path]:
    """Run a scenario on slots of a rack; return its result and its folder, where run.json lies.

    Problems of a slot are its outcome. Raises ConfigError for what no slot could be run with.
    """
    started = datetime.datetime.now(datetime.UTC)
    run_id = f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    folder = runs_dir() / run_id
    folder.mkdir(parents=True)
    trace_dir = options.trace_dir or folder
    trace_dir.mkdir(parents=True, exist_ok=True)
    result = RunResult(
        run=run_id,
        scenario=scenario.name,
        rack=rack.name,
        seed=options.seed if rack.simulated else None,
        started=started.isoformat(timespec="seconds"),
        params=_shown(params),
        version=esim_bench.__version__,
    )
    write_document(folder, result)
    # Each repetition is a whole run of its own: a fresh world from a seed of its own.
    for repetition in range(1, options.repeat + 1):
        world = World(rack, _seed(options.seed, repetition), tls_roots=options.tls_roots)
        job = _run_slots(world, slots, scenario, params, options, trace_dir, repetition, on_step or _silent, result)
        in_time(rack, options.real_time, job)
        write_document(folder, result)
        if result.outcome is Outcome.ABORTED:
            break
    return result, folder


def in_time(rack: Rack, real_time: bool, job: Coroutine[Any, Any, T]) -> T:
    """Run a job on the virtual loop where all slots are simulated, on a real one otherwise."""
    return clock.run_virtual(job) if rack.simulated and not real_time else clock.run_real(job)


async def _secrecy(world: World, spec: SlotSpec, params: BaseModel, options: RunOptions) -> dict[str, Any]:
    """Return how a journal treats secrets: raw on simulated slots (test keys), masked at writing on real ones."""
    if spec.simulated:
        return {}
    if options.trace_secrets:
        return {"private": True}
    words: list[str] = []
    if isinstance(params, ProfileSource):
        order = await world.order(params)
        words = [order.activation_code.matching_id, params.confirmation_code or ""]
    return {"mask": SecretMask(word for word in words if word)}


def write_document(folder: Path, result: RunResult) -> None:
    """Write run.json, replacing it at once."""
    new = folder / "run.json.new"
    new.write_text(json.dumps(result.document(), indent=2) + "\n")
    new.replace(folder / "run.json")


def _seed(seed: int, repetition: int) -> str:
    return str(seed) if repetition == 1 else f"{seed}.{repetition}"


def _silent(slot: str, step: str, outcome: str | None) -> None:
    pass


def _shown(params: BaseModel) -> dict[str, Any]:
    values = params.model_dump(mode="json", exclude_none=True)
    if values.get("confirmation_code"):
        values["confirmation_code"] = "***"
    return values


async def _run_slots(
    world: World,
    slots: Sequence[SlotSpec],
    scenario: Scenario,
    params: BaseModel,
    options: RunOptions,
    trace_dir: Path,
    repetition: int,
    on_step: OnStep,
    result: RunResult,
) -> None:
    if isinstance(params, ProfileSource):
        # An unreadable package is the operator's mistake: say so before any slot is touched.
        await world.order(params)
    results = [SlotResult(s.name, s.form_factor.value, scenario.name, repetition=repetition) for s in slots]
    result.slots.extend(results)
    try:
        async with asyncio.TaskGroup() as group:
            for spec, slot_result in zip(slots, results, strict=True):
                path = trace_dir / (f"{spec.name}.pcapng" if repetition == 1 else f"{spec.name}-{repetition}.pcapng")
                group.create_task(
                    _run_slot(world, spec, scenario, params, options, path, on_step, slot_result), name=spec.name
                )
    except asyncio.CancelledError:
        for slot_result in results:
            if slot_result.outcome is Outcome.SKIPPED:
                slot_result.outcome = Outcome.ABORTED


async def _run_slot(
    world: World,
    spec: SlotSpec,
    scenario: Scenario,
    params: BaseModel,
    options: RunOptions,
    path: Path,
    on_step: OnStep,
    result: SlotResult,
) -> None:
    journal = Journal.create(path, slot=spec.name, **await _secrecy(world, spec, params, options))
    result.trace = str(path)
    began = clock.now()
    bench: Bench | None = None
    slot: Slot | None = None
    try:
        journal.emit(
            MarkEvent(clock.wall_ns(), f"scenario {scenario.name} on {spec.form_factor.value} slot {spec.name}")
        )
        slot = open_slot(spec, world, TeeSink(journal), allow_destructive=options.allow_destructive)
        bench = Bench(slot, lambda step, outcome: on_step(spec.name, step, outcome))
        async with asyncio.timeout(options.timeout):
            await scenario.run(bench, params)
        result.outcome = worst(step.outcome for step in bench.steps)
    except StepFailed as exc:
        result.outcome = exc.outcome
    except asyncio.CancelledError:
        result.outcome = Outcome.ABORTED
        raise
    except Exception as exc:
        result.outcome = outcome_of(exc)
        detail = str(exc) if isinstance(exc, BenchError) else describe_crash(exc)
        result.steps.append(StepResult(scenario.name, result.outcome, clock.now() - began, detail))
    finally:
        result.seconds = clock.now() - began
        if bench is not None:
            result.steps[:0] = bench.steps
        if slot is not None:
            await slot.close()
            if options.keep_state and slot.hardware.snapshot is not None:
                save_state(world.rack, spec.name, SimState(world.seed, slot.hardware.snapshot()))
        journal.emit(MarkEvent(clock.wall_ns(), f"end of {scenario.name}: {result.outcome.value}"))
        journal.close()
        result.apdus = journal.apdus
