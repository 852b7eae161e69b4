"""``esim-bench trace`` on the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from esim_bench.cli.trace import cli
from esim_bench.errors import ConfigError
from esim_bench.events import ApduEvent, AtEvent, AtrEvent, MarkEvent
from esim_bench.trace.journal import Journal
from esim_bench.trace.reader import Reader

T0 = 1_767_225_600_000_000_000


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "A1.pcapng"
    with Journal.create(path, slot="A1") as journal:
        journal.emit(AtrEvent(T0, b"\x3b\x00", cold=True))
        journal.emit(MarkEvent(T0 + 1, "step enable\nsecond line \x1b[31m"))
        journal.emit(ApduEvent(T0 + 2, bytes.fromhex("81E2110003BF3E03"), b"\x90\x00", 1_000_000))
        journal.emit(ApduEvent(T0 + 3_000_000, bytes.fromhex("81E29101035C015A"), b"\x61\x15", 1_000_000))
        answer = bytes.fromhex("BF3E125A10890490321234512345123456789012359000")
        journal.emit(ApduEvent(T0 + 5_000_002, bytes.fromhex("01C0000015"), answer, 1_000_000))
        journal.emit(ApduEvent(T0 + 9_000_000, bytes.fromhex("0020000108 39373533FFFFFFFF"), b"\x90\x00", 1_000_000))
        journal.emit(AtEvent(T0 + 9_000_001, ">", 'AT+CPIN="9753"'))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_show_prints_a_line_per_record_and_names_the_es10_function(trace: Path) -> None:
    lines = run("show", trace).splitlines()
    assert len(lines) == 7
    assert lines[0].split() == ["1", "00:00:00.000000", "atr", "3B00", "cold", "ATR", "3B00"]
    assert lines[1].endswith(r"step enable\nsecond line \x1b[31m")
    assert "ES10c.GetEID block 0 -> 9000" in lines[2]
    assert "ES10c.GetEID" in lines[4]
    assert lines[4].endswith(", 6.0 ms")
    assert "01C0000015 BF3E125A10" in lines[4]


def test_show_can_be_narrowed(trace: Path) -> None:
    assert len(run("show", trace, "--apdu-only").splitlines()) == 4
    assert [line.split()[0] for line in run("show", trace, "--from", 3, "--to", 4).splitlines()] == ["3", "4"]
    assert [line.split()[0] for line in run("show", trace, "--grep", "bf3e03").splitlines()] == ["3"]
    assert run("show", trace, "--from", 100) == ""
    with pytest.raises(ConfigError, match="empty range"):
        run("show", trace, "--from", 4, "--to", 3)


def test_show_as_json_is_one_document(trace: Path) -> None:
    document = json.loads(run("show", trace, "--json"))
    assert document["total"] == 7
    assert document["records"][4]["command"] == "01C0000015"
    assert document["records"][4]["sw"] == "9000"
    assert [record["kind"] for record in document["records"]] == ["atr", "mark", "apdu", "apdu", "apdu", "apdu", "at"]
    assert json.loads(run("show", trace, "--json", "--grep", "no such text"))["records"] == []


def test_stats_count_the_functions(trace: Path) -> None:
    rows = {row["function"]: row for row in json.loads(run("stats", trace, "--json"))["functions"]}
    assert rows["ES10c.GetEID"] == {
        "function": "ES10c.GetEID",
        "count": 1,
        "unfinished": 0,
        "total_ms": 6.0,
        "median_ms": 6.0,
    }
    assert "ES10c.GetEID" in run("stats", trace)


@pytest.mark.parametrize("form", ["text", "json", "csv", "pcapng"])
def test_every_export_is_masked(trace: Path, tmp_path: Path, form: str) -> None:
    target = tmp_path / "sub" / f"copy.{form}"
    run("export", trace, "--format", form, "-o", target)
    content = target.read_bytes()
    for secret in (b"39373533", bytes.fromhex("39373533"), b'"9753"'):
        assert secret not in content
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    if form == "json":
        assert len(json.loads(content)["records"]) == 7
    elif form == "csv":
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        assert rows[5]["command"] == "0020000108" + "2A" * 8
        assert rows[5]["meaning"].endswith("[masked]")
    elif form == "pcapng":
        with Reader(target) as copy, Reader(trace) as original:
            assert [record.at_ns for record in copy] == [record.at_ns for record in original]
            assert copy[5].masked == ((5, 8),)


def test_text_goes_to_stdout_without_a_file_to_write_to(trace: Path) -> None:
    assert run("export", trace, "--format", "text").count("\n") == 7
    with pytest.raises(ConfigError, match="expected -o FILE"):
        run("export", trace, "--format", "pcapng")


def test_a_trace_is_never_exported_onto_itself(trace: Path) -> None:
    before = trace.read_bytes()
    with pytest.raises(ConfigError, match="onto itself"):
        run("export", trace, "--format", "text", "-o", trace)
    assert trace.read_bytes() == before


def test_an_export_that_fails_leaves_nothing(trace: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        run("export", trace, "--format", "json", "-o", tmp_path / "file" / "x.json")


def test_a_file_that_is_no_trace_is_the_operator_s_mistake(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello, hello, hello, hello, hello")
    for command in ("show", "stats"):
        with pytest.raises(ConfigError, match="not a trace"):
            run(command, tmp_path / "x")
        with pytest.raises(ConfigError, match="cannot read"):
            run(command, tmp_path / "missing")


def test_a_torn_tail_is_told_and_does_no_harm(trace: Path) -> None:
    trace.write_bytes(trace.read_bytes()[:-7])
    result = CliRunner().invoke(cli, ["show", str(trace)], catch_exceptions=False)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 6
    assert "unfinished record" in result.stderr
