"""Whatever is wrong on the command line or beside it: one line that says so, the right exit code, no traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esim_bench.cli import main
from esim_bench.cli.main import invoke

SLOT = '[rack]\nname = "x"\n[[slot]]\nname = "A1"\nform_factor = "4FF"\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing argument"),
        (["run", "provision", "--seed", "abc"], "--seed"),
        (["run", "provision", "--repeat", "0"], "--repeat"),
        (["run", "provision", "--nope"], "--nope"),
        (["nosuch"], "nosuch"),
        (["run", "provision", "--junit", "/proc/x/report.xml"], "/proc/x"),
        (["run", "provision", "--trace-dir", "/proc/x"], "/proc/x"),
        (["pki", "init", "somewhere", "--curve", "rot13"], "--curve"),
        (["euicc", "download", "A1"], "expected an activation code"),
        (["euicc", "download", "A1", "nonsense"], "expected LPA:1$HOST$MATCHINGID"),
    ],
)
def test_mistakes_are_exit_code_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert message in json.loads(out)["error"]["message"]


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        ('sim = { personality = "nope" }', r"rack.toml:4: slot A1: unknown personality"),
        ('sim = { profile = "nope" }', r"rack.toml:4: slot A1: unknown profile"),
        ('card = { driver = "nope" }', r"rack.toml:4: slot A1: unknown driver"),
    ],
)
def test_what_a_rack_names_must_exist_before_anything_runs(
    tmp_path: Path, slot: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rack = tmp_path / "rack.toml"
    rack.write_text(SLOT + slot + "\n")
    assert invoke(["run", "provision", "--rack", str(rack)]) == 2
    assert message in capsys.readouterr().err
    assert invoke(["rack", "check", str(rack)]) == 2


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ESIM_BENCH_HOME", "/proc/nohome")
    assert invoke(["run", "provision"]) == 2
    assert "/proc/nohome" in capsys.readouterr().err


def test_a_card_memory_that_was_damaged(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["euicc", "info", "A1"]) == 0
    (memory,) = Path(os.environ["ESIM_BENCH_HOME"]).glob("sim/*/A1.json")
    memory.write_text("{bad")
    assert invoke(["euicc", "info", "A1"]) == 2
    assert "delete the file to get a new card" in capsys.readouterr().err


def test_a_defect_of_ours_is_exit_code_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(main, "cli", broken)
    assert invoke(["demo"]) == 3
    assert "internal error: ZeroDivisionError: oh" in capsys.readouterr().err


def test_an_interrupted_run_is_recorded_and_exits_with_130(tmp_path: Path) -> None:
    environment = {**os.environ, "ESIM_BENCH_HOME": str(tmp_path)}
    command = [sys.executable, "-c", "from esim_bench.cli.main import main; main()"]
    with subprocess.Popen(
        [*command, "run", "provision", "--repeat", "100000", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(600):
            if list(tmp_path.glob("runs/*/A1-2.pcapng")):
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert json.loads(out)["outcome"] == "ABORTED"
    assert list(tmp_path.glob("runs/*/run.json"))
