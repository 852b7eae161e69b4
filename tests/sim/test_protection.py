"""A protected slot loses nothing by accident; what the bench installed itself may go."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench.cli.main import invoke

RACK = """\
[rack]
name = "protected"
[[slot]]
name = "A1"
form_factor = "4FF"
protect = true
sim = { personality = "4ff", profile = "bootstrap-global" }
"""
DELETE_ALL = "81E2910007BF340482020780"

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    rack = tmp_path / "rack.toml"
    rack.write_text(RACK)

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = invoke([*arguments, "--rack", str(rack), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def iccids(bench: Run) -> list[str]:
    return [profile["iccid"] for profile in bench("euicc", "profiles", "A1")[1]]


def test_a_profile_that_was_there_before_stays(bench: Run) -> None:
    (there,) = iccids(bench)
    assert bench("euicc", "disable", "A1", there)[0] == 0
    code, document = bench("euicc", "delete", "A1", there)
    assert code == 2
    assert "protected slot" in document["error"]["message"]
    assert iccids(bench) == [there]
    assert bench("euicc", "delete", "A1", there, "--allow-destructive")[0] == 0
    assert iccids(bench) == []


def test_a_profile_that_the_bench_installed_may_go(bench: Run) -> None:
    _, document = bench("euicc", "download", "A1", "--profile", "operational-a")
    (installed,) = document["installed"]
    assert bench("euicc", "delete", "A1", installed)[0] == 0
    assert installed not in iccids(bench)


def test_no_apdu_by_hand_walks_around_it(bench: Run) -> None:
    before = iccids(bench)
    code, document = bench("apdu", "A1", "0070000001", "01A4040010A0000005591010FFFFFFFF8900000100", DELETE_ALL)
    assert code == 2
    assert "eUICCMemoryReset" in document["error"]["message"]
    assert iccids(bench) == before
