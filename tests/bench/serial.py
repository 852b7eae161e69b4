"""The AT driver over the kernel's tty: one long answer against a bare read, and 64 modems at once.

The other end of each pty is a process of its own, as a modem is: here one that answers from a table, there 64 simulated
modems on one loop.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import statistics
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esim_bench import data
from esim_bench.events import NullSink
from esim_drivers.at import AtModem, AtPort
from esim_drivers.at.serial_link import SerialLink
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.pty_host import PtyModem
from esim_drivers.sim.pty_watch import OpenWatch

CHARACTERS = 520
COMMAND = 'AT+CSIM=10,"00B0000000"'
MODEMS = 64
COMMANDS = 40
"""Of each modem."""
ROUNDS, TIMES = 25, 40

RESPONDER = """
import os, sys
answer = b'\\r\\n+CSIM: 520,"' + b"A5" * 260 + b'"\\r\\n\\r\\nOK\\r\\n'
line, fd = b"", int(sys.argv[1])
while data := os.read(fd, 4096):
    line += data
    while b"\\r" in line:
        command, _, line = line.partition(b"\\r")
        if command.startswith(b"AT+CSIM"):
            os.write(fd, answer)
        elif command.startswith(b"ATE1"):
            os.write(fd, command + b"\\r\\r\\nOK\\r\\n")
        else:
            os.write(fd, b"\\r\\nOK\\r\\n")
"""


@contextmanager
def responder() -> Iterator[str]:
    """Start a process that answers on a pty; give the path of its slave."""
    master, slave = os.openpty()
    tty.setraw(slave)
    process = subprocess.Popen([sys.executable, "-IS", "-c", RESPONDER, str(master)], pass_fds=(master,))
    try:
        yield os.ttyname(slave)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def long_answer() -> tuple[float, float]:
    """Time a command with a long answer; return (ours / select and os.read, ours in seconds), medians of rounds."""

    async def measure(ours: str, bare: str) -> tuple[float, float]:
        port = AtPort(SerialLink(ours), NullSink())
        fd = os.open(bare, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        request = COMMAND.encode() + b"\r"

        def floor() -> bytes:
            os.write(fd, request)
            answer = b""
            while not answer.endswith(b"\r\nOK\r\n"):
                select.select([fd], [], [])
                answer += os.read(fd, 4096)
            return answer

        ratios, taken = [], []
        line = (await port.command(COMMAND)).lines[0]
        assert line in floor().decode()
        assert len(line.split('"')[1]) == CHARACTERS
        for _ in range(ROUNDS):
            # One of each in turn: the machine's speed drifts within milliseconds.
            commands, floors = 0.0, 0.0
            for _ in range(TIMES):
                began = time.perf_counter()
                await port.command(COMMAND)
                middle = time.perf_counter()
                floor()
                commands += middle - began
                floors += time.perf_counter() - middle
            ratios.append(commands / floors)
            taken.append(commands / TIMES)
        os.close(fd)
        port.close()
        return statistics.median(ratios), statistics.median(taken)

    with responder() as ours, responder() as bare:
        return asyncio.run(measure(ours, bare))


class _Card:
    """A card that has nothing to say."""

    def power_on(self) -> bytes:
        return b"\x3b\x00"

    def reset(self) -> bytes:
        return b"\x3b\x00"

    def power_off(self) -> None:
        pass

    def transmit(self, command: bytes) -> tuple[bytes, float]:
        return bytes(100) + b"\x90\x00" if command[1] == 0xB0 else b"\x6d\x00", 0.0


def _imei(number: int) -> str:
    return f"35290611{number:07d}"


async def _serve(folder: Path, count: int) -> None:
    """Be so many modems, until nobody reads our standard output any more."""
    row = data.module("sim-generic")
    quick = row.at.model_copy(update={"answer_s": 0.0, "jitter_s": 0.0})
    dialect = row.model_copy(update={"at": quick})
    watch = OpenWatch()
    hosts = []
    for number in range(count):
        modem = SimModem(dialect, _Card(), rng=random.Random(number), imei=_imei(number))
        hosts.append(PtyModem(modem, folder / str(number), watch))
        hosts[-1].power_on()
        hosts[-1].skip(60)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    for host in hosts:
        host.close()


def many_modems(folder: Path, count: int = MODEMS, commands: int = COMMANDS) -> tuple[float, float, int]:
    """Speak to so many modems at once; return (commands per second, our share of one core, answers lost or wrong)."""
    code = (
        "import sys, asyncio, importlib; from pathlib import Path; sys.path.insert(0, '.');"
        f"serial = importlib.import_module('tests.bench.serial');"
        f"asyncio.run(serial._serve(Path({str(folder)!r}), {count}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return asyncio.run(_speak(folder, count, commands))
    finally:
        process.communicate("\n", timeout=20)


async def _speak(folder: Path, count: int, commands: int) -> tuple[float, float, int]:
    dialect = data.module("sim-generic")

    def modem(number: int) -> AtModem:
        return AtModem(lambda: SerialLink(str(folder / str(number))), dialect, NullSink())

    modems = [modem(number) for number in range(count)]
    lost = 0

    async def use(number: int) -> None:
        nonlocal lost
        expected: Any = ((_imei(number),), (f'+CSIM: {204},"{"00" * 100}9000"',))
        for turn in range(commands):
            line = ("AT+CGSN", 'AT+CSIM=10,"00B0000064"')[turn % 2]
            lost += (await modems[number].command(line)).lines != expected[turn % 2]

    await asyncio.gather(*(one.command("AT") for one in modems))
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(use, range(count)))
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    for one in modems:
        await one.close()
    return count * commands / wall, used / wall, lost
