"""The index of a growing journal finds what a look at every record finds."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.events import (
    ApduEvent,
    AtEvent,
    AtrEvent,
    Event,
    MarkEvent,
    PowerAction,
    PowerEvent,
    RspEvent,
)
from esim_bench.rack.model import load_rack
from esim_bench.scenario import engine, registry
from esim_bench.trace import Journal, Reader
from esim_bench.trace.decode import ApduDecoder
from esim_bench.trace.index import ROWS, Filter, TraceIndex, is_error


@pytest.fixture(scope="module")
def run_trace(tmp_path_factory) -> Path:
    """The trace of a real run: provision on a simulated slot behind a modem."""
    rack = load_rack("sim-3")
    chosen = registry.scenario("provision")
    folder = tmp_path_factory.mktemp("traces")
    options = engine.RunOptions(seed=0, trace_dir=folder)
    engine.run_scenario(rack, [rack.one("B1")], chosen, chosen.parse({}), options, lambda *_: None)
    return next(folder.glob("**/B1*.pcapng"))


def indexed(path: Path) -> TraceIndex:
    index = TraceIndex(path)
    while index.advance():
        pass
    return index


def test_functions_are_named_as_the_decoder_names_them(run_trace: Path) -> None:
    decoder = ApduDecoder()
    expected: dict[str, list[int]] = {}
    for record in Reader(run_trace):
        meaning = decoder.observe(record.event)
        if isinstance(record.event, ApduEvent):
            expected.setdefault(meaning.function, []).append(record.index)
    index = indexed(run_trace)
    assert len(expected) > 10
    for function, numbers in expected.items():
        assert index.find(Filter(functions=frozenset((function,))), 0, 100_000) == numbers, function


def test_records_and_times_are_those_of_the_reader(run_trace: Path) -> None:
    index, reader = indexed(run_trace), Reader(run_trace)
    assert len(index) == len(reader)
    assert index.records(0, len(reader)) == reader[:]
    for number in (0, 7, len(reader) - 1):
        assert index.record(number) == reader[number]
        assert index.at_time(reader[number].at_ns) <= number
    assert index.at_time(0) == 0
    assert index.at_time(reader[-1].at_ns + 1) == len(reader)
    with pytest.raises(IndexError):
        index.record(len(reader))


COMMANDS = [bytes.fromhex(text) for text in ("00A40004023F00", "81E2910003BF2000", "80E2110002BF36", "FF")]
EVENTS = st.one_of(
    st.builds(
        ApduEvent,
        st.integers(0, 2**60),
        st.sampled_from(
            [bytes.fromhex(text) for text in ("00A40004023F00", "81E2910003BF2000", "80E2110002BF36", "FF")]
        ),
        st.sampled_from([b"\x90\x00", b"\x6a\x82", b"\x61\x10", b"", b"abc\x90\x00"]),
        st.integers(0, 10**9),
        st.integers(0, 3),
    ),
    st.builds(AtEvent, st.integers(0, 2**60), st.sampled_from([">", "<", "!"]), st.sampled_from(["AT", "OK", "ERROR"])),
    st.builds(MarkEvent, st.integers(0, 2**60), st.sampled_from(["step verify: FAIL", "cut point: idle"])),
    st.builds(AtrEvent, st.integers(0, 2**60), st.just(b"\x3b\x00"), st.booleans()),
    st.builds(PowerEvent, st.integers(0, 2**60), st.sampled_from(PowerAction), st.just("")),
    st.builds(
        RspEvent,
        st.integers(0, 2**60),
        st.just("https://x/y"),
        st.just(b""),
        st.just(b""),
        st.sampled_from(["200", "503"]),
        st.just(1),
    ),
)
FILTERS = st.builds(
    Filter,
    st.frozensets(st.sampled_from([0, 1, 2, 3, 4, 5]), max_size=2),
    st.frozensets(st.sampled_from(["SELECT", "ES10b.GetEUICCInfo1", "STORE DATA", "?", "no such"]), max_size=2),
    st.frozensets(st.sampled_from([0x9000, 0x6A82]), max_size=2),
    st.booleans(),
)


def wants(wanted: Filter, kind: int, function: str, event: Event) -> bool:
    sw = int.from_bytes(event.response[-2:], "big") if isinstance(event, ApduEvent) else None
    return (
        (not wanted.kinds or kind in wanted.kinds)
        and (not wanted.functions or function in wanted.functions)
        and (not wanted.status_words or (sw in wanted.status_words))
        and (not wanted.errors or is_error(event))
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=40), FILTERS, st.integers(0, 50), st.integers(1, 10), st.integers(1, 400))
def test_a_filter_finds_what_a_look_at_every_record_finds(
    tmp_path_factory, events, wanted, start, count, times
) -> None:
    path = tmp_path_factory.mktemp("index") / "S1.pcapng"
    kinds = {ApduEvent: 0, AtrEvent: 1, PowerEvent: 2, AtEvent: 3, RspEvent: 4, MarkEvent: 5}
    with Journal.create(path, slot="S1") as journal:
        index = TraceIndex(path)
        for number, event in enumerate(events * times):
            journal.emit(event)
            if number % 7 == 0:
                index.advance()
        while index.advance():
            pass
        decoder = ApduDecoder()
        hits = []
        for record in index.records(0, len(index)):
            function = decoder.observe(record.event).function
            if wants(wanted, kinds[type(record.event)], function, record.event):
                hits.append(record.index)
        assert index.find(wanted, start, count) == [hit for hit in hits if hit >= start][:count]
        last = min(start, len(index) - 1)
        assert index.find(wanted, last, count, backward=True) == [hit for hit in reversed(hits) if hit <= last][:count]
        assert index.count(wanted) in (None, len(hits))
        index.close()


def test_a_journal_of_many_blocks_is_found_through_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "S1.pcapng"
    rare = ROWS * 3 + 5
    with Journal.create(path, slot="S1") as journal:
        index = TraceIndex(path)
        for number in range(ROWS * 5 + 3):
            sw = b"\x69\x85" if number == rare else b"\x90\x00"
            journal.emit(ApduEvent(number * 1000, bytes.fromhex("00B0000000"), sw, 5))
            if number % 1500 == 0:
                index.advance(100)
        index.advance(100)
        assert index.behind == 0
        assert index.find(Filter(errors=True), 0, 10) == [rare]
        assert index.find(Filter(status_words=frozenset((0x6985,))), len(index), 10, backward=True) == [rare]
        assert index.count(Filter(status_words=frozenset((0x9000,)))) == len(index) - 1
        assert index.at_time(rare * 1000) == rare
        assert index.record(rare).event.response == b"\x69\x85"
        index.close()


def test_a_full_disk_costs_no_record_and_doubles_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "S1.pcapng"
    with Journal.create(path, slot="S1") as journal:
        for number in range(ROWS * 2 + 5):
            journal.emit(ApduEvent(number, bytes.fromhex("00B0000000"), b"\x90\x00", 5))
        index = TraceIndex(path)
        write = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:100], at))
        with pytest.raises(OSError, match="No space"):
            index.advance(10)
        assert len(index) == ROWS
        monkeypatch.setattr(os, "pwrite", write)
        index.advance(10)
        assert [record.at_ns for record in index.records(0, len(index))] == [*range(ROWS * 2 + 5)]
        index.close()
