"""Scenarios on a slot whose power is switched by something that may lie: a cut without its proof is an ERROR."""

from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock
from esim_bench.errors import ConfigError
from esim_bench.ports import Proof
from esim_bench.rack.check import check
from esim_bench.rack.model import Rack, load_rack
from esim_bench.scenario import engine, registry
from esim_bench.scenario.results import Outcome, SlotResult


@pytest.fixture(autouse=True)
def _virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "in_time", lambda rack, real_time, job, rate: clock.run_virtual(job))


READER = 'form_factor = "4FF"\ncard = { driver = "bench-card", reader = "usb:1-1.2" }'
MODEM = 'form_factor = "MFF2"\nmodule = "quectel-eg25"\nmodem = { driver = "bench-modem", port = "usb:1-1.3:1.2" }'


def rack_of(folder: Path, slot: str, power: str = "") -> Rack:
    path = folder / "rack.toml"
    path.write_text(
        f'[rack]\nname = "real"\n[[slot]]\nname = "A1"\n{slot}\npower = {{ driver = "bench-power"{power} }}\n'
    )
    return load_rack(str(path))


def run(rack: Rack, name: str = "power_cycle", **params: Any) -> SlotResult:
    scenario = registry.scenario(name)
    result, _ = engine.run_scenario(rack, list(rack.slots), scenario, scenario.parse(params), engine.RunOptions())
    return result.slots[0]


def test_proven_cuts_pass(tmp_path: Path, bench_drivers: Any) -> None:
    result = run(rack_of(tmp_path, READER, ", port = 2"))
    assert [(step.name, step.outcome) for step in result.steps if step.outcome is not Outcome.PASS] == []
    assert result.outcome is Outcome.PASS
    # The driver sees its own keys only.
    assert bench_drivers.settings == {"port": 2}
    assert bench_drivers.device.ons == bench_drivers.device.offs + 1 >= 4


@pytest.mark.parametrize(
    ("cut", "name"),
    [
        ("idle", "cut in idle"),
        ("mid-download", "cut in mid-download"),
        ("after-enable", "cut right after enable"),
    ],
)
def test_a_cut_without_its_proof_is_an_error_wherever_it_is_made(
    tmp_path: Path, bench_drivers: Any, cut: str, name: str
) -> None:
    """In mid-download the scenario awaits a broken transport: an unproven cut must not be taken for it."""
    bench_drivers.device.deaf_until = 1000
    result = run(rack_of(tmp_path, READER), cut=cut)
    assert result.outcome is Outcome.ERROR
    step = result.steps[-1]
    assert (step.name, step.outcome) == (name, Outcome.ERROR)
    assert "nothing proves that it is" in step.detail


def test_boot_lines_prove_the_cuts_of_a_soldered_module(tmp_path: Path, bench_drivers: Any) -> None:
    result = run(rack_of(tmp_path, MODEM), cut="idle")
    assert [(step.name, step.detail) for step in result.steps if step.outcome is not Outcome.PASS] == []


def test_a_soldered_module_with_its_own_supply_is_an_error(tmp_path: Path, bench_drivers: Any) -> None:
    bench_drivers.device.deaf_until = 1000
    result = run(rack_of(tmp_path, MODEM), cut="idle")
    assert (result.outcome, result.steps[-1].name) == (Outcome.ERROR, "cut in idle")
    assert "the module did not boot" in result.steps[-1].detail


def test_nobody_looks_when_the_rack_file_says_none(tmp_path: Path, bench_drivers: Any) -> None:
    """The operator decided so: then a switch that lies goes unnoticed here."""
    bench_drivers.device.deaf_until = 1000
    result = run(rack_of(tmp_path, READER, ', proof = "none"'), cut="idle")
    assert result.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("slot", "power", "message"),
    [
        (MODEM, ', proof = "card-gone"', "card-gone is impossible here.*behind a modem"),
        (READER, ', proof = "boot-urc"', "boot-urc is impossible here: expected one of card-gone, usb-gone, none"),
        (MODEM, ', proof = "current-below"', "measures no current"),
        (MODEM.replace("quectel-eg25", "dell-dw5821e"), ', proof = "boot-urc"', "no boot line is known"),
        (MODEM.replace("usb:1-1.3:1.2", "/dev/ttyS0"), ', proof = "usb-gone"', "nobody knows which USB device"),
    ],
)
def test_check_complains_about_impossible_proofs(
    tmp_path: Path, bench_drivers: Any, slot: str, power: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(rack_of(tmp_path, slot, power))


@pytest.mark.parametrize(
    ("slot", "power", "proofs"),
    [
        (READER, "", set()),
        (MODEM, ', proof = "usb-gone"', set()),
        (MODEM.replace("usb:1-1.3:1.2", "/dev/ttyS0"), ', proof = "usb-gone", usb = "1-1.4"', set()),
        (MODEM, ', proof = "card-gone"', {Proof.CARD_GONE}),
        (MODEM, ', proof = "current-below"', {Proof.CURRENT_BELOW}),
        (MODEM, "", set()),
    ],
)
def test_check_takes_possible_proofs(
    tmp_path: Path, bench_drivers: Any, slot: str, power: str, proofs: set[Proof]
) -> None:
    bench_drivers.proofs = frozenset(proofs)
    check(rack_of(tmp_path, slot, power))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (', proof = "faith"', "proof"),
        (", off_s = -1", "off_s"),
        (", proof_timeout_s = 0", "proof_timeout_s"),
        (', usb = "usb:1-1"', "usb"),
    ],
)
def test_keys_of_the_power_table_are_checked(tmp_path: Path, keys: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rack_of(tmp_path, READER, keys)
