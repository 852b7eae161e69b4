"""``esim-bench modem``: lines by hand, states, and the row of a module that was found out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench import data
from esim_bench.cli.main import invoke

RACK = """\
[rack]
name = "modems"

[[slot]]
name = "B1"
form_factor = "MFF2"
module = "sim-generic"
sim = { personality = "mff2", profile = "bootstrap-global" }

[[slot]]
name = "P1"
form_factor = "MFF2"
module = "sim-generic"
protect = true
sim = { personality = "mff2", profile = "bootstrap-global" }

[[slot]]
name = "A1"
form_factor = "4FF"
sim = { personality = "4ff" }

[[slot]]
name = "X1"
form_factor = "MFF2"
module = "MODULE"
sim = { personality = "mff2", profile = "bootstrap-global" }
"""
DELETE = 'AT+CSIM=40,"80E291000FBF330C5A0A98880000000000000011"'
Run = Callable[..., Any]


@pytest.fixture
def modem(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``modem ARGUMENTS``: its JSON document, of the exit code ``fails``; X1 has the module ``module``."""
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))

    def run(*arguments: str, fails: int = 0, module: str = "sim-generic") -> Any:
        (tmp_path / "rack.toml").write_text(RACK.replace("MODULE", module))
        capsys.readouterr()
        code = invoke(["modem", *arguments, "--rack", str(tmp_path / "rack.toml"), "--json"])
        document = json.loads(capsys.readouterr().out)
        assert code == fails, document
        return document

    return run


def test_a_line_by_hand(modem: Run) -> None:
    answer = modem("at", "B1", "AT+CGMM")
    assert (answer["lines"], answer["final"]) == (["Generic"], "OK")


def test_an_error_is_shown_in_words_and_is_a_failure(modem: Run) -> None:
    answer = modem("at", "B1", "AT+CMEE=9", fails=1)
    assert answer["final"] == "+CME ERROR: 50"
    assert answer["meaning"] == ["Incorrect parameters"]


def test_an_apdu_in_a_line_is_shown_with_its_meaning(modem: Run, tmp_path: Path) -> None:
    modem("status", "B1")
    answer = modem("at", "B1", 'AT+CSIM=14,"00A40004023F00"', fails=1)
    # Switched on for this command alone: the SIM is not up yet.
    assert answer["meaning"] in (["SIM busy"], ["SIM failure"])


@pytest.mark.parametrize("line", [DELETE, f"AT;{DELETE[2:]}", DELETE.lower()])
def test_what_destroys_is_refused_on_a_protected_slot(modem: Run, line: str) -> None:
    document = modem("at", "P1", line, fails=2)
    assert document["error"]["type"] == "ProtectedError"
    # Elsewhere it goes out, to a SIM that is not up yet.
    assert modem("at", "B1", DELETE, fails=1)["final"].startswith("+CME ERROR")
    assert modem("at", "P1", DELETE, "--allow-destructive", fails=1)["final"].startswith("+CME ERROR")


def test_a_line_that_is_none(modem: Run) -> None:
    assert modem("at", "B1", "AT\rATD1", fails=2)["error"]["type"] == "CodecError"


def test_a_slot_without_modem(modem: Run) -> None:
    assert "no modem" in modem("at", "A1", "AT", fails=2)["error"]["message"]


def test_status(modem: Run) -> None:
    status = modem("status", "B1")
    assert status["model"] == "Generic"
    assert (status["sim"], status["functionality"]) == ("ready", 1)
    assert status["iccid"].startswith("89")
    assert status["imsi"].startswith("00101")
    assert set(status["registration"]) <= {"cs", "ps", "eps", "5gs"}


@pytest.mark.parametrize("reboot", [False, True])
def test_a_probed_module_is_a_row_that_loads_and_works(modem: Run, tmp_path: Path, reboot: bool) -> None:
    path = tmp_path / "new.toml"
    document = modem("probe", "B1", "-o", str(path), *(["--reboot"] if reboot else []))
    assert document["module"]["sim"]["access"] == "ccho"
    row = data.read_dialect(path)
    assert (row.model, row.sim.handle, row.sim.max_data) == ("Generic", "hex16", 255)
    assert ("boot" in row.source) is not reboot
    # A rack file may name it by a path that is relative to it.
    assert modem("status", "X1", module="new.toml")["sim"] == "ready"


def test_a_module_file_that_is_wrong_or_missing_is_said(modem: Run, tmp_path: Path) -> None:
    assert "cannot read the module file" in modem("status", "X1", module="none.toml", fails=2)["error"]["message"]
    (tmp_path / "bad.toml").write_text("manufacturer = 1\n")
    assert "bad.toml:1: manufacturer" in modem("status", "X1", module="bad.toml", fails=2)["error"]["message"]
