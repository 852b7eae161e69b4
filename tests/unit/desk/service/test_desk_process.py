"""The desk's process: killed, ended, left alone by its front; what it leaves behind; many slots at once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench import data
from esim_bench.desk import client
from esim_bench.desk.api import Busy, DeskError, DeskLost, RunEnded, RunRequest, SlotTrouble, Source
from esim_bench.rack.by_hand import lock_simulated
from esim_bench.rack.model import load_rack

MANY = """
[[slot]]
name = "S{0}"
form_factor = "{1}"
{2}sim = {{ personality = "{3}", profile = "bootstrap-global" }}
"""
KINDS = (("4FF", "", "4ff"), ("MFF2", 'module = "quectel-eg25"\n', "mff2"))
COMMAND = [sys.executable, "-m", "esim_bench.desk.service", "--rack"]


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def _wait_gone(*pids: int, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not all(map(_gone, pids)):
        assert time.monotonic() < end, f"of {pids} some still run"
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    """Return the children of a process, whichever of its threads began them."""
    found = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(text) for texts in found for text in texts]


class Pipe:
    """A service, spoken to line by line."""

    def __init__(self, rack: str = "sim-3") -> None:
        self.process = subprocess.Popen(
            [*COMMAND, str(data.rack_file(rack))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def send(self, text: str) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, number: int | None) -> dict[str, Any]:
        """Return the answer to a request; notices before it are passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            document: dict[str, Any] = json.loads(line)
            if "notice" not in document and document["id"] == number:
                return document
        raise AssertionError("no answer")

    def close(self) -> None:
        """End it, if it has not."""
        with self.process as process:
            process.kill()


@pytest.fixture
def pipe() -> Any:
    """Return a service of one's own."""
    made = Pipe()
    yield made
    made.close()


def test_bad_requests_are_answered_and_the_service_goes_on(pipe: Pipe) -> None:
    for number, (text, wanted) in enumerate(
        (
            ('{"id": %d, "method": "fly", "args": {}}', "not a request"),
            ('{"id": %d, "method": "read", "args": {}}', "read: argument is missing"),
            ('{"id": %d, "method": "read", "args": {"slot": 7}}', "read: slot: Input should be a valid string"),
            ('{"id": %d, "method": "read", "args": {"slot": "A1", "fast": true}}', "read: unknown argument"),
            ('{"id": %d, "method": "read", "args": 5}', "read: arguments"),
            ('{"id": %d, "method": "close"}', "not a request"),
            (
                '{"id": %d, "method": "download", "args": {"slot": "A1", "source": {"u": 1}}}',
                "download: source.u: Extra",
            ),
        ),
        1,
    ):
        pipe.send(text % number)
        trouble = pipe.answer(number)["trouble"]
        assert trouble["kind"] == "ConfigError"
        assert trouble["what"].startswith(wanted)
    for text in ("nonsense", "[1]", '{"id": "x", "method": "read"}', "\x00\xff"):
        pipe.send(text)
    pipe.send('{"id": 99, "method": "power", "args": {"slot": "A1"}}')
    assert pipe.answer(99)["result"]["powered"] is True


def test_a_service_without_a_rack_says_why() -> None:
    ended = subprocess.run([*COMMAND, "/nowhere.toml"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["trouble"]["kind"] == "ConfigError"


def test_a_broken_rack_file_is_told_of_as_a_mistake(tmp_path: Path) -> None:
    rack = tmp_path / "broken.toml"
    rack.write_text("[rack\nname = 7")
    notices: list[Any] = []

    async def ask() -> None:
        desk = client.RemoteDesk(rack)
        desk.listen(notices.append)
        for _ in range(2):
            with pytest.raises(DeskError, match=r"broken\.toml"):
                await desk.apdu_names()
        rack.write_text(data.rack_file("sim-3").read_text())
        assert await desk.apdu_names()
        await desk.close()

    asyncio.run(ask())
    assert {one.trouble.kind for one in notices} == {"ConfigError"}


@pytest.mark.parametrize("how", ["SIGTERM", "the front dies"])
def test_the_end_leaves_no_process_and_no_lock(pipe: Pipe, how: str) -> None:
    pipe.send('{"id": 1, "method": "profiles", "args": {"slot": "A1"}}')
    pipe.answer(1)
    run = RunRequest(scenario="power_cycle", slots=["B1"], rate=0.5).model_dump_json()
    pipe.send(f'{{"id": 2, "method": "start_run", "args": {{"request": {run}}}}}')
    assert pipe.answer(2)["result"] == "run-1"
    (runner,) = _children(pipe.process.pid)
    pipe.send('{"id": 3, "method": "power_cycle", "args": {"slot": "A1", "seconds": 3600}}')
    time.sleep(0.1)

    assert pipe.process.stdin is not None
    assert pipe.process.stdout is not None
    if how == "SIGTERM":
        pipe.process.terminate()
    else:
        pipe.process.stdin.close()
        pipe.process.stdout.close()
    assert pipe.process.wait(20) == 0
    _wait_gone(runner)

    rack = load_rack("sim-3")
    lock_simulated(rack, rack.one("A1"), wait=0.0).release()
    home = Path(os.environ["ESIM_BENCH_HOME"])
    (document,) = [json.loads(path.read_text()) for path in home.glob("runs/*/run.json")]
    assert document["outcome"] == "ABORTED"
    assert list((home / "by-hand").rglob("A1.pcapng"))


def test_a_killed_desk_is_told_of_and_started_anew(open_desk: Callable[..., Any]) -> None:
    on = open_desk("sim-3")
    on(on.desk.download("A1", Source(profile="operational-a"), enable=True))
    key = on(on.desk.start_run(RunRequest(scenario="power_cycle", slots=["B1"], rate=0.5)))
    (runner,) = _children(on.desk.pid)
    first = on.desk.pid

    async def killed_in_a_job() -> Any:
        job = asyncio.create_task(on.desk.power_cycle("A1", 3600.0))
        await on.notice(Busy, lambda one: one.what and one.what.startswith("power cycle"))
        os.kill(first, signal.SIGKILL)
        return (await asyncio.gather(job, return_exceptions=True))[0]

    trouble = on(killed_in_a_job()).trouble
    assert (trouble.kind, trouble.found) == ("DeskLost", "signal SIGKILL")
    assert "starts another one" in trouble.hint
    lost = on(on.notice(DeskLost))
    assert lost.trouble == trouble
    assert [one.what for one in on.notices if isinstance(one, Busy) and one.slot == "A1"][-1] is None
    end = on(on.notice(RunEnded, lambda one: one.key == key))
    assert (end.outcome, end.trouble) == (None, trouble)
    _wait_gone(runner)

    enabled = [one.name for one in on(on.desk.profiles("A1")) if one.state == "enabled"]
    assert enabled == ["Operational A"], "what was done before is not lost"
    assert on.desk.pid != first
    on.notices.clear()


def test_a_desk_that_hangs_is_killed_in_the_end(open_desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TERM_SECONDS", 0.2)
    on = open_desk("sim-3")
    pid = on.desk.pid
    os.kill(pid, signal.SIGSTOP)
    on.desk._patience = 0.2
    began = time.monotonic()
    on(on.desk.close())
    assert time.monotonic() - began < 10.0
    assert _gone(pid)
    assert on.trouble(on.desk.read("A1")).what == "the desk is closed"


def test_who_gives_up_waiting_for_the_start_leaves_the_process_to_others(open_desk: Callable[..., Any]) -> None:
    on = open_desk("sim-3")
    on(on.desk.close())
    on.desk._closed = False

    async def impatient() -> int:
        first = asyncio.create_task(on.desk.apdu_names())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(on.desk.apdu_names(), on.desk.power("A1"), first, return_exceptions=True)
        return len(_children(os.getpid()))

    before = len(_children(os.getpid()))
    assert on(impatient()) == before + 1


def test_eight_slots_at_the_same_time(open_desk: Callable[..., Any], tmp_path: Path) -> None:
    rack = tmp_path / "eight.toml"
    slots = "".join(MANY.format(number, *KINDS[number % 2]) for number in range(8))
    rack.write_text(f'[rack]\nname = "eight"\n{slots}')
    on = open_desk(rack)

    async def all_at_once() -> list[Any]:
        names = [f"S{number}" for number in range(8)]
        await asyncio.gather(*(on.desk.download(name, Source(profile="operational-a"), enable=True) for name in names))
        return await asyncio.gather(*(on.desk.profiles(name) for name in names))

    for profiles in on(all_at_once()):
        assert [one.state for one in profiles] == ["disabled", "enabled"]
    assert not [one for one in on.notices if isinstance(one, SlotTrouble)]
    busy = {one.slot for one in on.notices if isinstance(one, Busy) and one.what}
    assert busy == {f"S{number}" for number in range(8)}


def test_nothing_but_the_protocol_reaches_stdout(pipe: Pipe) -> None:
    pipe.send('{"id": 1, "method": "read", "args": {"slot": "A1"}}')
    pipe.answer(1)
    assert pipe.process.stdin is not None
    assert pipe.process.stdout is not None
    pipe.process.stdin.close()
    assert [line for line in pipe.process.stdout if not line.startswith(b'{"')] == []
