"""The journal: a pcapng file that takes every event of a slot, each in one unbuffered write.

A record that ``emit`` has returned from survives the death of the process. What an APDU means is worked out when the
journal is closed, not while a device waits: then each packet gets its meaning as its comment (``annotate``). A journal
whose process died has none, and its readers decode for themselves. The bytes depend on the events alone, so equal
events make equal files. The format: ``records`` (what our custom option holds), ``pcapng`` (blocks).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

from esim_bench.errors import ConfigError, RigError
from esim_bench.events import ApduEvent, Event, SniffedApduEvent
from esim_bench.trace import pcapng, records
from esim_bench.trace.annotate import annotate
from esim_bench.trace.decode import describe_event
from esim_bench.trace.mask import Mask
from esim_bench.trace.plain import PlainApdus
from esim_bench.trace.reader import Reader


class Journal:
    """Writes the trace of one slot; an ``EventSink``."""

    def __init__(self, descriptor: int, path: Path, slot: str, mask: Mask | None, size: int) -> None:
        """Take over an open file that ends after a whole block; use ``create`` or ``append``."""
        self.path = path
        self.slot = slot
        self.apdus = 0
        """The bench's own APDUs in the file: what a packet tool shows for ``gsm_sim``, without what was sniffed."""
        self.records = 0
        self._descriptor = descriptor
        self._size = size
        self._mask = mask
        self._sim = pcapng.PacketWriter(pcapng.TYPE_SIM)
        self._sniffed = pcapng.PacketWriter(pcapng.TYPE_SIM, pcapng.SNIFFED)
        self._log = pcapng.PacketWriter(pcapng.TYPE_LOG)
        self._plain = PlainApdus(self._sim).block

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        slot: str,
        comment: str | None = None,
        mask: Mask | None = None,
        private: bool = False,
    ) -> Journal:
        """Begin a new file; one of that name is replaced (who still reads the old one keeps it).

        ``comment`` is put into the section header, ``mask`` hides secrets before anything is written (None: raw bytes),
        ``private`` gives the file mode 0600. Raises ConfigError when the file cannot be made.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600 if private else 0o666)
        except OSError as exc:
            raise _unusable(path, exc) from None
        journal = cls(descriptor, path, slot, mask, 0)
        try:
            journal._write(pcapng.file_header(slot, comment))
        except RigError:
            journal.close(comments=False)
            raise
        return journal

    @classmethod
    def append(cls, path: str | os.PathLike[str], *, mask: Mask | None = None) -> Journal:
        """Go on with a file of ours; a torn record at its end (the process died in the write) is cut off.

        Raises ConfigError when the file is missing, is not ours or cannot be written.
        """
        path = Path(path)
        with Reader(path) as reader:
            if not reader.own or len(reader.slots) != 1:
                raise ConfigError(
                    "cannot append to this trace",
                    where=str(path),
                    expected="a trace of one slot, written by esim-bench",
                )
            if reader.damage is not None:
                raise ConfigError("cannot append to this trace", where=str(path), found=reader.damage)
            size = reader.whole
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                os.ftruncate(descriptor, size)
            except OSError as exc:
                raise _unusable(path, exc) from None
            journal = cls(descriptor, path, reader.slots[0], mask, size)
            journal.records, journal.apdus = len(reader), reader.apdus()
        return journal

    def emit(self, event: Event) -> None:
        """Write one record. Raises RigError when the file cannot take it; after ``close`` events are dropped."""
        if self._descriptor < 0:
            return  # a late result of a device that is being left
        if self._mask is not None:
            self.record(*self._mask.apply(event))
            return
        block = self._plain(event) if type(event) is ApduEvent else None
        if block is None:
            self.record(event, ())
            return
        self._write(block)
        self.apdus += 1
        self.records += 1

    def record(self, event: Event, spans: tuple[records.Span, ...]) -> None:
        """Write one record as it is; ``spans`` say what of it is masked already. Raises RigError."""
        comment = b""
        if isinstance(event, ApduEvent | SniffedApduEvent):
            packet = records.apdu_packet(event)
            if packet is not None and len(packet) <= pcapng.MAX_PAYLOAD:
                detail = records.apdu_detail(event, packet, spans)
                own = isinstance(event, ApduEvent)
                self._write((self._sim if own else self._sniffed).block(event.at_ns, packet, comment, detail))
                self.apdus += own
                self.records += 1
                return
            # Not an APDU at all (no header, no status word) or longer than a datagram: kept, but not shown as one.
            detail, subsystem = records.apdu_detail(event, None, spans), "apdu"
        else:
            detail, subsystem = records.detail(event, spans), records.SUBSYSTEMS[type(event)]
            comment = b"[masked]" if spans else b""
        payload = pcapng.log_payload(event.at_ns, subsystem, self.slot, describe_event(event))
        self._write(self._log.block(event.at_ns, payload, comment, detail))
        self.records += 1

    def close(self, *, comments: bool = True) -> None:
        """Close the file and give its packets their meanings as comments; a second time does nothing.

        That takes about 50 us for an APDU: on a real loop with long traces, call it in a thread.
        """
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
            if comments:
                annotate(self.path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._descriptor, data)
        except OSError as exc:
            raise RigError("cannot write the trace", where=str(self.path), found=exc.strerror) from None
        if written != len(data):
            # Half a record (the disk is full): take it back, so that the file stays whole.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise RigError("cannot write the trace: the disk is full", where=str(self.path))
        self._size += written


def _unusable(path: Path, exc: OSError) -> ConfigError:
    return ConfigError("cannot write the trace", where=str(path), found=exc.strerror or str(exc))
