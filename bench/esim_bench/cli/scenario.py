"""``esim-bench scenario``: what there is to run."""

from __future__ import annotations

from typing import Annotated

import typer

from esim_bench.cli.common import JsonOption, app, print_json, say, table

cli = app("Scenarios and their parameters.")


@cli.command("list")
def list_scenarios(json: JsonOption = False) -> None:
    """List the scenarios."""
    from esim_bench.scenario.registry import SCENARIOS

    if json:
        print_json([{"name": s.name, "summary": s.summary} for s in SCENARIOS.values()])
    else:
        table(["scenario", "does"], [[s.name, s.summary] for s in SCENARIOS.values()])


@cli.command("show")
def show_scenario(name: Annotated[str, typer.Argument(help="Name of the scenario.")], json: JsonOption = False) -> None:
    """Show a scenario and its parameters."""
    from esim_bench.scenario.registry import scenario

    chosen = scenario(name)
    if json:
        print_json(
            {
                "name": chosen.name,
                "summary": chosen.summary,
                "description": chosen.description,
                "parameters": chosen.parameters(),
            }
        )
        return
    say(f"{chosen.name}: {chosen.summary}\n\n{chosen.description}\n")
    table(
        ["parameter", "default", "meaning"],
        [[p["name"], p["default"] or "-", p["description"]] for p in chosen.parameters()],
    )
