"""Whole runs behind modems that do not do as they should: the outcome is the stated one, and the cause is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench import data
from esim_bench.cli.main import invoke

BLOCKED = [name for name in data.module_names() if data.module(name).expect.access == "none"]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a scenario on slots with these modules (name: quirks); return the slots' results by module."""
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))

    def go(scenario: str, modules: dict[str, dict[str, Any]], seed: int = 0, rsp: str = "sgp22") -> dict[str, Any]:
        lines = ["[rack]", 'name = "modems"']
        for number, (name, quirks) in enumerate(modules.items()):
            text = ", ".join(f"{key} = {json.dumps(value)}" for key, value in quirks.items())
            lines += ["[[slot]]", f'name = "M{number}"', 'form_factor = "MFF2"', f'module = "{name}"']
            sim = f'personality = "mff2", profile = "bootstrap-global", rsp = ["{rsp}"], quirks = {{ {text} }}'
            lines += [f"sim = {{ {sim} }}"]
        (tmp_path / "rack.toml").write_text("\n".join(lines) + "\n")
        capsys.readouterr()
        invoke(["run", scenario, "--rack", str(tmp_path / "rack.toml"), "--seed", str(seed), "--json"])
        document = json.loads(capsys.readouterr().out)
        return dict(zip(modules, document["slots"], strict=True))

    return go


def test_no_access_is_a_failure_that_names_its_cause(run: Run) -> None:
    slots = run("provision", {name: {} for name in BLOCKED})
    assert len(slots) >= 4
    for name, slot in slots.items():
        assert slot["outcome"] == "FAIL", name
        assert data.module(name).expect.cause in slot["steps"][-1]["detail"]
        assert slot["seconds"] < 60


@pytest.mark.parametrize("seed", range(4))
def test_a_modem_that_swallows_the_last_answers_of_chains_is_survived(run: Run, seed: int) -> None:
    slots = run("provision", {"sim-generic": {"last_block_error": 0.15}, "quectel-ec20": {}}, seed)
    assert {name: slot["outcome"] for name, slot in slots.items()} == {"sim-generic": "PASS", "quectel-ec20": "PASS"}


def test_a_modem_that_swallows_answers_associates_its_eim(run: Run) -> None:
    # The first answer that is long enough is that of AddInitialEim: whether it was done stands on the card.
    quirks = {"last_block_error": 1.0, "last_block_from": 4}
    slots = run("attacks", {"sim-generic": quirks}, rsp="sgp32-1.2")
    steps = [(step["name"], step["outcome"]) for step in slots["sim-generic"]["steps"]]
    assert ("eIM", "PASS") in steps


@pytest.mark.parametrize("scenario", ["eim_rotation", "zero_touch"])
def test_iot_scenarios_pass_behind_a_modem_that_swallows_answers(run: Run, scenario: str) -> None:
    slots = run(scenario, {"sim-generic": {"last_block_error": 0.15}, "quectel-ec20": {}}, 1, rsp="sgp32-1.2")
    details = {name: (slot["outcome"], slot["steps"][-1]["detail"]) for name, slot in slots.items()}
    assert {name: what for name, what in details.items() if what[0] != "PASS"} == {}


def test_a_modem_that_damages_long_blocks_is_survived(run: Run) -> None:
    quirks = {"checksum_above": 100}
    slots = run("switch", {"sim-generic": quirks, "quectel-rm520n": quirks, "sequans-gm02s": quirks})
    assert {slot["outcome"] for slot in slots.values()} == {"PASS"}
