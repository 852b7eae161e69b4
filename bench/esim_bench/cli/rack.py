"""``esim-bench rack``: the slots and their state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from esim_bench.cli import rack_discover, rack_locks, rack_self_test
from esim_bench.cli.common import JsonOption, RackOption, app, print_json, say, table

cli = app("The rack: its slots, its file.")
for _command in (
    *(rack_discover.discover, rack_discover.init, rack_discover.doctor),
    *(rack_locks.locks, rack_locks.lock, rack_locks.unlock),
):
    cli.command()(_command)


@cli.command("list")
def list_slots(rack: RackOption = None, json: JsonOption = False) -> None:
    """List the slots of the rack and what is known of them."""
    from esim_bench.rack.check import describe
    from esim_bench.rack.model import load_rack

    loaded = load_rack(rack)
    rows = [describe(loaded, slot) for slot in loaded.slots]
    if json:
        print_json({"rack": loaded.name, "file": str(loaded.path), "slots": rows})
        return
    say(f"rack {loaded.name} ({loaded.path})\n")
    table(
        ["slot", "form", "module", "way to the card", "power", "protected", "state"],
        [
            [r["slot"], r["form_factor"], r["module"] or "-", r["card"], r["power"], r["protected"], r["state"]]
            for r in rows
        ],
    )


@cli.command("check")
def check_file(
    file: Annotated[Path | None, typer.Argument(help="Rack file. Default: the one that --rack would take.")] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Try the slots, with a known-good card: is it the rig or the device?")
    ] = False,
    slot: Annotated[
        list[str] | None, typer.Option("--slot", help="Self-test: slot or pattern (A*); repeatable. Default: all.")
    ] = None,
    cycles: Annotated[int, typer.Option("--cycles", min=1, max=1000, help="Self-test: power cycles of a slot.")] = 3,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Validate a rack file: every key, driver, module, profile and personality it names."""
    from esim_bench.rack.check import check
    from esim_bench.rack.model import load_rack

    loaded = load_rack(file if file is not None else rack)
    check(loaded)
    if self_test:
        rack_self_test.self_test(loaded, slot or [], cycles, json=json)
    if json:
        print_json({"rack": loaded.name, "file": str(loaded.path), "ok": True, "slots": len(loaded.slots)})
    else:
        say(f"{loaded.path}: good, {len(loaded.slots)} slots")
