"""Meanings and free text in a time line: the same as a decoder says that has seen everything from the beginning."""

import random
from pathlib import Path

import pytest

from esim_bench.events import ApduEvent, AtEvent
from esim_bench.rack.model import load_rack
from esim_bench.scenario import engine, registry
from esim_bench.trace import Journal, Reader, show
from esim_bench.trace.decode import ApduDecoder
from esim_bench.trace.index import Filter, TraceIndex
from esim_bench.trace.meanings import Meanings
from esim_bench.trace.reader import Record
from esim_bench.trace.search import Search
from esim_bench.trace.timeline import Anchor, Timeline


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> list[list[Record]]:
    """What happened on the slots of a real run."""
    rack = load_rack("sim-3")
    chosen = registry.scenario("provision")
    folder = tmp_path_factory.mktemp("traces")
    options = engine.RunOptions(seed=0, trace_dir=folder)
    engine.run_scenario(rack, list(rack.slots), chosen, chosen.parse({}), options, lambda *_: None)
    return [Reader(path)[:] for path in sorted(folder.glob("**/*.pcapng"))]


@pytest.fixture(scope="module", params=["closed", "growing"])
def line(request, recorded, tmp_path_factory) -> Timeline:
    """The run's journals, with the meanings in them and without."""
    folder = tmp_path_factory.mktemp(request.param)
    indexes = []
    for records in recorded:
        journal = Journal.create(folder / f"{records[0].slot}.pcapng", slot=records[0].slot)
        for record in records:
            journal.emit(record.event)
        journal.close(comments=request.param == "closed")
        indexes.append(TraceIndex(journal.path))
        while indexes[-1].advance():
            pass
    line = Timeline(indexes)
    line.refresh()
    return line


@pytest.fixture(scope="module")
def texts(recorded) -> dict[tuple[int, int], str]:
    """What each record means."""
    found = {}
    for member, records in enumerate(recorded):
        decoder = ApduDecoder()
        for record in records:
            found[member, record.index] = decoder.observe(record.event).text
    return found


def everything(line: Timeline) -> list[Anchor]:
    return line.stretch(0, len(line)).anchors


def search(line: Timeline, text: str, start: Anchor | None = None) -> list[Anchor]:
    task = Search(line, text, Meanings(line.indexes), start)
    hits: list[Anchor] = []
    for _ in range(100_000):
        found = task.step(0.002)
        hits += found.hits
        if found.ended:
            assert found.searched == found.total
            assert len(set(hits)) == len(hits)
            return hits
    raise AssertionError("the search has no end")


def test_asked_in_any_order_a_record_means_what_it_means_in_order(line: Timeline, texts) -> None:
    anchors = everything(line)
    assert len(anchors) > 500
    random.Random(1).shuffle(anchors)
    meanings = Meanings(line.indexes)
    for anchor in anchors[:400]:
        assert meanings.exact(anchor, line.record(anchor)) == texts[anchor.member, anchor.n]
        assert meanings.known(anchor, line.record(anchor)) == texts[anchor.member, anchor.n]


def test_a_page_in_order_means_what_it_means_to_a_decoder_from_the_beginning(line: Timeline, texts) -> None:
    anchors = everything(line)
    meanings = Meanings(line.indexes)
    for anchor in anchors[len(anchors) // 2 :][:200]:
        assert meanings.exact(anchor, line.record(anchor)) == texts[anchor.member, anchor.n]


def test_the_quick_meaning_names_function_and_status_word(line: Timeline, texts) -> None:
    meanings = Meanings(line.indexes)
    apdus = [one for one in everything(line) if isinstance(line.record(one).event, ApduEvent)]
    for anchor in apdus:
        quick = meanings.quick(anchor)
        function, _, word = quick.partition(" -> ")
        response = line.record(anchor).event.response
        assert word.startswith(response[-2:].hex().upper())
        if function.startswith("ES10"):
            assert texts[anchor.member, anchor.n].startswith(function)


def test_in_the_middle_of_a_long_package_the_function_is_still_right(tmp_path: Path) -> None:
    events = [ApduEvent(n, bytes.fromhex(f"81E2{p1}{block:02X}04{data}"), b"\x90\x00", 1) for n, p1, block, data in [
        (0, "91", 0, "BF360102"),
        *((n, "91", 0, "86025A5A") for n in range(1, 1200)),
    ]]  # fmt: skip
    with Journal.create(tmp_path / "S1.pcapng", slot="S1") as journal:
        for event in events:
            journal.emit(event)
        index = TraceIndex(journal.path)
        index.advance(10)
        line = Timeline([index])
        line.refresh()
        text = Meanings([index]).exact(line.at(1100), line.record(line.at(1100)))
        index.close()
    assert text is not None
    assert text.startswith("ES10b.LoadBoundProfilePackage")


def test_what_takes_too_long_is_gone_on_with(line: Timeline, texts) -> None:
    anchors = [one for one in everything(line) if one.member == 0]
    last = anchors[-1]
    meanings, record, asked = Meanings(line.indexes), line.record(last), 1
    while (text := meanings.exact(last, record, 0.0 if asked < 3 else None)) is None:
        asked += 1
    assert text == texts[0, last.n]


@pytest.mark.parametrize(
    "text", ["EF.ICCID", "EnableProfile", "bf2d", "BF 2D", "AT+CSIM", "usim", "9F", "nowhere", "7"]
)
def test_a_search_finds_what_a_look_at_every_record_finds(line: Timeline, texts, text: str) -> None:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    expected = set()
    for anchor in everything(line):
        record = line.record(anchor)
        pieces = [bytes.fromhex(part) for part in show.hex_of(record).split()]
        if text.lower() in texts[anchor.member, anchor.n].lower() or (raw and any(raw in one for one in pieces)):
            expected.add(anchor)
    found = set(search(line, text))
    assert found >= expected
    labels = {one for one in found - expected if text.lower() not in Meanings(line.indexes).quick(one).lower()}
    assert not labels
    assert bool(found) == (text != "nowhere")


def test_a_search_begins_at_the_given_record_and_then_at_the_beginning(line: Timeline) -> None:
    anchors = everything(line)
    hits = search(line, "SELECT", anchors[-1])
    assert set(hits) == set(search(line, "SELECT"))


def test_a_search_stays_in_what_the_filter_wants(line: Timeline) -> None:
    only = Timeline(line.indexes, Filter(kinds=frozenset((3,))), {1})
    only.refresh()
    hits = search(only, "OK")
    assert hits
    assert all(isinstance(line.record(one).event, AtEvent) and one.member == 1 for one in hits)


def test_a_search_goes_on_with_what_is_written_meanwhile(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "S1.pcapng", slot="S1") as journal:
        index = TraceIndex(journal.path)
        line = Timeline([index])
        journal.emit(AtEvent(1, ">", "AT+COPS?"))
        index.advance()
        line.refresh()
        task = Search(line, "cops", Meanings([index]))
        assert task.step(1.0) == task.step(1.0).__class__([Anchor(1, 0, 0)], 2, 2, True)
        journal.emit(AtEvent(2, ">", "AT"))
        journal.emit(AtEvent(3, "<", "+COPS: 0"))
        index.advance()
        line.refresh()
        assert not task.step(1.0).ended
        found = task.step(1.0)
        assert found.hits == [Anchor(3, 0, 2)]
        assert found.ended
        index.close()
