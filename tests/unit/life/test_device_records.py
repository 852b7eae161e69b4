"""With every run it is kept what was tested, and with what."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import esim_bench
from esim_bench.cli.main import invoke
from esim_bench.rack import record
from esim_bench.rack.record import run_bench, slot_bench
from esim_bench.report.junit import junit
from esim_bench.scenario import engine
from esim_bench.scenario.context import Bench
from esim_bench.scenario.registry import Scenario
from esim_bench.scenario.results import CheckFailed


def run_document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert invoke(["run", "provision", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_simulated_run_keeps_who_the_devices_were_and_nothing_of_this_host(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = (run_document(capsys, "--seed", "7") for _ in range(2))
    for key in ("device", "bench"):
        assert [slot[key] for slot in first["slots"]] == [slot[key] for slot in second["slots"]]
    assert first["bench"] == second["bench"]
    assert set(first["bench"]) == {"esim-bench", "rack_file"}
    a1, b1, _ = first["slots"]
    assert len(a1["device"]["eid"]) == 32
    assert a1["device"]["atr"].startswith("3B")
    assert a1["device"]["form_factor"] == "4FF"
    assert set(a1["device"]["euicc"]) >= {"sgp22", "firmware"}
    assert set(b1["device"]["modem"]) == {"manufacturer", "model", "revision", "imei"}
    assert b1["device"]["module"]
    assert a1["bench"]["drivers"] == {"sim": f"sim (esim-bench {esim_bench.__version__})"}


def test_runs_show_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    document = run_document(capsys)
    assert invoke(["runs", "show", "latest"]) == 0
    shown = capsys.readouterr().out
    for slot in document["slots"]:
        assert slot["device"]["eid"] in shown
    assert document["slots"][1]["device"]["modem"]["imei"] in shown
    assert document["bench"]["rack_file"]["sha256"][:16] in shown


def test_a_report_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    document = run_document(capsys)
    report = junit(document)
    assert f'name="eid" value="{document["slots"][0]["device"]["eid"]}"' in report
    assert 'name="imei"' in report


def test_a_real_run_keeps_host_libraries_and_the_names_of_its_devices(bench_rack: Any) -> None:
    known = run_bench(bench_rack.rack)
    assert known["kernel"].startswith(f"{platform.system()} {platform.release()}")
    assert known["libraries"]["pyserial"]
    assert known["rack_file"]["sha256"] == hashlib.sha256(bench_rack.rack.path.read_bytes()).hexdigest()
    assert slot_bench(bench_rack.rack.slots[0]) == {
        "drivers": {"card": "fake-reader (unknown package)", "power": "fake-power (unknown package)"},
        "devices": ["usb:9-1 port 1", "usb:9-1.1"],
    }


def test_a_real_device_is_asked_who_it_is_where_its_scenario_did_not(
    bench_rack: Any, scenario: Callable[[Callable[[Bench, Any], Awaitable[None]]], Scenario], no_parameters: BaseModel
) -> None:
    async def steps(bench: Bench, params: Any) -> None:
        async with bench.step("start"):
            await bench.slot.start()
            raise CheckFailed("before anybody asked")

    result, folder = engine.run_scenario(
        bench_rack.rack, bench_rack.rack.slots, scenario(steps), no_parameters, engine.RunOptions()
    )
    kept = json.loads((folder / "run.json").read_text())
    for slot in kept["slots"]:
        assert slot["outcome"] == "FAIL"
        assert len(slot["device"]["eid"]) == 32
        assert slot["device"]["euicc"]["firmware"]
    assert result.document() == kept


def test_versions_of_the_reader_s_driver(tmp_path: Path) -> None:
    plist = tmp_path / "Info.plist"
    plist.write_text(
        '<?xml version="1.0"?><plist version="1.0"><dict>'
        "<key>CFBundleShortVersionString</key><string>1.5.2</string></dict></plist>"
    )
    assert record._ccid([str(tmp_path / "none"), str(plist)]) == "1.5.2"
    plist.write_text("rubbish")
    assert record._ccid([str(plist)]) == ""
