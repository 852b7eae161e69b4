"""``esim-bench demo``: the main job on the simulated rack, in one command."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from esim_bench.cli.common import JsonOption, RackOption, print_json, say, table

JOBS = ("provision", "switch", "power_cycle")


def demo(
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same traces.")] = 0,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Provision, switch and power-cycle a simulated rack of a 4FF, an MFF2 and an iSIM."""
    from esim_bench.cli.run import exit_code, progress
    from esim_bench.errors import ConfigError
    from esim_bench.rack.model import load_rack
    from esim_bench.scenario import engine, registry
    from esim_bench.scenario.results import worst
    from esim_bench.store import RunStore
    from esim_bench.store.home import store_path

    bench_rack = load_rack(rack)
    if not bench_rack.simulated:
        raise ConfigError(
            "the demo is for simulated racks", where=str(bench_rack.path), expected="sim tables in all slots"
        )
    results = []
    store = RunStore(store_path())
    try:
        for name in JOBS:
            chosen = registry.scenario(name)
            result, _folder = engine.run_scenario(
                bench_rack, bench_rack.select(), chosen, chosen.parse({}), engine.RunOptions(seed=seed), progress(json)
            )
            store.add(result.document())
            results.append(result)
    finally:
        store.close()
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
