"""``esim-bench runs``: list, show."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from esim_bench.cli.common import JsonOption, app
from esim_bench.store.home import store_path
from esim_bench.store.runs import RunStore

cli = app("Look back at runs.")

_STYLES = {"PASS": "green", "FAIL": "red", "ERROR": "magenta", "TIMEOUT": "yellow", "ABORTED": "magenta"}


@cli.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the runs, the newest first."""
    runs = RunStore(store_path()).list(limit)
    if as_json:
        sys.stdout.write(json.dumps({"runs": runs}, indent=2) + "\n")
        return
    if not runs:
        typer.echo(f"no runs yet in {store_path()}", err=True)
        return
    table = Table(box=SIMPLE_HEAD)
    for column in ("run", "started", "scenario", "seed", "outcome", "slots"):
        table.add_column(column)
    for run in runs:
        slots = " ".join(f"{escape(slot['slot'])}:{styled(slot['outcome'])}" for slot in run["slots"])
        cells = (escape(str(run[key])) for key in ("run", "started", "scenario", "seed"))
        table.add_row(*cells, styled(run["outcome"]), slots)
    Console().print(table)


@cli.command()
def show(
    run: Annotated[str, typer.Argument(help="A run id, the beginning of one, or: latest.")],
    as_json: JsonOption = False,
) -> None:
    """Show one run: its slots, their steps, where the traces are."""
    document = RunStore(store_path()).get(run)
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    console = Console()
    head = [("run", document["run"]), ("outcome", document["outcome"])]
    head += [(key, document[key]) for key in ("scenario", "rack", "seed", "started", "version") if key in document]
    head += [("params", json.dumps(document["params"]))] if document.get("params") else []
    for key, value in head:
        console.print(f"{key:<9} {styled(str(value)) if key == 'outcome' else escape(str(value))}", soft_wrap=True)
    for slot in document.get("slots", []):
        show_slot(console, slot)


def show_slot(console: Console, slot: dict[str, Any]) -> None:
    """Print one slot's steps."""
    about = f"{slot.get('form_factor', '')}, {slot.get('scenario', '')}, {slot.get('apdus', 0)} APDUs"
    console.print(
        f"\n[bold]{escape(str(slot.get('slot')))}[/bold] ({escape(about)}): {styled(str(slot.get('outcome')))}"
        f" in {slot.get('seconds', 0):.3f} s",
        soft_wrap=True,
    )
    if slot.get("trace"):
        console.print(f"trace {escape(str(slot['trace']))}", soft_wrap=True, highlight=False)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("step")
    table.add_column("outcome")
    table.add_column("seconds", justify="right")
    table.add_column("detail", overflow="fold")
    for step in slot.get("steps", []):
        seconds = f"{step.get('seconds', 0):.3f}"
        detail = escape(str(step.get("detail", "")))
        table.add_row(escape(str(step.get("name"))), styled(str(step.get("outcome"))), seconds, detail)
    if slot.get("steps"):
        console.print(table)


def styled(outcome: str) -> str:
    """Return an outcome in its colour."""
    style = _STYLES.get(outcome, "dim")
    return f"[{style}]{escape(outcome)}[/{style}]"
