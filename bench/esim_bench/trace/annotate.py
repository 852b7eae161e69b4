"""Gives the packets of a finished journal their meanings as comments, which packet tools show."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from esim_bench.errors import BenchError
from esim_bench.events import ApduEvent, SniffedApduEvent
from esim_bench.trace import pcapng
from esim_bench.trace.decode import ApduDecoder
from esim_bench.trace.reader import Reader

_MAX_COMMENT: Final = 4096
PART_SUFFIX: Final = ".part"


def annotate(path: str | os.PathLike[str]) -> bool:
    """Rewrite a journal with a comment at each APDU that has none; tell whether that was done.

    The file is replaced as a whole, so that its readers see the old one or the new one; the numbers of the records are
    the same in both. Comments are a convenience: where there is no room for them the journal stays as it is.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")
    try:
        with Reader(path) as reader:
            if not reader.own or reader.damage is not None:
                return False
            mode = path.stat().st_mode & 0o777
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as out:
                _copy(reader, out)
        part.replace(path)
    except (OSError, BenchError):
        return False
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return True


def _copy(reader: Reader, out: BinaryIO) -> None:
    decoders: dict[str, ApduDecoder] = {}
    done = 0
    for record in reader:
        start, end = reader.extent(record.index)
        if start > done:
            out.write(reader.raw(done, start))
        block = reader.raw(start, end)
        meaning = decoders.setdefault(record.slot, ApduDecoder()).observe(record.event)
        if isinstance(record.event, ApduEvent | SniffedApduEvent) and not record.comment:
            text = f"{meaning.text} [masked]" if record.masked else meaning.text
            block = pcapng.commented(block, text.encode("utf-8", "replace")[:_MAX_COMMENT])
        out.write(block)
        done = end
    out.write(reader.raw(done, reader.whole))
