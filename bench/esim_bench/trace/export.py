"""A trace in another form: text, JSON, CSV, or a pcapng file again. What leaves the bench is always masked."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import IO

from esim_bench.errors import ConfigError
from esim_bench.events import ApduEvent, SniffedApduEvent
from esim_bench.trace import show
from esim_bench.trace.decode import ApduDecoder
from esim_bench.trace.journal import Journal
from esim_bench.trace.mask import SecretMask
from esim_bench.trace.reader import Reader, Record


class Format(StrEnum):
    """The forms that a trace can be exported in."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    PCAPNG = "pcapng"


def masked(reader: Reader) -> Iterator[Record]:
    """Yield a trace's records with their secrets hidden, those that the writer hid included."""
    masks: dict[str, SecretMask] = {}
    decoders: dict[str, ApduDecoder] = {}
    for record in reader:
        event, spans = masks.setdefault(record.slot, SecretMask()).apply(record.event)
        meaning = decoders.setdefault(record.slot, ApduDecoder()).observe(event)
        comment = meaning.text if spans or isinstance(event, ApduEvent | SniffedApduEvent) else record.comment
        if (spans or record.masked) and "[masked]" not in comment:
            comment += " [masked]"
        yield replace(record, event=event, comment=comment, masked=tuple(sorted({*spans, *record.masked})))


def export_text(reader: Reader, out: IO[str]) -> None:
    """Write one line per record, bytes in full."""
    for record in masked(reader):
        out.write(show.line(record, full=True) + "\n")


def export_json(reader: Reader, out: IO[str]) -> None:
    """Write one JSON document: ``{"trace", "slots", "records": [...]}``; record by record, so any size will do."""
    head = json.dumps({"trace": reader.path.name, "slots": list(reader.slots)})
    out.write(head[:-1] + ', "records": [')
    for index, record in enumerate(masked(reader)):
        out.write(("," if index else "") + "\n" + json.dumps(show.document(record)))
    out.write("\n]}\n")


def export_csv(reader: Reader, out: IO[str]) -> None:
    """Write a table with a header line (RFC 4180)."""
    table = csv.writer(out)
    table.writerow(show.COLUMNS)
    for record in masked(reader):
        table.writerow(show.row(record))


def export_pcapng(reader: Reader, path: Path) -> None:
    """Write a fresh journal: masked, without a torn tail, foreign captures with our options. One slot only.

    Raises ConfigError when the trace holds several slots, RigError when the disk is full.
    """
    slots = list(dict.fromkeys(reader.slots))
    if len(slots) > 1:
        raise ConfigError("cannot export as pcapng", expected="a trace of one slot", found=", ".join(slots))
    with Journal.create(path, slot=(slots or [""])[0] or reader.path.stem) as journal:
        for record in masked(reader):
            journal.record(record.event, record.masked)


def export(source: str | os.PathLike[str], form: Format, target: str | os.PathLike[str]) -> int:
    """Export a trace file to another file, which appears whole or not at all; return the number of records.

    Raises ConfigError (no such trace, target is the trace itself or cannot be written).
    """
    path = Path(target)
    with Reader(source) as reader:
        if path.exists() and path.samefile(reader.path):
            raise ConfigError("cannot export a trace onto itself", where=str(path), hint="choose another file with -o")
        with _replacing(path) as part:
            if form is Format.PCAPNG:
                export_pcapng(reader, part)
            else:
                with part.open("w", encoding="utf-8", newline="" if form is Format.CSV else None) as out:
                    write(reader, form, out)
        return len(reader)


def write(reader: Reader, form: Format, out: IO[str]) -> None:
    """Write a trace to an open text file in one of the text forms."""
    {Format.TEXT: export_text, Format.JSON: export_json, Format.CSV: export_csv}[form](reader, out)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, and move the file to its place when all went well."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as exc:
        raise ConfigError("cannot write the export", where=str(path), found=exc.strerror) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
