"""What leaves the screen: a record to the clipboard, a trace to a file. Files are always masked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from esim_bench.desk.api import Trouble
from esim_bench.errors import BenchError
from esim_bench.trace import show
from esim_bench.trace.export import Format
from esim_bench.trace.export import export as export_file
from esim_bench.trace.mask import SecretMask
from esim_bench.trace.reader import Record
from esim_bench.tui.dialogs import Prompt

if TYPE_CHECKING:
    from esim_bench.tui.trace.screen import TraceScreen

_FORMS: Final = {".pcapng": Format.PCAPNG, ".json": Format.JSON, ".csv": Format.CSV, ".txt": Format.TEXT}


async def copy(screen: TraceScreen) -> None:
    """Copy the chosen record's line, its bytes in full, to the terminal's clipboard (OSC 52)."""
    row = screen.row
    if row is None:
        screen.notify("No record is chosen.", severity="warning")
        return
    try:
        text = await screen.bench.context.watch.read(_line, screen, row.anchor)
    except (BenchError, OSError) as exc:
        screen.bench.problem(Trouble.of(exc))
        return
    screen.app.copy_to_clipboard(text)
    screen.notify("Copied: the record, with its bytes.", timeout=2)


def _line(screen: TraceScreen, anchor: object) -> str:
    record: Record = screen.model.record(anchor)  # type: ignore[arg-type]
    event, spans = SecretMask().apply(record.event)
    comment = record.comment if not spans else f"{record.comment} [masked]"
    return show.line(Record(record.index, record.at_ns, event, comment, record.slot, record.masked), full=True)


async def export(screen: TraceScreen) -> None:
    """Write the journal of the chosen record to a file; the name's ending says in which form."""
    row = screen.row
    if row is None:
        screen.notify("No record is chosen: its journal is what is exported.", severity="warning")
        return
    source = screen.model.index_of(row.anchor).path
    ways = ", ".join(_FORMS)
    wanted = await screen.bench.ask(
        Prompt(
            f"Export the journal of {row.slot}",
            f"File to write; its ending says the form: {ways}. Secrets are masked.",
            f"{row.slot}-{show.time_of(row.at_ns)[:19].replace(':', '')}.txt",
        )
    )
    if not wanted or not wanted.strip():
        return
    target = await asyncio.to_thread(Path(wanted.strip()).expanduser)
    form = _FORMS.get(target.suffix.lower())
    if form is None:
        screen.bench.problem(
            Trouble(
                kind="ConfigError",
                what="cannot export",
                expected=f"a name that ends with one of {ways}",
                found=target.name,
            )
        )
        return
    if await asyncio.to_thread(target.exists):
        screen.bench.problem(
            Trouble(kind="ConfigError", what="the file exists", where=str(target), hint="choose another name")
        )
        return
    screen.notify(f"Writing {target} …", timeout=2, markup=False)
    try:
        # A thread of its own: a long journal must not keep the log from being read meanwhile.
        count = await asyncio.to_thread(export_file, source, form, target)
    except (BenchError, OSError) as exc:
        screen.bench.problem(Trouble.of(exc))
        return
    screen.notify(f"{count:,} records written to {target}", title="Exported", markup=False)
