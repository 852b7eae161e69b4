"""``esim-bench trace``: show, stats, export, diff."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast

import typer

from esim_bench.cli.common import JsonOption, app, table
from esim_bench.errors import ConfigError
from esim_bench.trace import show as rendering
from esim_bench.trace.diff import SIDES, Side
from esim_bench.trace.diff import diff as differences
from esim_bench.trace.export import Format, export, write
from esim_bench.trace.reader import Reader, Record
from esim_bench.trace.samples import Range, samples
from esim_bench.trace.stats import stats as statistics

cli = app("Look into traces: every APDU of a slot, with its meaning.")

File = Annotated[Path, typer.Argument(help="A trace (pcapng), or any pcap with GSMTAP SIM packets.")]


@cli.command()
def show(
    file: File,
    as_json: JsonOption = False,
    apdu_only: Annotated[bool, typer.Option("--apdu-only", help="Leave out all but the bench's own APDUs.")] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help=f"Only records of this kind: {', '.join(rendering.KINDS)}. May be repeated."),
    ] = None,
    first: Annotated[int, typer.Option("--from", min=1, metavar="N", help="Number of the first record.")] = 1,
    last: Annotated[int | None, typer.Option("--to", min=1, metavar="N", help="Number of the last record.")] = None,
    grep: Annotated[str | None, typer.Option(help="Only records with this text in hex or meaning.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Print long APDUs in full.")] = False,
) -> None:
    """Print the records of a trace: number, time, kind, bytes, meaning."""
    if last is not None and last < first:
        raise ConfigError("empty range of records", expected=f"--to of {first} or more", found=last)
    kinds = {"apdu"} if apdu_only else set(kind or rendering.KINDS)
    if unknown := sorted(kinds - set(rendering.KINDS)):
        raise ConfigError("no kind of records", expected=", ".join(rendering.KINDS), found=", ".join(unknown))
    with Reader(file) as reader, quiet_pipe():
        chosen = select(reader, first - 1, None if last is None else last - 1, kinds, grep)
        if as_json:
            head = json.dumps({"trace": str(file), "slots": list(reader.slots), "total": len(reader)})
            sys.stdout.write(head[:-1] + ', "records": [')
            for number, record in enumerate(chosen):
                sys.stdout.write(("," if number else "") + "\n" + json.dumps(rendering.document(record)))
            sys.stdout.write("\n]}\n")
        else:
            for record in chosen:
                sys.stdout.write(encodable(rendering.line(record, full=full)) + "\n")
        warn(reader)


@cli.command()
def stats(file: File, as_json: JsonOption = False) -> None:
    """Count the functions of a trace and say how long they took; what meters showed during each step."""
    with Reader(file) as reader, quiet_pipe():
        rows = statistics(reader)
        measured = samples(reader)
        if as_json:
            document = {
                "trace": str(file),
                "records": len(reader),
                "functions": [row.document() for row in rows],
                "samples": [one.document() for one in measured],
            }
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        else:
            table(
                ["function", "count", "unfinished", "total ms", "median ms"],
                [
                    [row.function, row.count, row.unfinished or "-", f"{row.total_ms:.1f}", f"{row.median_ms:.3f}"]
                    for row in rows
                ],
            )
            if measured:
                typer.echo()
                table(
                    ["meter", "step", "samples", "mA min", "avg", "max", "V min", "avg", "max"],
                    [
                        [one.source, one.step or "-", one.samples, *_values(one.amperes, 1000), *_values(one.volts)]
                        for one in measured
                    ],
                )
        warn(reader)


def _values(values: Range, factor: float = 1.0) -> list[str]:
    shown = values.document()
    return [f"{shown[key] * factor:.3f}" if shown else "-" for key in ("min", "avg", "max")]


@cli.command("export")
def export_command(
    file: File,
    form: Annotated[Format, typer.Option("--format", help="The form of the copy.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file to write; default: stdout.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a trace in another form. Secrets (PINs, AUTHENTICATE answers, matching ids) are always masked."""
    if output is None:
        if form is Format.PCAPNG or as_json:
            raise ConfigError("no file to write to", expected="-o FILE", hint="only text forms can go to stdout")
        with Reader(file) as reader, quiet_pipe():
            write(reader, form, sys.stdout)
            warn(reader)
        return
    count = export(file, form, output)
    if as_json:
        sys.stdout.write(json.dumps({"trace": str(file), "output": str(output), "records": count}) + "\n")
    else:
        typer.echo(f"{count} records to {output}", err=True)


@cli.command("diff")
def diff_command(
    file: File,
    other: File,
    left: Annotated[str, typer.Option(help="What of the first trace: apdu (the bench's own) or sniff.")] = "apdu",
    right: Annotated[str, typer.Option(help="What of the second trace: apdu or sniff.")] = "apdu",
    as_json: JsonOption = False,
) -> None:
    """Compare the exchanges of two traces, whenever they were. Exit code 1 where they differ."""
    if unknown := sorted({left, right} - set(SIDES)):
        raise ConfigError("nothing to compare", expected=" or ".join(SIDES), found=", ".join(unknown))
    with Reader(file) as one, Reader(other) as two, quiet_pipe():
        sides = cast(Side, left), cast(Side, right)
        found = differences(rendering.annotated(one), rendering.annotated(two), sides)
        if as_json:
            document = {"left": str(file), "right": str(other), "differences": [each.document() for each in found]}
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        else:
            for each in found:
                sys.stdout.write("".join(f"{encodable(line)}\n" for line in each.lines()))
        warn(one)
        warn(two)
    if found:
        raise typer.Exit(1)


def select(reader: Reader, first: int, last: int | None, kinds: Set[str], grep: str | None) -> Iterator[Record]:
    """Yield the records that were asked for."""
    wanted = grep.casefold() if grep else None
    for record in rendering.annotated(reader, first, last):
        if rendering.kind_of(record) not in kinds:
            continue
        if wanted and wanted not in f"{rendering.hex_of(record)} {record.comment}".casefold():
            continue
        yield record


def warn(reader: Reader) -> None:
    """Say on stderr what of the file could not be read."""
    if reader.damage is not None:
        typer.echo(f"{reader.path}: damaged: {reader.damage}; nothing after it was read", err=True)
    elif reader.torn:
        typer.echo(f"{reader.path}: {reader.torn} bytes of an unfinished record at the end", err=True)


def encodable(text: str) -> str:
    """Return text that the terminal's encoding can show."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def quiet_pipe() -> Iterator[None]:
    """End quietly when the reader of our output (``head``, a pager) has gone."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at exit, and must not fail there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
