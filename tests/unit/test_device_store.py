"""What the device of a slot keeps over power cuts, and from one command to the next."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.errors import ConfigError
from esim_bench.rack.device_store import FileState, decoded, device_state, encoded
from esim_bench.rack.model import load_rack
from esim_bench.rack.state import SimState, load_state, save_state


def test_values_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "A1.json"
    FileState(path).put("ipa/journal/1", b"\x00\xff")
    FileState(path).put("ipa/journal/2", b"")
    again = FileState(path)
    assert (again.get("ipa/journal/1"), again.get("ipa/journal/2"), again.get("other")) == (b"\x00\xff", b"", None)
    again.put("ipa/journal/1", b"new")
    again.delete("ipa/journal/2")
    again.delete("never there")
    assert (FileState(path).get("ipa/journal/1"), FileState(path).get("ipa/journal/2")) == (b"new", None)
    assert [one.name for one in path.parent.iterdir()] == ["A1.json"]


def test_reading_makes_no_file(tmp_path: Path) -> None:
    state = FileState(tmp_path / "A1.json")
    assert state.get("x") is None
    state.delete("x")
    assert not state.path.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": "%"}', "null"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "A1.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"A1\.json"):
        FileState(path).get("a")
    with pytest.raises(ConfigError):
        FileState(path).put("a", b"")
    assert path.read_text() == text


@given(st.dictionaries(st.text(), st.binary()))
def test_any_values_survive_json(values: dict[str, bytes]) -> None:
    assert decoded(json.loads(json.dumps(encoded(values)))) == values


def test_slots_and_racks_have_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path))
    one, other = load_rack("sim-3"), load_rack("sim-iot-3")
    device_state(one, "A1").put("key", b"value")
    assert device_state(one, "A1").get("key") == b"value"
    assert device_state(one, "B1").get("key") is None
    assert device_state(other, "A1").get("key") is None


def test_a_simulated_card_and_its_device_are_kept_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path))
    rack = load_rack("sim-iot-3")
    save_state(rack, "A1", SimState("7", b'{"a": 1}', {"ipa/journal/1": b"\x01"}))
    assert load_state(rack, "A1") == SimState("7", b'{"a": 1}', {"ipa/journal/1": b"\x01"})
    # A new card comes with a device that intends nothing.
    save_state(rack, "A1", SimState("7", b'{"a": 2}'))
    assert load_state(rack, "A1") == SimState("7", b'{"a": 2}')
