"""``esim-bench power``: a slot's power by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from esim_bench.cli.main import invoke

READER = 'form_factor = "4FF"\ncard = { driver = "bench-card", reader = "usb:1-1.2" }'
MODEM = 'form_factor = "MFF2"\nmodule = "quectel-eg25"\nmodem = { driver = "bench-modem", port = "usb:1-1.3:1.2" }'


@pytest.fixture
def rack_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def write(slot: str, more: str = "") -> None:
        path = tmp_path / "rack.toml"
        power = f'power = {{ driver = "bench-power", off_s = 0.1, on_s = 0.0, proof_timeout_s = 0.4{more} }}'
        path.write_text(f'[rack]\nname = "real"\n[[slot]]\nname = "A1"\n{slot}\n{power}\n')
        monkeypatch.setenv("ESIM_BENCH_RACK", str(path))

    return write


def test_on_switches_on(rack_of: Any, bench_drivers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rack_of(READER)
    assert invoke(["power", "on", "A1"]) == 0
    assert bench_drivers.device.powered
    assert capsys.readouterr().out == "on     bench-power\n"


def test_cycle_tells_the_proof(rack_of: Any, bench_drivers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rack_of(READER)
    powered_before(bench_drivers)
    assert invoke(["power", "cycle", "A1", "--off", "0.2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["slot"], document["power"]) == ("A1", "on")
    events = document["events"]
    assert [event["action"] for event in events] == ["off", "proof", "on"]
    assert events[1]["detail"].startswith("the reader sees no card after")
    assert events[2]["at_ns"] - events[0]["at_ns"] >= 0.2e9


def test_off_leaves_the_slot_dark(rack_of: Any, bench_drivers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rack_of(READER)
    powered_before(bench_drivers)
    assert invoke(["power", "off", "A1"]) == 0
    assert not bench_drivers.device.powered
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["off", "proof"]


def test_a_switch_that_lies_ends_with_exit_code_3(
    rack_of: Any, bench_drivers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rack_of(READER)
    powered_before(bench_drivers)
    bench_drivers.device.deaf_until = 1000
    assert invoke(["power", "off", "A1"]) == 3
    assert "nothing proves that it is" in capsys.readouterr().err


def test_a_cut_that_only_a_boot_proves_is_said_to_be_unproven(
    rack_of: Any, bench_drivers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rack_of(MODEM)
    assert invoke(["power", "off", "A1", "--cold"]) == 0
    assert "not proven" in capsys.readouterr().err


def test_simulated_slots_have_power_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["power", "cycle", "B1", "--off", "3600"]) == 0
    assert invoke(["power", "off", "A1"]) == 0
    assert "proof  card gone" in capsys.readouterr().out


def powered_before(bench_drivers: Any) -> None:
    """Have the slot find its device with power, as it stands on a bench."""
    real = bench_drivers.open_card

    def open_card(spec: Any, context: Any) -> Any:
        reader = real(spec, context)
        reader._ready_at = 0.0
        bench_drivers.device.powered = True
        return reader

    bench_drivers.entries["bench-card"].open_card = open_card
