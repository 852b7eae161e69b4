"""The run history asked about one rack: its latest runs, and the last one that ended on a slot."""

from pathlib import Path
from typing import Any

import pytest

from esim_bench.errors import ConfigError
from esim_bench.store import RunStore


def document(run: str, rack: str = "lab", state: str = "finished", **outcomes: str) -> dict[str, Any]:
    """Return a run's document: outcomes by slot."""
    return {
        "run": run,
        "state": state,
        "outcome": "PASS",
        "scenario": "switch",
        "rack": rack,
        "started": "2026-01-02T03:04:05+00:00",
        "slots": [{"slot": slot, "scenario": "switch", "outcome": outcome} for slot, outcome in outcomes.items()],
    }


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Return a history of runs on two racks; the last one goes on."""
    found = RunStore(tmp_path / "history.sqlite")
    found.add(document("20260102-030405-ffff", A1="PASS", B1="FAIL"))
    found.add(document("20260102-030405-aaaa", A1="TIMEOUT"))
    found.add(document("20260103-000000-0000", "elsewhere", B1="PASS"))
    found.add(document("20260104-000000-0000", state="running", A1=""))
    return found


def test_the_latest_runs_of_a_rack_come_in_the_order_in_which_they_began(store: RunStore) -> None:
    """Not in that of their ids: two of one second have none."""
    runs = store.of_rack("lab", 10)
    assert [run for _, run, _ in runs] == ["20260104-000000-0000", "20260102-030405-aaaa", "20260102-030405-ffff"]
    assert [state for _, _, state in runs] == ["running", "finished", "finished"]
    numbers = [number for number, _, _ in runs]
    assert numbers == sorted(numbers, reverse=True)
    assert len(store.of_rack("lab", 1)) == 1
    assert store.of_rack("nowhere", 10) == []


def test_the_last_run_that_ended_on_a_slot_is_of_the_same_rack(store: RunStore) -> None:
    """One that goes on has not ended; another rack's slot of the same name is another slot."""
    found = store.last_on("lab", "B1")
    assert found == ("20260102-030405-ffff", "2026-01-02T03:04:05+00:00", "switch", "FAIL")
    assert store.last_on("lab", "Z9") is None


def test_a_history_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    """And one that is no history is said."""
    store = RunStore(tmp_path / "history.sqlite", patience=0.1)
    assert store.of_rack("lab", 5) == []
    assert store.last_on("lab", "A1") is None
    store.path.write_bytes(b"x" * 4096)
    with pytest.raises(ConfigError, match="not a run history"):
        store.of_rack("lab", 5)
