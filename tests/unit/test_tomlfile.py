"""Complaints about the operator's files name file, line, key, what is wrong and what was expected."""

from pathlib import Path

import pytest

from esim_bench.errors import ConfigError
from esim_bench.rack.model import load_rack

GOOD = """\
[rack]
name = "lab"

[[slot]]
name = "A1"
form_factor = "4FF"
sim = { personality = "standard" }

[[slot]]
name = "B1"
form_factor = "MFF2"
module = "quectel-eg25"
sim = { personality = "standard" }
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rack.toml"
    path.write_text(text)
    return path


def test_a_good_rack_file(tmp_path: Path) -> None:
    rack = load_rack(write(tmp_path, GOOD))
    assert [slot.name for slot in rack.slots] == ["A1", "B1"]
    assert rack.simulated
    assert not rack.slots[0].protected


def test_the_packaged_rack_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESIM_BENCH_RACK", raising=False)
    assert [slot.form_factor.value for slot in load_rack().slots] == ["4FF", "MFF2", "iSIM"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"MFF2"', '"MFF3"', r"rack.toml:11: slot.1.form_factor: expected one of .*MFF2.*found 'MFF3'"),
        ('name = "B1"', 'name = "A1"', r"slot names must be unique, 'A1' comes twice"),
        ('name = "B1"', 'nome = "B1"', r"rack.toml:\d+: slot.1.nome: unknown key"),
        ('"quectel-eg25"', '"quectel-eg99"', r"rack.toml:12: slot.1.module: expected .*one of .*'quectel-eg99'"),
        (
            'sim = { personality = "standard" }',
            'sim = { personalty = "x" }',
            r"rack.toml:7: slot.0.sim.personalty: unknown",
        ),
        ('name = "A1"', 'name = "A 1"', r"rack.toml:5: slot.0.name:"),
        ("[rack]", "[rack", r"rack.toml:1: not valid TOML"),
        ('sim = { personality = "standard" }', "", r"expected a card, modem or sim table"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_rack(write(tmp_path, GOOD.replace(old, new, 1)))


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the rack file: No such file"):
        load_rack(tmp_path / "none.toml")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "rack.toml"
    path.write_bytes(b"\xff\xfe[rack]")
    with pytest.raises(ConfigError, match="not a text file"):
        load_rack(path)


def test_a_slot_that_is_not_simulated_is_protected(tmp_path: Path) -> None:
    text = GOOD.replace('sim = { personality = "standard" }', 'card = { driver = "pcsc", reader = "usb:1-1" }', 1)
    rack = load_rack(write(tmp_path, text))
    assert rack.slots[0].protected
    assert not rack.simulated


def test_unknown_slots_are_the_operators_mistake(tmp_path: Path) -> None:
    rack = load_rack(write(tmp_path, GOOD))
    assert [slot.name for slot in rack.select(["b*"])] == ["B1"]
    with pytest.raises(ConfigError, match="expected one of A1, B1, found 'Z9'"):
        rack.select(["Z9"])
