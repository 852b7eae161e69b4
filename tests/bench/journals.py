"""Many journals of many records, made quickly; and a process that lets them grow at a given rate.

As a process: ``python -m tests.bench.journals FOLDER RATE SECONDS`` appends to the journals of FOLDER.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from esim_bench.events import ApduEvent, AtEvent, Event, MarkEvent, PowerAction, PowerEvent, RspEvent
from esim_bench.trace import Journal

BEGIN = 1_767_225_600_000_000_000
BETWEEN = 800_000
"""Nanoseconds from one record of a slot to the next."""
ROUND = 4096
"""Records after which a slot's life repeats itself, but for one that stands in the middle of all."""
RARE = 0x6F99
"""The status word of the one record."""
NEEDLE = "needle in the hay"

_INFO2 = bytes.fromhex("BF228181810301020203810302040482030102038303040506840D81010882040006D00083022A1885031B7F1D")


def life(number: int, at_ns: int) -> Event:
    """Return a slot's event by its number: provisioning and recovery over and over, as a fleet test shows them."""
    step = number % 64
    if step == 0:
        return PowerEvent(at_ns, PowerAction.OFF if number % 128 else PowerAction.ON, "usb-hub 1-1 port 2")
    if step == 1:
        return MarkEvent(at_ns, f"step {'verify' if number % 128 > 64 else 'download'}: begins")
    if step == 2:
        return AtEvent(at_ns, ">", "AT+CREG?")
    if step == 3:
        return AtEvent(at_ns, "<", "+CREG: 2,1")
    if step == 4:
        return AtEvent(at_ns, "<", "ERROR" if number % 1024 == 4 else "OK")
    if step == 5:
        url = "https://smdp.example/gsma/rsp2/es9plus/getBoundProfilePackage"
        return RspEvent(at_ns, url, b"{}", b'{"header":{}}', "200" if number % 2048 != 5 else "503", 42_000_000)
    if step < 16:
        return ApduEvent(at_ns, bytes.fromhex("00A4000402") + bytes((0x6F, step)), b"\x61\x1e", 4_000_000)
    if step < 20:
        return ApduEvent(at_ns, bytes.fromhex("81E2910003BF2200"), _INFO2 + b"\x90\x00", 9_000_000)
    if step == 20:
        return ApduEvent(at_ns, bytes.fromhex("81E2910003BF2D00"), bytes.fromhex("BF2D02A0009000"), 9_000_000)
    if step == 21 and number % 512 == 21:
        return ApduEvent(at_ns, bytes.fromhex("00A40004027FFF"), b"\x6a\x82", 3_000_000)
    block = (step - 21) & 0xFF
    last = 0x91 if step == 63 else 0x11
    head = bytes.fromhex("86820400") if block == 0 else b"\xa5\x5a\xa5\x5a"
    return ApduEvent(at_ns, bytes((0x81, 0xE2, last, block, 84)) + head + bytes(80), b"\x90\x00", 12_000_000)


def _bodies(folder: Path, slot: str) -> tuple[bytes, bytes, list[int], bytes]:
    """Return a journal's head, one round of its records, where their stamps stand, and the records that are unique."""
    path = folder / f"{slot}.body"
    journal = Journal.create(path, slot=slot)
    head = path.read_bytes()
    for number in range(ROUND):
        journal.emit(life(number, 0))
    whole = path.stat().st_size
    journal.emit(ApduEvent(0, bytes.fromhex("80F2000000"), RARE.to_bytes(2, "big"), 1))
    journal.emit(MarkEvent(0, NEEDLE))
    journal.close(comments=False)
    data = path.read_bytes()
    path.unlink()
    body = data[len(head) : whole]
    places, at = [], 0
    while at < len(body):
        places.append(at + 12)
        at += struct.unpack_from("<I", body, at + 4)[0]
    return head, body, places, data[whole:]


def make(folder: Path, slots: int, records: int) -> list[Path]:
    """Write the journals S01, S02, ... with ``records`` records together (whole rounds); return their paths.

    In the middle of the last one stand two that are nowhere else: the status word ``RARE``, the mark ``NEEDLE``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rounds = max(1, records // slots // ROUND)
    paths = []
    for number in range(1, slots + 1):
        head, body, places, unique = _bodies(folder, f"S{number:02}")
        stamps = struct.Struct("<II").pack_into
        path = folder / f"S{number:02}.pcapng"
        with path.open("wb") as out:
            out.write(head)
            for turn in range(rounds):
                piece = bytearray(body)
                begin = BEGIN + turn * ROUND * BETWEEN + number * 1009
                for row, place in enumerate(places):
                    at_ns = begin + row * BETWEEN
                    stamps(piece, place, at_ns >> 32, at_ns & 0xFFFFFFFF)
                out.write(piece)
                if number == slots and turn == rounds // 2:
                    at_ns = begin + ROUND * BETWEEN - BETWEEN // 2
                    piece = bytearray(unique)
                    second = struct.unpack_from("<I", piece, 4)[0]
                    for place in (12, second + 12):
                        stamps(piece, place, at_ns >> 32, at_ns & 0xFFFFFFFF)
                    out.write(piece)
        paths.append(path)
    return paths


def _appended(path: Path) -> Journal:
    """Open a journal to go on with it; what is in it is not looked at, as ``Journal.append`` does."""
    return Journal(os.open(path, os.O_WRONLY | os.O_APPEND), path, path.stem, None, path.stat().st_size)


def grow(paths: list[Path], rate: float, until: Callable[[], bool]) -> int:
    """Append to the journals at ``rate`` records a second together until it is enough; return how many."""
    journals = [_appended(path) for path in paths]
    began, done = time.monotonic(), 0
    while not until():
        due = int((time.monotonic() - began) * rate)
        for number in range(done, due):
            at_ns = time.time_ns()
            journals[number % len(journals)].emit(life(number // len(journals), at_ns))
        done = max(done, due)
        time.sleep(0.01)
    for journal in journals:
        journal.close(comments=False)
    return done


def main() -> int:
    """Let journals grow."""
    folder, rate, seconds = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    parent, end = os.getppid(), time.monotonic() + seconds
    written = grow(sorted(folder.glob("*.pcapng")), rate, lambda: time.monotonic() > end or os.getppid() != parent)
    sys.stdout.write(f"{written}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
