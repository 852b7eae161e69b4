"""``esim-bench demo``: the main job on the simulated rack, in one command."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from esim_bench.cli.common import JsonOption, LiveOption, RackOption, note, print_json, say, table

JOBS = ("provision", "switch", "power_cycle")


def demo(
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same traces.")] = 0,
    live: LiveOption = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Provision, switch and power-cycle a simulated rack of a 4FF, an MFF2 and an iSIM."""
    from esim_bench.cli.live import live as live_lines
    from esim_bench.cli.run import exit_code, progress
    from esim_bench.cli.signals import terminated_as_interrupted
    from esim_bench.errors import ConfigError
    from esim_bench.rack.model import load_rack
    from esim_bench.scenario import engine, registry
    from esim_bench.scenario.interrupted import settle
    from esim_bench.scenario.results import Outcome, worst

    settle()
    bench_rack = load_rack(rack)
    if not bench_rack.simulated:
        raise ConfigError(
            "the demo is for simulated racks", where=str(bench_rack.path), expected="sim tables in all slots"
        )
    results = []
    options = engine.RunOptions(seed=seed, on_record=live_lines(live))
    with terminated_as_interrupted():
        for name in JOBS:
            chosen = registry.scenario(name)
            result, _folder = engine.run_scenario(
                bench_rack, bench_rack.select(), chosen, chosen.parse({}), options, progress(json)
            )
            results.append(result)
            if result.trouble:
                note(f"error: {result.trouble}")
            if result.outcome is Outcome.ABORTED:
                break
    if json:
        outcome = worst(result.outcome for result in results)
        print_json({"outcome": outcome.value, "runs": [result.document() for result in results]})
    else:
        _show([result.document() for result in results])
    raise typer.Exit(max(exit_code(result, allow_skip=False) for result in results))


def _show(documents: list[dict[str, Any]]) -> None:
    rows = []
    for document in documents:
        for slot in document["slots"]:
            failed = next((step for step in slot["steps"] if step["outcome"] != "PASS"), None)
            what = f"{failed['name']}: {failed['detail']}" if failed else f"{len(slot['steps'])} steps"
            rows.append(
                [
                    slot["slot"],
                    slot["form_factor"],
                    slot["scenario"],
                    slot["outcome"],
                    f"{slot['seconds']:.1f} s",
                    slot["apdus"],
                    what,
                ]
            )
    table(["slot", "form", "scenario", "outcome", "card time", "APDUs", "what"], rows)
    say()
    for document in documents:
        say(f"run {document['run']}  {document['scenario']}: {document['outcome']}")
        for slot in document["slots"]:
            say(f"  trace {slot['trace']}")
    say()
    say("Wireshark opens the traces. Next: esim-bench trace show TRACE, esim-bench runs list")
