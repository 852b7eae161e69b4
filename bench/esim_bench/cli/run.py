"""``esim-bench run``: a scenario on slots, in parallel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from esim_bench.cli.common import (
    EXIT_ERROR,
    EXIT_FAIL,
    EXIT_INTERRUPTED,
    EXIT_MISTAKE,
    EXIT_PASS,
    AllowDestructiveOption,
    JsonOption,
    LiveOption,
    RackOption,
    TlsRootsOption,
    note,
    print_json,
    say,
    table,
)

SLOT_TIMEOUT = 86_400.0
"""Seconds; a day, as the engine has it by default."""


def run(
    scenario: Annotated[str, typer.Argument(help="Name of the scenario (see: scenario list).")],
    slot: Annotated[
        list[str] | None, typer.Option("--slot", help="Slot or pattern (A*); repeatable. Default: all.")
    ] = None,
    param: Annotated[list[str] | None, typer.Option("-p", metavar="KEY=VALUE", help="A parameter; repeatable.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of simulated racks: the same seed, the same traces.")] = 0,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, max=100_000, help="How many times, each with fresh cards.")
    ] = 1,
    cut: Annotated[str | None, typer.Option("--cut", help="Cut point, the same as -p cut=POINT.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write a JUnit report.")] = None,
    trace_dir: Annotated[
        Path | None, typer.Option("--trace-dir", help="Where the traces go. Default: the run's folder.")
    ] = None,
    tls_roots: TlsRootsOption = None,
    allow_destructive: AllowDestructiveOption = False,
    trace_secrets: Annotated[
        bool, typer.Option("--trace-secrets", help="Leave secrets in the traces of real slots (files of mode 0600).")
    ] = False,
    live: LiveOption = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, max=SLOT_TIMEOUT, help="Seconds after which a slot is given up.")
    ] = SLOT_TIMEOUT,
    unattended: Annotated[
        bool, typer.Option("--unattended", help="Ask nobody anything: steps that need an operator are SKIPPED.")
    ] = False,
    allow_skip: Annotated[bool, typer.Option("--allow-skip", help="All slots skipped is no mistake.")] = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Run a scenario on slots of the rack, in parallel."""
    from esim_bench.cli.live import live as live_lines
    from esim_bench.cli.signals import terminated_as_interrupted
    from esim_bench.rack.by_hand import is_foreign
    from esim_bench.rack.check import check
    from esim_bench.rack.model import load_rack
    from esim_bench.rack.operator import operator_at_terminal
    from esim_bench.rack.source import ProfileSource
    from esim_bench.scenario import engine, registry
    from esim_bench.scenario.interrupted import settle

    settle()
    chosen = registry.scenario(scenario)
    values = registry.parse_pairs(param or [])
    if cut is not None:
        values["cut"] = cut
    params = chosen.parse(values)
    bench_rack = load_rack(rack)
    options = engine.RunOptions(
        seed=seed,
        repeat=repeat,
        trace_dir=trace_dir,
        real_time=isinstance(params, ProfileSource) and is_foreign(params),
        tls_roots=tls_roots,
        allow_destructive=allow_destructive,
        trace_secrets=trace_secrets,
        on_record=live_lines(live),
        timeout=timeout,
        operator=operator_at_terminal(unattended=unattended),
        tell=lambda text: note(f"note: {text}"),
    )
    slots = bench_rack.select(slot or [])
    check(bench_rack, slots)
    for place in (junit.parent if junit is not None else None, trace_dir):
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
    with terminated_as_interrupted():
        result, _folder = engine.run_scenario(bench_rack, slots, chosen, params, options, progress(json))
    finish(result, junit, json=json)
    raise typer.Exit(exit_code(result, allow_skip=allow_skip))


def progress(quiet: bool) -> Callable[[str, str, str | None], None]:
    """Return what tells a person at a terminal of each step as it ends."""
    import sys

    if not sys.stderr.isatty():
        return lambda slot, step, outcome: None

    def tell(slot: str, step: str, outcome: str | None) -> None:
        if outcome is not None:
            note(f"  {slot:<8} {outcome:<8} {step}")

    return tell


def finish(result: object, junit: Path | None, *, json: bool) -> None:
    """Write a run's reports, print it."""
    from esim_bench.report.junit import junit as junit_report
    from esim_bench.scenario.results import RunResult

    assert isinstance(result, RunResult)
    document = result.document()
    if result.trouble:
        note(f"error: {result.trouble}")
    if junit is not None:
        junit.write_text(junit_report(document))
    if json:
        print_json(document)
    else:
        show(document)


def show(document: dict[str, object]) -> None:
    """Print a run for people: a line per step, a line per slot, where the traces are."""
    slots = document["slots"]
    assert isinstance(slots, list)
    table(
        ["slot", "form", "step", "outcome", "time", "detail"],
        [
            [
                one["slot"] if index == 0 else "",
                one["form_factor"] if index == 0 else "",
                step["name"],
                step["outcome"],
                f"{step['seconds']:.2f} s",
                step["detail"],
            ]
            for one in slots
            for index, step in enumerate(one["steps"])
        ],
    )
    say()
    table(
        ["slot", "form", "scenario", "outcome", "time", "APDUs", "trace"],
        [
            [
                one["slot"],
                one["form_factor"],
                one["scenario"],
                one["outcome"] or "running",
                f"{one['seconds']:.2f} s",
                one["apdus"],
                one["trace"] or "-",
            ]
            for one in slots
        ],
    )
    say()
    seed = f", seed {document['seed']}" if document["seed"] is not None else ""
    reason = f" ({document['reason']})" if document.get("reason") else ""
    say(f"run {document['run']}: {document['outcome'] or 'running'}{reason}{seed}")


def exit_code(result: object, *, allow_skip: bool) -> int:
    """Return the exit code of a run."""
    from esim_bench.scenario.results import Outcome, RunResult

    assert isinstance(result, RunResult)
    outcomes = [slot.outcome for slot in result.slots]
    if Outcome.ABORTED in outcomes:
        return EXIT_INTERRUPTED
    if not outcomes or (all(outcome is Outcome.SKIPPED for outcome in outcomes) and not allow_skip):
        return EXIT_MISTAKE
    if Outcome.ERROR in outcomes or result.trouble:
        return EXIT_ERROR
    if Outcome.FAIL in outcomes or Outcome.TIMEOUT in outcomes:
        return EXIT_FAIL
    return EXIT_PASS
