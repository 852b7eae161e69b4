"""``esim-bench runs``: list, matrix, show."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from esim_bench.cli.common import JsonOption, app, note, print_json, say, table

cli = app("Look back at runs.")


@cli.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 20,
    json: JsonOption = False,
) -> None:
    """List the runs, the newest first."""
    from esim_bench.scenario.interrupted import settle
    from esim_bench.store import RunStore
    from esim_bench.store.home import store_path

    settle()
    runs = RunStore(store_path()).list(limit)
    if json:
        print_json({"runs": runs})
    elif not runs:
        note(f"no runs yet in {store_path()}")
    else:
        table(
            ["run", "started", "scenario", "seed", "state", "outcome", "slots"],
            [
                [
                    *(run[key] for key in ("run", "started", "scenario", "seed", "state")),
                    run["outcome"] or "-",
                    " ".join(f"{slot['slot']}:{slot['outcome'] or '-'}" for slot in run["slots"]),
                ]
                for run in runs
            ],
        )


@cli.command("matrix")
def show_matrix(
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write an HTML page instead of printing a table.")
    ] = None,
    scenario: Annotated[
        list[str] | None, typer.Option("--scenario", help="Only this scenario; repeatable. Default: all.")
    ] = None,
    real: Annotated[bool, typer.Option("--real", help="Leave out what was simulated.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many runs, the newest. Default: all.")] = None,
    json: JsonOption = False,
) -> None:
    """Show which module got along with which eUICC: the outcomes of all runs, pair by pair."""
    from esim_bench.errors import ConfigError
    from esim_bench.report import matrix
    from esim_bench.scenario.interrupted import settle
    from esim_bench.store import RunStore
    from esim_bench.store.files import write_whole
    from esim_bench.store.home import store_path

    settle()
    store = RunStore(store_path())
    documents = (store.get(run["run"]) for run in store.list(limit))
    cells = [
        cell
        for cell in matrix.matrix(documents)
        if (not scenario or cell.scenario in scenario) and not (real and cell.simulated)
    ]
    if html is not None:
        try:
            write_whole(html, matrix.page(cells))
        except OSError as exc:
            raise ConfigError("cannot write the page", where=str(html), found=exc.strerror) from exc
    if json:
        print_json({"matrix": [cell.document() for cell in cells], "html": None if html is None else str(html)})
    elif html is not None:
        say(f"{html}: {len(cells)} pairs and scenarios")
    elif not cells:
        note(f"no runs of that kind in {store_path()}")
    else:
        table(matrix.HEAD, matrix.rows(cells))


@cli.command()
def show(
    run: Annotated[str, typer.Argument(help="A run id, the beginning of one, or: latest.")],
    json: JsonOption = False,
) -> None:
    """Show one run: its slots, their steps, where the traces are."""
    from esim_bench.cli import run as run_command
    from esim_bench.scenario.interrupted import settle
    from esim_bench.store import RunStore
    from esim_bench.store.home import store_path

    settle()
    document = RunStore(store_path()).get(run)
    if json:
        print_json(document)
        return
    for key in ("scenario", "rack", "started", "state", "version"):
        if key in document:
            say(f"{key:<9} {document[key]}")
    if document.get("params"):
        say(f"{'params':<9} {json_text.dumps(document['params'])}")
    if bench := document.get("bench"):
        libraries = bench.get("libraries") or {}
        words = [f"esim-bench {bench.get('esim-bench', '')}", *(f"{name} {text}" for name, text in libraries.items())]
        words += [bench[key] for key in ("host", "kernel") if key in bench]
        file = bench.get("rack_file") or {}
        say(f"{'bench':<9} {', '.join(words)}")
        say(f"{'rack file':<9} {file.get('name', '')} sha256 {file.get('sha256', '')[:16]}")
    say()
    run_command.show(document)
    _show_devices(document)


def _show_devices(document: dict[str, Any]) -> None:
    """Print who the devices were, as far as they told."""
    rows = []
    for one in document["slots"]:
        device, drivers = one.get("device") or {}, (one.get("bench") or {}).get("drivers") or {}
        if not device or one.get("repetition", 1) > 1:
            continue
        euicc, modem = device.get("euicc") or {}, device.get("modem") or {}
        rows.append(
            [
                one["slot"],
                device.get("eid", "-"),
                device.get("atr", "-"),
                ", ".join(f"{name} {text}" for name, text in euicc.items()) or "-",
                " ".join(modem.get(name, "") for name in ("manufacturer", "model", "revision", "imei")).strip() or "-",
                ", ".join(f"{part}: {name}" for part, name in drivers.items()),
            ]
        )
    if rows:
        say()
        table(["slot", "EID", "ATR", "eUICC", "modem", "drivers"], rows)
