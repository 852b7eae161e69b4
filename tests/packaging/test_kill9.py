"""``run`` killed with -9 at random moments: nothing acknowledged is lost, and nobody takes the run for done."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esim_bench.cli.main import invoke
from esim_bench.rack.model import load_rack
from esim_bench.rack.state import load_state
from esim_bench.trace import Reader

COMMAND = [sys.executable, "-c", "from esim_bench.cli.main import main; main()"]
ARGUMENTS = ["run", "provision", "--live", "--json"]
SLOTS = ["A1", "B1", "C1"]
FORKED, REAL = 96, 6

# A process that has loaded everything and makes a run of each line it reads: a fork, whose stderr is the line's pipe.
WARM = """
import os, sys
from esim_bench.cli.main import invoke
from esim_bench.rack.model import load_rack
invoke(["run", "provision", "--json"])
os.write(1, b"ready\\n")
for line in sys.stdin:
    place, *slots = line.split()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        with open(place, "wb", buffering=0) as pipe:
            os.dup2(pipe.fileno(), 2)
        os.close(1)
        os.open(os.devnull, os.O_WRONLY)
        os._exit(invoke([*%r, *(word for slot in slots for word in ("--slot", slot))]))
    os.write(1, b"%%d\\n" %% child)
    sys.stdin.readline()  # only now: a number that was waited for may be given to another process
    _, status = os.waitpid(child, 0)
    os.write(1, b"%%d\\n" %% os.waitstatus_to_exitcode(status))
""" % (ARGUMENTS,)  # noqa: UP031


class Watched:
    """What a run prints while it lives; ``until`` waits for lines or time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.text = b""
        self.open = True

    def until(self, lines: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.open and self.text.count(b"\n") < lines:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                return
            self._read()

    def drain(self) -> None:
        while self.open:
            self._read()
        os.close(self._descriptor)

    def _read(self) -> None:
        data = os.read(self._descriptor, 65536)
        self.text += data
        self.open = bool(data)

    def printed(self) -> dict[str, int]:
        """Return the highest number printed of each slot; a torn last line was not printed."""
        whole = self.text[: self.text.rfind(b"\n") + 1].decode().splitlines()
        numbers: dict[str, int] = {}
        for line in whole:
            slot, number, *_ = line.split()
            assert int(number) == numbers.get(slot, 0) + 1, line
            numbers[slot] = int(number)
        return numbers


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*arguments: str) -> Any:
        capsys.readouterr()
        assert invoke([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def examine(document: Any, summary: Any, printed: dict[str, int], bench: Callable[..., Any], slots: list[str]) -> None:
    """Hold what the next start finds of a killed run against what the run had printed."""
    folder = Path(os.environ["ESIM_BENCH_HOME"]) / "runs" / document["run"]
    assert (summary["state"], summary["outcome"]) == ("interrupted", "ABORTED")
    assert document["reason"].startswith("interrupted")
    assert [slot["slot"] for slot in document["slots"]] == slots
    if folder.exists():
        assert json.loads((folder / "run.json").read_text()) == document
        assert {path.name for path in folder.iterdir()} <= {"run.json", *(f"{slot}.pcapng" for slot in SLOTS)}
    for slot in document["slots"]:
        if slot["trace"] is None:
            assert slot["slot"] not in printed
            continue
        with Reader(slot["trace"]) as reader:
            assert reader.damage is None
            assert len(reader) >= printed.get(slot["slot"], 0)
            assert slot["apdus"] == reader.apdus()
            numbers = [record.index for record in reader]
        assert numbers == list(range(len(numbers)))
    rack = load_rack(None)
    for name in SLOTS:
        assert load_state(rack, name) is not None  # from the run before: the old one or the new one, whole
    home = Path(os.environ["ESIM_BENCH_HOME"])
    assert [path for path in home.rglob("*") if path.suffix in (".new", ".part", ".lock")] == []
    opened = next((slot["trace"] for slot in document["slots"] if slot["trace"]), None)
    if opened is not None:
        shown = bench("trace", "show", opened)
        assert shown["total"] == len(shown["records"])
        bench("trace", "stats", opened)


@pytest.fixture
def warm() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    text = b""
    while not text.endswith(b"ready\n"):
        data = process.stdout.read(65536)
        assert data
        text += data
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.stdout.close()
    assert process.wait(30) == 0


def moment(lines: int, seconds: float, rng: random.Random) -> tuple[int, float, float]:
    """A random moment: after so many lines or seconds, and a little later."""
    later = rng.random() * 0.003
    if rng.random() < 0.5:
        return rng.randrange(lines), 60.0, later
    return 10**9, rng.random() * seconds, later


def test_a_hundred_runs_killed_at_random_moments(
    warm: subprocess.Popen[bytes], bench: Callable[..., Any], tmp_path: Path
) -> None:
    rng = random.Random("kill")
    whole = bench("runs", "list")["runs"]
    assert [run["state"] for run in whole] == ["finished"]
    assert warm.stdin is not None
    assert warm.stdout is not None
    killed = 0

    def one(slots: list[str], lines: int, seconds: float, later: float) -> tuple[int, float]:
        nonlocal killed
        before = {run["run"] for run in bench("runs", "list", "--limit", "1000")["runs"]}
        fifo = tmp_path / "live"
        os.mkfifo(fifo)
        warm.stdin.write(f"{fifo} {' '.join(slots)}\n".encode())
        watched = Watched(os.open(fifo, os.O_RDONLY))
        fifo.unlink()
        pid = int(warm.stdout.readline())
        began = time.monotonic()
        watched.until(lines, seconds)
        time.sleep(later)
        os.killpg(pid, signal.SIGKILL)
        warm.stdin.write(b"killed\n")
        watched.drain()
        took = time.monotonic() - began
        code = int(warm.stdout.readline())
        killed += code == -signal.SIGKILL
        check(before, code, watched.printed(), bench, slots)
        return sum(watched.printed().values()), took

    for slots, count in ((SLOTS, FORKED // 4), (["A1"], FORKED // 2), (["C1"], FORKED // 4)):
        lines, seconds = one(slots, 10**9, 60.0, 0.0)  # how much there is to kill: one run to its end
        for _ in range(count):
            one(slots, *moment(lines, seconds, rng))
    assert killed >= FORKED * 0.8


def check(
    before: set[str], code: int, printed: dict[str, int], bench: Callable[..., Any], slots: list[str] = SLOTS
) -> None:
    listed = bench("runs", "list", "--limit", "1000")["runs"]
    new = [run for run in listed if run["run"] not in before]
    assert len(new) <= 1
    if not new:
        assert printed == {}  # it died before it was a run
        return
    document = bench("runs", "show", new[0]["run"])
    if new[0]["state"] == "finished":
        # Killed after its result was kept, or too late: then it is all there.
        for slot in document["slots"]:
            assert len(Reader(slot["trace"])) >= printed[slot["slot"]]
        assert document["outcome"] in ("PASS", "FAIL", "ERROR")
        return
    assert code == -signal.SIGKILL
    examine(document, new[0], printed, bench, slots)


def test_the_command_itself_killed_at_random_moments(bench: Callable[..., Any]) -> None:
    subprocess.run([*COMMAND, "run", "provision", "--json"], check=False, capture_output=True)
    rng = random.Random("kill the command")
    killed = 0
    for number in range(REAL):
        before = {run["run"] for run in bench("runs", "list", "--limit", "1000")["runs"]}
        inlet, outlet = os.pipe()
        process = subprocess.Popen([*COMMAND, *ARGUMENTS], stdout=subprocess.DEVNULL, stderr=outlet, process_group=0)
        os.close(outlet)
        watched = Watched(inlet)
        watched.until(rng.randrange(1, 450) if number else 10**9, 60.0 if number else rng.random() * 0.5)
        time.sleep(rng.random() * 0.003)
        os.killpg(process.pid, signal.SIGKILL)
        watched.drain()
        code = process.wait(30)
        killed += code == -signal.SIGKILL
        if number % 4 == 0:  # the next start is a process of its own as well
            out = subprocess.run([*COMMAND, "runs", "list", "--json"], check=True, capture_output=True).stdout
            assert "running" not in {run["state"] for run in json.loads(out)["runs"]}
        check(before, code, watched.printed(), bench)
    assert killed >= REAL * 0.7


def test_a_run_that_lives_is_running_and_one_that_was_terminated_is_aborted(bench: Callable[..., Any]) -> None:
    inlet, outlet = os.pipe()
    process = subprocess.Popen([*COMMAND, *ARGUMENTS, "--repeat", "1000"], stdout=subprocess.PIPE, stderr=outlet)
    os.close(outlet)
    watched = Watched(inlet)
    watched.until(20, 60.0)
    (summary,) = bench("runs", "list")["runs"]
    assert (summary["state"], summary["outcome"]) == ("running", None)
    assert bench("runs", "show", "latest")["process"]["pid"] == process.pid
    process.terminate()
    watched.drain()
    assert process.stdout is not None
    document = json.loads(process.stdout.read())
    process.stdout.close()
    assert process.wait(30) == 130
    assert (document["state"], document["outcome"]) == ("finished", "ABORTED")
    assert bench("runs", "show", "latest") == document
    for slot, number in watched.printed().items():
        traces = [one["trace"] for one in document["slots"] if one["slot"] == slot and one["trace"]]
        assert len(Reader(traces[-1])) == number
