"""``make hil``: every dialect, scenario and form factor through the real layers. Takes a while."""

import pytest

from esim_bench import data

pytestmark = pytest.mark.hil

CONSUMER = ("provision", "switch")
IOT = ("zero_touch", "psmo_switch", "indirect_download", "rollback", "fallback", "emergency", "eim_rotation", "attacks")
FORM_FACTORS = ("4FF", "MFF2", "iSIM")
WORKING = [name for name in data.module_names() if data.module(name).expect.access == "works"]


def check(document, names: dict[str, str]) -> None:
    found = {names[slot["slot"]]: (slot["outcome"], slot["steps"][-1]["detail"]) for slot in document["slots"]}
    assert {name: what for name, what in found.items() if what[0] != "PASS"} == {}
    assert len(found) == len(names)


@pytest.mark.parametrize("form_factor", FORM_FACTORS)
@pytest.mark.parametrize("scenario", CONSUMER + IOT)
def test_every_scenario_in_a_reader(pcsc_lab, in_reader, scenario, form_factor):
    rsp = "sgp22" if scenario in CONSUMER else "sgp32-1.2"
    served, real = in_reader(form_factor, form_factor, rsp=rsp)
    pcsc_lab.start_pcscd(pcsc_lab.start(served, rate=50)["reader_config"])
    _, document, errors = pcsc_lab.bench("run", scenario, "--rack", str(pcsc_lab.rack("real", real)), timeout=230)
    assert document is not None, errors
    check(document, {slot["name"]: slot["name"] for slot in real})


@pytest.mark.parametrize("form_factor", FORM_FACTORS)
@pytest.mark.parametrize("scenario", CONSUMER + IOT)
def test_every_scenario_behind_every_dialect(lab, behind_modems, scenario, form_factor):
    rsp = "sgp22" if scenario in CONSUMER else "sgp32-1.2"
    served, real = behind_modems(lab.folder, WORKING, form_factor, rsp=rsp)
    lab.start(served, rate=50)
    _, document, errors = lab.bench("run", scenario, "--rack", str(lab.rack("real", real)), timeout=230)
    assert document is not None, errors
    check(document, {slot["name"]: slot["module"] for slot in real})
