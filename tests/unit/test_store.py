"""The run history."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from esim_bench.errors import ConfigError, RigError
from esim_bench.store.files import sweep, write_whole
from esim_bench.store.home import home, runs_dir, store_path
from esim_bench.store.runs import RunStore


def run(name: str, outcome: str = "PASS") -> dict[str, Any]:
    return {
        "run": name,
        "outcome": outcome,
        "seed": 7,
        "scenario": "provision",
        "rack": "sim-3",
        "started": "2026-01-01T00:00:00Z",
        "params": {"package": "x.der"},
        "version": "0.1.0",
        "slots": [
            {
                "slot": "S1",
                "form_factor": "4FF",
                "scenario": "provision",
                "outcome": outcome,
                "seconds": 1.25,
                "steps": [{"name": "read EID", "outcome": outcome, "seconds": 0.5, "detail": "ü"}],
                "trace": None,
                "apdus": 12,
            }
        ],
    }


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "home" / "history.sqlite")
    assert store.list() == []
    assert not store.path.exists()  # looking makes nothing
    store.add(run("a1"))
    assert store.get("a1") == run("a1")


def test_runs_are_listed_newest_first_and_limited(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "history.sqlite")
    for name in ("a", "b", "c"):
        store.add(run(name))
    assert [item["run"] for item in store.list()] == ["c", "b", "a"]
    assert [item["run"] for item in store.list(2)] == ["c", "b"]
    assert store.list(1)[0]["slots"] == [{"slot": "S1", "form_factor": "4FF", "outcome": "PASS"}]


def test_a_run_added_again_replaces_itself_in_its_place(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "history.sqlite")
    store.add(run("a"))
    store.add(run("b"))
    store.add(run("a", "FAIL"))
    assert [(item["run"], item["outcome"]) for item in store.list()] == [("b", "PASS"), ("a", "FAIL")]


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "history.sqlite")
    for name in ("2026-a", "2026-b", "2027-%"):
        store.add(run(name))
    assert store.get("2027")["run"] == "2027-%"
    assert store.get("latest")["run"] == "2027-%"
    with pytest.raises(ConfigError, match="several runs"):
        store.get("2026")
    for unknown in ("1", "", "%"):
        with pytest.raises(ConfigError, match="no such run"):
            store.get(unknown)


def test_a_document_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="not a run document"):
        RunStore(tmp_path / "history.sqlite").add({"slots": []})


def test_somebody_else_s_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"this is no database, not at all" * 100)
    with pytest.raises(ConfigError, match="not a run history"):
        RunStore(path).list()
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="not a run history"):
        RunStore(path).add(run("a"))
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "history.sqlite")
    store.add(run("a"))
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="newer version"):
        store.list()


def test_a_folder_in_its_place_is_the_operator_s_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        RunStore(tmp_path).list()


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    script = (
        "import sys\n"
        "from esim_bench.store.runs import RunStore\n"
        "for number in range(20):\n"
        "    RunStore(sys.argv[1]).add({'run': f'{sys.argv[2]}-{number}', 'outcome': 'PASS', 'slots': []})\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(RunStore(path).list()) == 60


def test_a_run_is_running_while_its_process_says_so(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    store, other = RunStore(path), RunStore(path)
    store.begin(run("a") | {"outcome": None})
    assert [(one["state"], one["outcome"]) for one in other.list()] == [("running", None)]
    assert other.unfinished() == []
    store.add(run("a"))
    assert [(one["state"], one["outcome"]) for one in other.list()] == [("finished", "PASS")]
    assert list((tmp_path / "running").iterdir()) == []


def test_a_run_whose_process_is_gone_is_unfinished_until_somebody_says_so(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    script = (
        "import os, sys\n"
        "from esim_bench.store.runs import RunStore\n"
        "RunStore(sys.argv[1]).begin({'run': 'a', 'outcome': None, 'slots': []})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    store = RunStore(path)
    (dead,) = store.unfinished()
    assert dead["run"] == "a"
    assert store.interrupt(dead | {"outcome": "ABORTED"})
    assert not store.interrupt(dead | {"outcome": "ABORTED"})  # the second to come finds it done
    assert store.unfinished() == []
    assert [(one["state"], one["outcome"]) for one in store.list()] == [("interrupted", "ABORTED")]
    store.tidy()
    assert list((tmp_path / "running").iterdir()) == []


def test_a_run_that_ended_in_time_is_not_interrupted(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "history.sqlite")
    store.begin(run("a") | {"outcome": None})
    store.add(run("a"))
    assert not store.interrupt(run("a") | {"outcome": "ABORTED"})
    assert store.get("a") == run("a")


def test_a_run_that_came_to_nothing_is_forgotten(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "history.sqlite")
    store.begin(run("a") | {"outcome": None})
    store.forget("a")
    assert store.list() == []
    assert store.unfinished() == []


def test_tidying_leaves_the_living_alone(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "history.sqlite")
    store.begin(run("a") | {"outcome": None})
    RunStore(store.path).tidy()
    assert RunStore(store.path).unfinished() == []


def test_a_history_of_the_first_schema_is_taken_over(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "history.sqlite")
    store.add(run("a"))
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("ALTER TABLE runs DROP COLUMN state")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    assert [one["state"] for one in store.list()] == ["finished"]
    store.add(run("b"))
    assert store.get("a") == run("a")


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    place = tmp_path / "run.json"
    write_whole(place, "old")
    stale = tmp_path / ".run.json.999999999.new"
    stale.write_text("ne")
    mine = tmp_path / f".A1.pcapng.{os.getpid()}.part"
    mine.write_text("alive")
    assert sweep(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, "run.json"])
    with pytest.raises(OSError, match="No such file"):
        write_whole(tmp_path / "nowhere" / "run.json", "new")
    with pytest.raises(UnicodeEncodeError):
        write_whole(place, "\udc80")
    assert place.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_home_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path))
    assert (home(), runs_dir(), store_path()) == (tmp_path, tmp_path / "runs", tmp_path / "history.sqlite")
    monkeypatch.delenv("ESIM_BENCH_HOME")
    assert home().name == "esim-bench"
