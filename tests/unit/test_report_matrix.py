"""The matrix of modules and eUICCs: from runs alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from esim_bench import data
from esim_bench.cli.main import invoke
from esim_bench.report import matrix
from esim_bench.store.home import store_path
from esim_bench.store.runs import RunStore

EID = "89049032123451234573374879445087"


def slot(module: str | None, outcome: str, *, sim: bool = False, **device: Any) -> dict[str, Any]:
    identity = {"eid": EID, "form_factor": "4FF", **device} | ({"module": module} if module else {})
    drivers = {"sim": "sim (x 1)"} if sim else {"modem": "at (x 1)"}
    steps = [{"name": "start", "outcome": "PASS", "detail": ""}]
    if outcome != "PASS":
        steps.append({"name": "identify", "outcome": outcome, "detail": "why <b>"})
    return {
        "slot": "A1",
        "scenario": "provision",
        "outcome": outcome,
        "device": identity,
        "bench": {"drivers": drivers},
        "steps": steps,
    }


def run(number: int, *slots: dict[str, Any]) -> dict[str, Any]:
    started = f"2026-01-{number:02}T00:00:00Z"
    return {"run": f"r{number}", "outcome": "PASS", "started": started, "scenario": "provision", "slots": list(slots)}


def test_the_last_run_counts_and_all_are_counted() -> None:
    runs = [run(3, slot("quectel-eg25", "PASS")), run(1, slot("quectel-eg25", "FAIL"))]
    (cell,) = matrix.matrix(runs)
    assert (cell.module, cell.last, cell.last_run, cell.detail) == ("Quectel EG25", "PASS", "r3", "")
    assert cell.outcomes == {"FAIL": 1, "PASS": 1}
    assert cell.expected == "works"
    assert not cell.unexpected
    assert EID not in json.dumps(cell.document())
    assert "89049032..." in cell.euicc


def test_simulated_runs_are_told_apart() -> None:
    cells = matrix.matrix([run(1, slot("quectel-eg25", "PASS", sim=True)), run(2, slot("quectel-eg25", "PASS"))])
    assert [cell.simulated for cell in cells] == [False, True]
    assert [row[-1] for row in matrix.rows(cells)] == ["", "simulated"]
    assert matrix.page(cells).count("(simulated)") == 1


def test_what_contradicts_the_modules_row_is_shown() -> None:
    blocked = [run(1, slot("telit-le910c4", "FAIL"))]
    (cell,) = matrix.matrix(blocked)
    assert (cell.expected, cell.unexpected) == ("none: ISD-R blocked by the firmware (access denied)", False)
    (cell,) = matrix.matrix([*blocked, run(2, slot("telit-le910c4", "PASS"))])
    assert cell.unexpected
    (cell,) = matrix.matrix([run(1, slot("quectel-eg25", "FAIL"))])
    assert cell.unexpected
    (cell,) = matrix.matrix([run(1, slot("quectel-eg25", "ERROR"))])
    assert not cell.unexpected


def test_a_module_is_called_as_it_called_itself() -> None:
    said = {"manufacturer": "Quectel", "model": "EG25", "revision": "R1", "imei": "352906110000018"}
    cells = matrix.matrix([run(1, slot("quectel-eg25", "PASS", modem=said), slot(None, "PASS", atr="3B00"))])
    assert [cell.module for cell in cells] == [matrix.IN_READER, "Quectel EG25 R1"]
    assert cells[0].euicc.endswith("ATR 3B00 4FF")
    (cell,) = matrix.matrix([run(1, slot("/gone/module.toml", "PASS"))])
    assert (cell.module, cell.expected) == ("/gone/module.toml", "")


def test_running_runs_and_old_documents_do_no_harm() -> None:
    running = slot("quectel-eg25", "PASS") | {"outcome": None}
    old = {"slot": "A1", "scenario": "switch", "outcome": "PASS", "form_factor": "4FF"}
    (cell,) = matrix.matrix([run(1, running), run(2, old)])
    assert (cell.module, cell.euicc, cell.scenario) == (matrix.IN_READER, matrix.UNKNOWN, "switch")


def test_the_page_is_escaped_and_whole() -> None:
    page = matrix.page(matrix.matrix([run(1, slot("telit-le910c4", "FAIL", sim=True))]))
    assert "why &lt;b&gt;" in page
    assert "<b>" not in page
    assert page.endswith("</html>\n")


def test_the_command_reads_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path))
    assert invoke(["runs", "matrix"]) == 0
    assert "no runs" in capsys.readouterr().err
    store = RunStore(store_path())
    store.add(run(1, slot("quectel-eg25", "PASS", sim=True)))
    store.add(run(2, slot("quectel-eg25", "FAIL")))
    assert invoke(["runs", "matrix", "--json", "--html", str(tmp_path / "m.html")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [cell["last"] for cell in document["matrix"]] == ["FAIL", "PASS"]
    assert "Quectel EG25" in (tmp_path / "m.html").read_text()
    assert invoke(["runs", "matrix", "--real", "--json"]) == 0
    assert [cell["simulated"] for cell in json.loads(capsys.readouterr().out)["matrix"]] == [False]
    assert invoke(["runs", "matrix", "--scenario", "switch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["matrix"] == []
    assert invoke(["runs", "matrix"]) == 0
    assert "unexpected" in capsys.readouterr().out


def test_every_expectation_of_a_module_is_whole() -> None:
    for name in data.module_names():
        expect = data.module(name).expect
        assert (expect.access == "none") == bool(expect.cause), name
