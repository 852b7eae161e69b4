"""Runs a scenario on slots in parallel: one task per slot, a trace per slot, a result whatever happens."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

import esim_bench
from esim_bench import clock
from esim_bench.agents.secrecy import hide
from esim_bench.errors import BenchError
from esim_bench.events import MarkEvent
from esim_bench.rack.model import Rack, SlotSpec
from esim_bench.rack.opening import open_for_work
from esim_bench.rack.operator import Hands, Operator, SimulatedOperator
from esim_bench.rack.record import run_bench, slot_bench
from esim_bench.rack.safe_state import within, yielding
from esim_bench.rack.slot import Slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.state import save_state
from esim_bench.rack.world import World
from esim_bench.scenario import marks
from esim_bench.scenario.context import Bench, StepFailed, describe_crash
from esim_bench.scenario.registry import Scenario
from esim_bench.scenario.results import Outcome, RunResult, SlotResult, StepResult, outcome_of, worst
from esim_bench.scenario.tracing import OnRecord, SlotTrace
from esim_bench.store import RunStore
from esim_bench.store.files import write_whole
from esim_bench.store.home import RUN_FILE, runs_dir, store_path
from esim_bench.trace import Journal, SecretMask

T = TypeVar("T")

SLOT_TIMEOUT = 24 * 3600.0
"""Seconds after which a scenario on one slot is given up."""

RECORD_SECONDS = 15.0
"""Longest that a device is asked who it is, where its scenario did not."""

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
    rate: float | None = None
    """Seconds of simulated slots in a real one, so that a person can look on and be asked; None: as fast as it goes."""
    tls_roots: Path | None = None
    keep_state: bool = True
    """Remember simulated cards as the run leaves them, for commands by hand."""
    timeout: float = SLOT_TIMEOUT
    allow_destructive: bool = False
    """Lift the protection of protected slots."""
    trace_secrets: bool = False
    """Leave secrets in the traces of real slots, in files that only their owner may read."""
    on_record: OnRecord | None = None
    """Told of each record of each trace after its write has returned."""
    operator: Operator | None = None
    """Who can be asked to do something at real slots; None: nobody is there."""
    note: str = ""
    """What others who want a slot read of this run."""
    tell: Callable[[str], None] = lambda text: None
    """Told of what an operator should know beside the results: a stale lock, a slot that was left without power."""
    on_begin: Callable[[str], None] = lambda run: None
    """Told of the run's id as soon as it is in the history."""


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
    trace_dir = options.trace_dir or folder
    result = RunResult(
        run=run_id,
        scenario=scenario.name,
        rack=rack.name,
        seed=options.seed if rack.simulated else None,
        started=started.isoformat(timespec="seconds"),
        params=_shown(params),
        version=esim_bench.__version__,
        bench=run_bench(rack),
        process={"pid": os.getpid(), "host": socket.gethostname(), "since_ns": time.time_ns()},
    )
    repetition = 1
    _plan(result, slots, trace_dir, repetition)
    store = RunStore(store_path())
    # First of all: whatever happens to this process from here on, the next one finds the run in the history.
    store.begin(result.document())
    try:
        options.on_begin(run_id)
        folder.mkdir(parents=True)
        trace_dir.mkdir(parents=True, exist_ok=True)
        write_document(folder, result)
        # Each repetition is a whole run of its own: a fresh world from a seed of its own.
        while True:
            world = World(rack, _seed(options.seed, repetition), tls_roots=options.tls_roots)
            planned = result.slots[-len(slots) :] if slots else []
            job = _run_slots(world, slots, scenario, params, options, planned, on_step or _silent, run_id)
            in_time(rack, options.real_time, job, options.rate)
            if repetition == options.repeat or result.outcome is Outcome.ABORTED:
                break
            repetition += 1
            _plan(result, slots, trace_dir, repetition)
            write_document(folder, result)
    except BaseException as exc:
        if isinstance(exc, BenchError | OSError) and not any(slot.began for slot in result.slots):
            # Nothing could be run: the error says all, and there is nothing to look back at.
            store.forget(run_id)
            _remove(folder)
            raise
        _finish(store, folder, result, exc)
        if not isinstance(exc, OSError):
            raise
        return result, folder  # no room for a document between two repetitions: what was done is still told
    finally:
        store.close()
    _finish(store, folder, result)
    return result, folder


def _plan(result: RunResult, slots: Sequence[SlotSpec], trace_dir: Path, repetition: int) -> None:
    """Add the slots of a repetition to a run, none of which has begun."""
    for spec in slots:
        name = f"{spec.name}.pcapng" if repetition == 1 else f"{spec.name}-{repetition}.pcapng"
        result.slots.append(
            SlotResult(
                spec.name,
                spec.form_factor.value,
                result.scenario,
                trace=str(trace_dir / name),
                repetition=repetition,
                bench=slot_bench(spec),
            )
        )


def _finish(store: RunStore, folder: Path, result: RunResult, cause: BaseException | None = None) -> None:
    """Keep how a run ended. Where that cannot be kept the run is an ERROR, and its result says so.

    ``cause`` ended it before its slots did.
    """
    result.process = None
    for slot in result.slots:
        if not slot.ended:
            slot.ended = True
            slot.outcome = Outcome.ABORTED if cause is None else outcome_of(cause)
            slot.trace = slot.trace if slot.began else None
    if isinstance(cause, Exception):
        result.trouble = _said(cause)
    try:
        write_document(folder, result)
        store.add(result.document())
    except (OSError, BenchError) as exc:
        result.trouble = f"the result could not be kept: {_said(exc)}"


def _remove(folder: Path) -> None:
    """Remove a folder that holds nothing but run.json."""
    with suppress(OSError):
        (folder / RUN_FILE).unlink(missing_ok=True)
        folder.rmdir()


def in_time(rack: Rack, real_time: bool, job: Coroutine[Any, Any, T], rate: float | None = None) -> T:
    """Run a job on the virtual loop where all slots are simulated, on a real one otherwise.

    ``rate``: of simulated slots that somebody looks at; their time then runs so many times as fast as the wall clock.
    """
    if not rack.simulated or real_time:
        return clock.run_real(job)
    return clock.run_virtual(job) if rate is None else clock.run_paced(job, rate)


async def _secrecy(world: World, spec: SlotSpec, params: BaseModel, options: RunOptions) -> dict[str, Any]:
    """Return how a journal treats secrets: raw on simulated slots (test keys), masked at writing on real ones."""
    if spec.simulated:
        return {}
    if options.trace_secrets:
        return {"private": True}
    return {"mask": await _mask(world, params)}


async def _live_mask(world: World, spec: SlotSpec, params: BaseModel, options: RunOptions) -> SecretMask | None:
    """Return what hides secrets from who watches a run: a terminal is no file of mode 0600."""
    return None if spec.simulated or options.on_record is None else await _mask(world, params)


async def _mask(world: World, params: BaseModel) -> SecretMask:
    return SecretMask(await _secrets(world, params))


async def _secrets(world: World, params: BaseModel) -> list[str]:
    """Return the words of a run's parameters that nobody is to read."""
    if not isinstance(params, ProfileSource):
        return []
    order = await world.order(params)
    return [word for word in (order.activation_code.matching_id, params.confirmation_code) if word]


def write_document(folder: Path, result: RunResult) -> None:
    """Write run.json, replacing it at once."""
    write_whole(folder / RUN_FILE, json.dumps(result.document(), indent=2) + "\n")


def _seed(seed: int, repetition: int) -> str:
    return str(seed) if repetition == 1 else f"{seed}.{repetition}"


def _silent(slot: str, step: str, outcome: str | None) -> None:
    pass


def _shown(params: BaseModel) -> dict[str, Any]:
    if isinstance(params, ProfileSource):
        return params.document()
    return params.model_dump(mode="json", exclude_none=True)


async def _run_slots(
    world: World,
    slots: Sequence[SlotSpec],
    scenario: Scenario,
    params: BaseModel,
    options: RunOptions,
    results: Sequence[SlotResult],
    on_step: OnStep,
    run_id: str,
) -> None:
    if isinstance(params, ProfileSource):
        # An unreadable package is the operator's mistake: say so before any slot is touched.
        await world.order(params)
    try:
        async with asyncio.TaskGroup() as group:
            for spec, result in zip(slots, results, strict=True):
                job = _run_slot(world, spec, scenario, params, options, on_step, result, run_id)
                group.create_task(job, name=spec.name)
    except asyncio.CancelledError:
        for result in results:
            if not result.ended:
                result.outcome, result.ended = Outcome.ABORTED, True


async def _run_slot(
    world: World,
    spec: SlotSpec,
    scenario: Scenario,
    params: BaseModel,
    options: RunOptions,
    on_step: OnStep,
    result: SlotResult,
    run_id: str,
) -> None:
    """Run the scenario on one slot. Whatever goes wrong there is its outcome, and nobody else's."""
    began = clock.now()
    result.began = True
    bench: Bench | None = None
    slot: Slot | None = None
    trace: SlotTrace | None = None
    extra: list[StepResult] = []
    words: list[str] = []
    given_up: asyncio.CancelledError | None = None

    def failed(exc: BaseException, name: str = scenario.name) -> None:
        outcome = outcome_of(exc)
        # What went wrong while tidying up never hides what went wrong before; a stuck device is seldom closed well.
        if result.outcome is not Outcome.TIMEOUT or name != "close":
            result.outcome = outcome if name == scenario.name else worst([result.outcome, outcome])
        extra.append(StepResult(name, outcome, clock.now() - began, hide(_said(exc), words)))

    try:
        assert result.trace is not None
        words += await _secrets(world, params)
        secrecy = await _secrecy(world, spec, params, options)
        journal = Journal.create(result.trace, slot=spec.name, **secrecy)
        trace = SlotTrace(journal, options.on_record, await _live_mask(world, spec, params, options))
        trace.emit(MarkEvent(clock.wall_ns(), marks.begun(scenario.name, spec.form_factor.value, spec.name)))
        slot = await open_for_work(
            *(spec, world, trace),
            allow_destructive=options.allow_destructive,
            run=run_id,
            note=options.note or scenario.name,
            tell=options.tell,
        )
        bench = Bench(
            slot,
            lambda step, outcome: on_step(spec.name, step, outcome),
            secrets=words,
            operator=_operator(slot, options),
        )
        async with asyncio.timeout(options.timeout) as scope:
            trace.on_failure = _stop(scope)
            if trace.failure is None:
                job = scenario.run(bench, params)
                # A driver may be deaf to its cancellation; simulated ones are not.
                await (job if spec.simulated else yielding(job))
        result.outcome = worst(step.outcome for step in bench.steps)
    except StepFailed as exc:
        result.outcome = exc.outcome
    except asyncio.CancelledError:
        result.outcome = Outcome.ABORTED
        raise
    except Exception as exc:
        if trace is None or trace.failure is None:
            failed(exc)
    finally:
        result.seconds = clock.now() - began
        try:
            if slot is not None:
                slot.timed_out = result.outcome is Outcome.TIMEOUT
                await _recorded(slot, result)
                await slot.close()
                if options.keep_state and slot.hardware.snapshot is not None:
                    save_state(world.rack, spec.name, slot.sim_state())
        except asyncio.CancelledError as exc:
            result.outcome, given_up = Outcome.ABORTED, exc
        except Exception as exc:
            failed(exc, "close")
        if trace is not None:
            trace.emit(MarkEvent(clock.wall_ns(), marks.ended(scenario.name, result.outcome)))
            if clock.is_virtual():
                trace.close()
            else:
                # The comments of a night's trace take a while, and the other slots must not wait for them.
                await asyncio.to_thread(trace.close)
            result.apdus = trace.apdus
            if trace.failure is not None:
                failed(trace.failure, "trace")
        result.steps = [*(bench.steps if bench is not None else ()), *extra]
        result.ended = True
        if given_up is not None:
            raise given_up


def _operator(slot: Slot, options: RunOptions) -> Operator | None:
    """Return who is asked at a slot: at a simulated one nobody but its own operator, unless somebody looks on."""
    if not slot.spec.simulated:
        return options.operator
    simulated = SimulatedOperator(slot.hardware)
    return simulated if options.rate is None or options.operator is None else Hands(options.operator, simulated)


async def _recorded(slot: Slot, result: SlotResult) -> None:
    """Keep who the device was. A simulated one is not asked: nothing may come into its trace behind the scenario."""
    if not slot.spec.simulated and slot.powered and not slot.timed_out and result.outcome is not Outcome.ABORTED:
        with suppress(Exception):
            await within(RECORD_SECONDS, slot.record.complete(slot), "no answer")
    result.device = slot.record.document()


def _stop(scope: asyncio.Timeout) -> Callable[[], None]:
    """Return what ends a scope at once, from whatever thread."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not scope.expired():
            scope.reschedule(loop.time())

    def stop_from_anywhere() -> None:
        loop.call_soon_threadsafe(stop)

    return stop_from_anywhere


def _said(exc: BaseException) -> str:
    if isinstance(exc, BenchError):
        return str(exc)
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror
    return describe_crash(exc)
