"""Every scenario of SGP.32 on all form factors: IoT-only and dual eUICCs, v1.2 and v1.0.1, direct and indirect."""

import logging
from pathlib import Path

import pytest

from esim_bench.rack.model import Rack, load_rack
from esim_bench.scenario import engine, registry
from esim_bench.scenario.results import Outcome, RunResult

SLOTS = (("A1", "4FF", "", "4ff"), ("B1", "MFF2", "quectel-eg25", "mff2"), ("C1", "iSIM", "sequans-gm02s", "isim"))
CARDS = {
    "v1.2": ["sgp32-1.2"],
    "v1.2 dual": ["sgp22", "sgp32-1.2"],
    "v1.0.1": ["sgp32-1.0.1"],
    "v1.0.1 dual": ["sgp22", "sgp32-1.0.1"],
}
WAYS = [
    (module.NAME, mode)
    for module in registry.IOT
    for mode in (("direct", "indirect") if "mode" in module.Params.model_fields else ("",))
]


def rack_of(folder: Path, rsp: list[str], more: str = "") -> Rack:
    text = f'[rack]\nname = "iot"\n{more}'
    for name, form_factor, module, personality in SLOTS:
        names = ", ".join(f'"{one}"' for one in rsp)
        text += f'\n[[slot]]\nname = "{name}"\nform_factor = "{form_factor}"\n'
        text += f'module = "{module}"\n' if module else ""
        text += f'sim = {{ personality = "{personality}", profile = "bootstrap-global", rsp = [{names}] }}\n'
    path = folder / "rack.toml"
    path.write_text(text)
    return load_rack(str(path))


def run(rack: Rack, name: str, **params: str) -> RunResult:
    scenario = registry.scenario(name)
    given = {key: value for key, value in params.items() if value}
    options = engine.RunOptions(keep_state=False)
    result, _ = engine.run_scenario(rack, list(rack.slots), scenario, scenario.parse(given), options)
    return result


def failures(result: RunResult) -> list[str]:
    return [
        f"{slot.slot} {step.name}: {step.outcome.value} {step.detail}"
        for slot in result.slots
        for step in slot.steps
        if step.outcome is not Outcome.PASS
    ]


@pytest.mark.parametrize("rsp", CARDS.values(), ids=CARDS)
@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_it_passes_on_all_form_factors(tmp_path: Path, rsp: list[str], name: str, mode: str) -> None:
    result = run(rack_of(tmp_path, rsp), name, mode=mode)
    assert failures(result) == []
    assert [slot.outcome for slot in result.slots] == [Outcome.PASS] * 3


@pytest.mark.parametrize("name", [module.NAME for module in registry.IOT])
def test_an_euicc_without_sgp32_is_skipped_and_says_why(tmp_path: Path, name: str) -> None:
    result = run(rack_of(tmp_path, ["sgp22"]), name)
    assert [slot.outcome for slot in result.slots] == [Outcome.SKIPPED] * 3
    assert all("has no SGP.32" in slot.steps[-1].detail for slot in result.slots)


def test_an_eim_of_v1_2_steers_an_euicc_of_v1_0_1(tmp_path: Path) -> None:
    rack = rack_of(tmp_path, ["sgp32-1.0.1"], '[eim]\nversion = "1.2"\n')
    assert failures(run(rack, "psmo_switch")) == []


@pytest.mark.parametrize("binding", ["asn1", "json"])
def test_both_bindings_of_esipa_serve(tmp_path: Path, binding: str) -> None:
    rack = rack_of(tmp_path, ["sgp32-1.2"])
    text = (tmp_path / "rack.toml").read_text()
    (tmp_path / "rack.toml").write_text(text.replace("sim = {", f'ipa = {{ binding = "{binding}" }}\nsim = {{'))
    rack = load_rack(str(tmp_path / "rack.toml"))
    assert failures(run(rack, "zero_touch", mode="indirect")) == []


def test_an_attack_that_succeeds_fails_the_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from esim_drivers.sim.iot.packages import PackageProcessor

    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(PackageProcessor, "_is_from", lambda self, eim, package: True)
    result = run(rack_of(tmp_path, ["sgp32-1.2"]), "attacks")
    assert [slot.outcome for slot in result.slots] == [Outcome.FAIL] * 3
    assert all("signed by a stranger" in line for line in failures(result))
