"""What a rack file says of SGP.32: eUICCs' standards, the IPA of a slot, the bench's eIM."""

from pathlib import Path

import pytest

from esim_bench.errors import ConfigError
from esim_bench.rack.model import Rack, load_rack


def rack(folder: Path, slot: str = 'sim = { rsp = ["sgp22"] }', head: str = "") -> Rack:
    path = folder / "rack.toml"
    path.write_text(f'{head}\n[rack]\nname = "x"\n[[slot]]\nname = "A1"\nform_factor = "MFF2"\n{slot}\n')
    return load_rack(path)


@pytest.mark.parametrize(
    ("rsp", "iot"),
    [
        ('["sgp22"]', None),
        ('["sgp32-1.2"]', "1.2"),
        ('["sgp32-1.0.1"]', "1.0.1"),
        ('["sgp22", "sgp32-1.2"]', "1.2"),
    ],
)
def test_standards_of_an_euicc(tmp_path: Path, rsp: str, iot: str | None) -> None:
    (slot,) = rack(tmp_path, f"sim = {{ rsp = {rsp} }}").slots
    assert slot.sim is not None
    assert (slot.sim.iot, slot.iot) == (iot, iot is not None)


@pytest.mark.parametrize("rsp", ["[]", '["sgp32"]', '["sgp32-1.2", "sgp32-1.0.1"]', '["sgp32-1.3"]', '"sgp22"'])
def test_what_no_euicc_is(tmp_path: Path, rsp: str) -> None:
    with pytest.raises(ConfigError, match="rsp"):
        rack(tmp_path, f"sim = {{ rsp = {rsp} }}")


def test_a_real_slot_with_an_ipa(tmp_path: Path) -> None:
    text = 'card = { driver = "pcsc" }\nipa = { version = "1.0.1", binding = "json", features = ["indirectRsp"] }'
    (slot,) = rack(tmp_path, text).slots
    assert slot.ipa is not None
    assert (slot.iot, slot.iot_version, slot.ipa.binding, slot.ipa.features) == (
        True,
        "1.0.1",
        "json",
        ["indirectRsp"],
    )


@pytest.mark.parametrize(
    "ipa", ['{ version = "2" }', '{ binding = "xml" }', '{ features = ["telepathy"] }', '{ features = "directRsp" }']
)
def test_what_no_ipa_is(tmp_path: Path, ipa: str) -> None:
    with pytest.raises(ConfigError, match="ipa"):
        rack(tmp_path, f'card = {{ driver = "pcsc" }}\nipa = {ipa}')


def test_the_eim_of_a_rack(tmp_path: Path) -> None:
    said = rack(tmp_path, head='[eim]\nversion = "1.0.1"\ncurve = "brainpool"').eim
    assert (said.version, said.curve) == ("1.0.1", "brainpool")
    assert rack(tmp_path, 'sim = { rsp = ["sgp32-1.0.1"] }').eim_version == "1.0.1"
    with pytest.raises(ConfigError, match="curve"):
        rack(tmp_path, head='[eim]\ncurve = "p384"')


def test_the_packaged_racks() -> None:
    assert [slot.iot for slot in load_rack("sim-3").slots] == [False] * 3
    assert [slot.iot_version for slot in load_rack("sim-iot-3").slots if slot.iot] == ["1.2"] * 3
