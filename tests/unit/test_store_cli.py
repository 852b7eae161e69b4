"""``esim-bench runs`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from esim_bench.cli.runs import cli
from esim_bench.errors import ConfigError
from esim_bench.store.home import store_path
from esim_bench.store.runs import RunStore

RUN: dict[str, Any] = {
    "run": "20260101-000000-ab12",
    "outcome": "FAIL",
    "seed": 7,
    "scenario": "switch",
    "rack": "sim-3",
    "started": "2026-01-01T00:00:00Z",
    "params": {"profile": "test [bold]"},
    "version": "0.1.0",
    "slots": [
        {
            "slot": "S1",
            "form_factor": "iSIM",
            "scenario": "switch",
            "outcome": "FAIL",
            "seconds": 1.0,
            "steps": [
                {"name": "enable", "outcome": "FAIL", "seconds": 0.5, "detail": "[red] expected 9000, found 6985"}
            ],
            "trace": "/runs/S1.pcapng",
            "apdus": 3,
        }
    ],
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_an_empty_history_is_no_error() -> None:
    assert json.loads(run("list", "--json")) == {"runs": []}
    assert run("list") == ""


def test_runs_are_listed() -> None:
    for number in range(3):
        RunStore(store_path()).add(RUN | {"run": f"run-{number}"})
    assert [item["run"] for item in json.loads(run("list", "--limit", "2", "--json"))["runs"]] == ["run-2", "run-1"]
    assert "S1:FAIL" in run("list")


def test_a_run_is_shown() -> None:
    RunStore(store_path()).add(RUN)
    assert json.loads(run("show", "20260101", "--json")) == RUN
    text = run("show", "latest")
    for piece in (
        "enable",
        "[red] expected 9000, found 6985",
        "test [bold]",
        "/runs/S1.pcapng",
        "S1    iSIM",
    ):
        assert piece in text


def test_an_unknown_run_is_the_operator_s_mistake() -> None:
    with pytest.raises(ConfigError, match="no such run"):
        run("show", "nope")
