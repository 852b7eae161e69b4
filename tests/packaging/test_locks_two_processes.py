"""Two processes and one device: who holds it, who waits, what a kill -9 leaves, what the next start makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from esim_bench.cli.main import invoke
from esim_bench.errors import InUseError
from esim_bench.rack import reservations, safe_state
from esim_bench.rack.locks import take

HOLDER = """
import sys, os
from esim_bench.rack.locks import take
held = take(["usb:1-1.2"], slot="A1", note="soak test")
if "fork" in sys.argv and os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", "import sys; sys.stdin.readline()"])
print("held", flush=True)
sys.stdin.readline()
"""

# A process that cuts a slot's power with drivers of its own, and waits in the dark.
DARK = """
import sys, asyncio
from pathlib import Path
from esim_bench import clock, ports
from esim_bench.cli import session
from importlib.metadata import EntryPoint

state = Path(sys.argv[2])

class Link:
    capabilities = ports.CardCapabilities()
    async def connect(self): return b""
    async def reset(self): return b""
    async def exchange(self, commands, stop, session=0): return []
    async def open_session(self, aid): return 1
    async def close_session(self, session): pass
    async def close(self): pass

class Switch:
    proofs = frozenset()
    async def off(self): state.write_text("off")
    async def on(self):
        print("restoring", flush=True)
        await asyncio.sleep(0.3)
        state.write_text("on")
    async def is_off(self, proof): return True
    async def close(self): pass

class Drivers:
    def open_card(self, spec, context): return Link()
    def open_power(self, spec, context): return Switch()

class Point(EntryPoint):
    def load(self): return Drivers()

ports.drivers.entry_points = lambda group: [Point(name, "x:y", group) for name in ("fake-reader", "fake-power")]

async def job(slot):
    if sys.argv[3] == "cut":
        await slot.cut()
        print("dark", flush=True)
        await asyncio.sleep(3600)
    print(state.read_text(), flush=True)

session.on_slot(sys.argv[1], "A1", job, start=False)
"""

RACK = """\
[rack]
name = "lab"
[[slot]]
name = "A1"
form_factor = "4FF"
card = { driver = "fake-reader", reader = "usb:9-1.1" }
power = { driver = "fake-power", location = "9-1", port = 1, proof = "none", off_s = 0, on_s = 0 }
"""


@contextmanager
def process(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_the_kernel_frees_the_lock_of_a_killed_process_and_the_next_one_says_so() -> None:
    with process(HOLDER, "fork") as child:
        assert line(child) == "held"
        with pytest.raises(InUseError, match=rf"process {child.pid} .*soak test") as caught:
            take(["usb:1-1.2"])
        assert f"end process {child.pid}" in str(caught.value)
        assert [state for state, _ in reservations.listing()] == ["held"]
        child.kill()
        child.wait()
        assert [state for state, _ in reservations.listing()] == ["stale"]
        held = take(["usb:1-1.2"])
        assert f"process {child.pid}" in held.stale[0]
        held.release()


def test_a_slot_that_was_dark_when_its_process_was_killed_has_power_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "rack.toml").write_text(RACK)
    rack, state = str(tmp_path / "rack.toml"), tmp_path / "state"
    with process(DARK, rack, str(state), "cut") as child:
        assert line(child) == "dark"
        assert state.read_text() == "off"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert [entry.slot.name for _, entry in safe_state.dark_slots()] == ["A1"]
    done = subprocess.run(
        [sys.executable, "-c", DARK, rack, str(state), "look"], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["restoring", "on"]
    assert "slot A1 of rack lab was left without power by" in done.stderr
    assert "it has power again" in done.stderr
    assert safe_state.dark_slots() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_the_dark_ends_with_the_light_on(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "rack.toml").write_text(RACK)
    state = tmp_path / "state"
    with process(DARK, str(tmp_path / "rack.toml"), str(state), "cut") as child:
        assert line(child) == "dark"
        child.send_signal(number)
        assert child.wait(20) != 0
    assert state.read_text() == "on"
    assert reservations.listing() == []


def test_a_second_interruption_does_not_leave_it_dark(tmp_path: Path) -> None:
    (tmp_path / "rack.toml").write_text(RACK)
    state = tmp_path / "state"
    with process(DARK, str(tmp_path / "rack.toml"), str(state), "cut") as child:
        assert line(child) == "dark"
        child.send_signal(signal.SIGINT)
        assert line(child) == "restoring"
        child.send_signal(signal.SIGINT)
        assert child.wait(20) != 0
    assert state.read_text() == "on"
    assert safe_state.dark_slots() == []


CONTENDER = """
import sys, time
from pathlib import Path
from esim_bench.rack.locks import take
counter = Path(sys.argv[1])
for _ in range(25):
    held = take(["usb:1-1.2", "usb:1-1.3"], wait=60.0)
    value = int(counter.read_text())
    time.sleep(0.001)
    counter.write_text(str(value + 1))
    held.check()
    held.release()
"""


def test_one_at_a_time_and_nobody_is_lost(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    children = [subprocess.Popen([sys.executable, "-c", CONTENDER, str(counter)]) for _ in range(4)]
    assert [child.wait(120) for child in children] == [0] * 4
    assert counter.read_text() == "100"
    assert reservations.listing() == []


def test_commands_on_one_simulated_slot_take_turns(capsys: pytest.CaptureFixture[str]) -> None:
    """Each goes on from the memory of the one before: none of three nicknames is lost, whatever the order."""
    assert invoke(["run", "provision", "--slot", "A1"]) == 0
    capsys.readouterr()
    assert invoke(["euicc", "profiles", "A1", "--json"]) == 0
    profiles = [row["iccid"] for row in json.loads(capsys.readouterr().out)]
    command = [sys.executable, "-c", "from esim_bench.cli.main import main; main()"]
    children = [
        subprocess.Popen([*command, "euicc", "nickname", "A1", iccid, f"name {iccid[-3:]}"], stdout=subprocess.DEVNULL)
        for iccid in profiles
    ]
    assert [child.wait(60) for child in children] == [0] * len(children)
    assert invoke(["euicc", "profiles", "A1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["nickname"] for row in rows] == [f"name {row['iccid'][-3:]}" for row in rows]
    assert len(rows) >= 2
    assert os.listdir(Path(os.environ["ESIM_BENCH_HOME"]) / "locks") == [".turns"]
