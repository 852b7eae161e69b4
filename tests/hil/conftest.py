"""A rack of simulated devices behind real interfaces: pcscd with virtual readers, serial ports on ptys.

``esim-bench serve rack`` is one process, the bench that drives it another, as on a lab's machine.
"""

import json
import os
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from esim_bench import data
from esim_bench.cli.serve_rack import ask
from esim_bench.errors import BenchError
from esim_drivers.pcsc import library
from esim_drivers.sim.pcscd import Pcscd
from esim_drivers.sim.vpcd import reader_conf

BENCH = str(Path(sys.executable).with_name("esim-bench"))
PERSONALITIES = {"4FF": "4ff", "MFF2": "mff2", "iSIM": "isim"}


class LiveRun:
    """A run as a process of its own; its trace lines tell how far it is."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()

    def until(self, slot: str, text: str, seconds: float = 60.0) -> None:
        """Wait for a trace line of a slot."""
        with self._news:
            seen = self._news.wait_for(
                lambda: any(line.startswith(f"{slot} ") and text in line for line in self.lines), seconds
            )
        assert seen, f"no {text!r} on {slot}: {self.lines[-5:]}"

    def ends(self, seconds: float = 120.0) -> dict[str, dict[str, Any]]:
        """Wait for the end; return what came of each slot."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        self.process.wait(seconds)
        self._reader.join(10)
        self.process.stdout.close()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return {slot["slot"]: slot for slot in json.loads(out)["slots"]}


class HilLab:
    """Serves devices, and runs the bench's commands on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ends = ExitStack()
        self.environment = {**os.environ, "ESIM_BENCH_HOME": str(folder / "home")}
        self.pcscd: Pcscd | None = None
        self.serve: subprocess.Popen[bytes] | None = None
        self.bench("pki", "init", "pki")

    def bench(self, *arguments: str, timeout: float = 120.0) -> tuple[int, Any, str]:
        """Run a command; return its exit code, its JSON document and what it said on stderr."""
        done = subprocess.run(
            [BENCH, *arguments, "--json"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr

    def live_run(self, scenario: str, rack: Path, *arguments: str) -> LiveRun:
        """Start a run that is watched."""
        command = [BENCH, "run", scenario, "--rack", str(rack), "--live", "--json", *arguments]
        made = LiveRun(command, self.folder, self.environment)
        self.ends.callback(made.process.kill)
        return made

    def control(self, words: str) -> None:
        """Steer the served rack, at once."""
        answer = ask(self.folder / "home" / "serve" / "served" / "control", words)
        assert "error" not in answer, answer

    def rack(self, name: str, slots: list[dict[str, Any]]) -> Path:
        """Write a rack file."""
        lines = ["[rack]", f'name = "{name}"', 'pki = "pki"']
        for slot in slots:
            lines += ["[[slot]]", *(f"{key} = {_toml(value)}" for key, value in slot.items())]
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(self, slots: list[dict[str, Any]], *arguments: str, rate: float = 20.0) -> dict[str, Any]:
        """Serve simulated slots; return where they are."""
        rack = str(self.rack("served", slots))
        more = arguments or ("--port", "0")
        self.serve = subprocess.Popen(
            [BENCH, "serve", "rack", "--rack", rack, "--json", "--rate", str(rate), "--new", *more],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=self.ends.enter_context((self.folder / "serve.log").open("wb")),
        )
        self.ends.callback(self._end_serving)
        return _first_document(self.serve)

    def _end_serving(self) -> None:
        assert self.serve is not None
        self.serve.terminate()
        self.serve.wait(20)
        assert self.serve.stdout is not None
        self.serve.stdout.close()

    def start_pcscd(self, reader_config: str) -> None:
        """Start a PC/SC service."""
        self.pcscd = Pcscd(self.folder, reader_config)
        self.ends.callback(self.pcscd.stop)
        self.environment |= self.pcscd.environment
        self.pcscd.start()

    def start_with_vpcd(self, slots: list[dict[str, Any]], *, rate: float) -> None:
        """Serve slots to a vpcd that listens: then cards can come and go."""
        port = _free_ports()
        self.start_pcscd(reader_conf("esim-bench served", port))
        self.start(slots, "--vpcd", f"127.0.0.1:{port}", "--vpcd", f"127.0.0.1:{port + 1}", rate=rate)


def _free_ports() -> int:
    """Return the first of two ports in a row that are free, away from those that the kernel hands out."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(20000, 32000)
        with suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


def _first_document(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    text = b""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        if select.select([process.stdout], [], [], 0.5)[0]:
            more = os.read(process.stdout.fileno(), 65536)
            text += more
            if not more:
                break
            with suppress(ValueError):
                document: dict[str, Any] = json.loads(text)
                return document
    raise AssertionError(f"no document: {text.decode()}")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[HilLab]:
    """Return a lab that serves nothing yet."""
    made = HilLab(tmp_path)
    with made.ends:
        yield made


@pytest.fixture
def pcsc_lab(lab: HilLab) -> HilLab:
    """Return a lab whose machine has a PC/SC service; skip where it has none, or fail with CI=true."""
    try:
        library.load()
        Pcscd(lab.folder, "")
    except BenchError as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(str(exc))
        pytest.skip(str(exc))
    return lab


@pytest.fixture(scope="session")
def in_reader() -> Callable[..., tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Return the maker of two slots in readers: as simulated, and as the bench sees them."""

    def make(*form_factors: str, rsp: str = "sgp22") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        served, real = [], []
        for number, form_factor in enumerate(form_factors):
            name = f"R{number}"
            sim = {"personality": PERSONALITIES[form_factor], "profile": "bootstrap-global", "rsp": [rsp]}
            served.append({"name": name, "form_factor": form_factor, "sim": sim})
            reader = f"name:esim-bench served 00 0{number}"
            real.append(
                {
                    "name": name,
                    "form_factor": form_factor,
                    "protect": False,
                    "card": {"driver": "pcsc", "reader": reader},
                }
            )
            if rsp != "sgp22":
                real[-1]["ipa"] = {"version": rsp.removeprefix("sgp32-")}
        return served, real

    return make


@pytest.fixture(scope="session")
def behind_modems() -> Callable[..., tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Return the maker of slots with modules: as simulated, and as the bench sees them through their ports."""

    def make(
        folder: Path, modules: list[str], form_factor: str = "", rsp: str = "sgp22"
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        served, real = [], []
        for number, module in enumerate(modules):
            name = f"M{number}"
            form = form_factor or ("iSIM" if data.module(module).integrated else "MFF2")
            sim = {"personality": PERSONALITIES[form], "profile": "bootstrap-global", "rsp": [rsp]}
            common = {"name": name, "form_factor": form, "module": module}
            served.append({**common, "sim": sim})
            port = str(folder / "home" / "serve" / "served" / name)
            real.append({**common, "protect": False, "modem": {"driver": "at", "port": port}})
            if rsp != "sgp22":
                # The served modules are far quicker than real ones, also to register.
                real[-1]["ipa"] = {"version": rsp.removeprefix("sgp32-"), "register_s": 5}
        return served, real

    return make
