"""The time line over many journals is the sorted list of all their records, without being one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.events import ApduEvent, AtEvent, Event, MarkEvent, PowerAction, PowerEvent
from esim_bench.trace import Journal
from esim_bench.trace.index import ROWS, Filter, TraceIndex
from esim_bench.trace.timeline import Anchor, Timeline

SELECT, READ = bytes.fromhex("00A40004023F00"), bytes.fromhex("00B0000000")


def event_at(at_ns: int, what: int) -> Event:
    """Return one of a few events."""
    choices: list[Callable[[], Event]] = [
        lambda: ApduEvent(at_ns, SELECT, b"\x90\x00", 5),
        lambda: ApduEvent(at_ns, READ, b"\x6a\x82", 5),
        lambda: AtEvent(at_ns, "<", "OK"),
        lambda: AtEvent(at_ns, "<", "ERROR"),
        lambda: MarkEvent(at_ns, "step verify: FAIL"),
        lambda: PowerEvent(at_ns, PowerAction.OFF),
    ]
    return choices[what]()


WANTS: dict[Filter, Callable[[int], bool]] = {
    Filter(): lambda what: True,
    Filter(errors=True): lambda what: what in (1, 3, 4),
    Filter(kinds=frozenset((3,))): lambda what: what in (2, 3),
    Filter(functions=frozenset(("SELECT",))): lambda what: what == 0,
    Filter(status_words=frozenset((0x6A82, 0x6985))): lambda what: what == 1,
    Filter(kinds=frozenset((0, 3)), errors=True): lambda what: what in (1, 3),
    Filter(functions=frozenset(("no such",))): lambda what: False,
}


class Bench:
    """Journals that are written, their indexes, and the plain list that the time line must be equal to."""

    def __init__(self, folder: Path, members: int, shifts: tuple[int, ...] = ()) -> None:
        self.shifts = shifts or (0,) * members
        self.journals = [Journal.create(folder / f"S{n}.pcapng", slot=f"S{n}") for n in range(members)]
        self.indexes = [TraceIndex(journal.path) for journal in self.journals]
        self.plain: list[tuple[Anchor, int]] = []
        self._counts = [0] * members
        self._latest = [0] * members

    def write(self, member: int, at_ns: int, what: int) -> None:
        self._latest[member] = max(self._latest[member], at_ns)
        self.plain.append((Anchor(self._latest[member] + self.shifts[member], member, self._counts[member]), what))
        self._counts[member] += 1
        self.journals[member].emit(event_at(at_ns, what))

    def advance(self) -> None:
        for index in self.indexes:
            while index.advance():
                pass

    def wanted(self, wanted: Filter, members: frozenset[int] | None = None) -> list[Anchor]:
        fits = WANTS[wanted]
        return sorted(one for one, what in self.plain if fits(what) and (members is None or one.member in members))

    def close(self) -> None:
        for journal, index in zip(self.journals, self.indexes, strict=True):
            journal.close(comments=False)
            index.close()


RECORDS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 5)), max_size=30)


@settings(max_examples=80, deadline=None)
@given(
    RECORDS,
    RECORDS,
    st.sampled_from([1, 3, 90]),
    st.sampled_from([*WANTS]),
    st.sampled_from([*WANTS]),
    st.one_of(st.none(), st.frozensets(st.integers(0, 2))),
    st.sampled_from([(), (0, -3, 20)]),
    st.data(),
)
def test_it_equals_a_sorted_list_of_everything(
    tmp_path_factory, early, late, times, wanted, other, members, shifts, data
) -> None:
    bench = Bench(tmp_path_factory.mktemp("line"), 3, shifts)
    line = Timeline(bench.indexes, wanted, members, shifts)
    for records in (early * times, late * times):
        for record in records:
            bench.write(*record)
        bench.advance()
        assert line.refresh()
        expected = bench.wanted(wanted, members)
        assert len(line) == len(expected)
        assert line.span() == ((expected[0].at_ns, expected[-1].at_ns) if expected else None)
        everything = bench.wanted(Filter())
        before, after = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 8))
        assert line.tail(after).anchors == expected[max(0, len(expected) - after) :]
        at_ns = data.draw(st.integers(-1, 32))
        assert line.at_time(at_ns) == sum(one.at_ns < at_ns for one in expected)
        if expected:
            ordinal = data.draw(st.integers(0, len(expected) - 1))
            assert line.at(ordinal) == expected[ordinal]
            stretch = line.stretch(ordinal, after)
            assert stretch.anchors == expected[ordinal : ordinal + after]
            assert stretch.first == ordinal
        if everything:
            # Any record may be the anchor, also one that is not wanted here.
            anchor = data.draw(st.sampled_from(everything))
            place = sum(one < anchor for one in expected)
            assert line.ordinal(anchor) == place
            assert line.wants(anchor) == (anchor in set(expected))
            window = line.window(anchor, before, after)
            assert window.first == max(0, place - before)
            assert window.anchors == expected[max(0, place - before) : place + after]
            both = [one for one in bench.wanted(other, members) if one in set(expected)]
            assert line.find(other, anchor, after) == [one for one in both if one > anchor][:after]
            back = [one for one in reversed(both) if one < anchor][:after]
            assert line.find(other, anchor, after, backward=True) == back
            assert line.find(other, None, 3) == both[:3]
            assert line.find(other, None, 3, backward=True) == [*reversed(both)][:3]
    bench.close()


def test_an_anchor_stays_where_it_is_while_earlier_records_come_late(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    for number in range(10):
        bench.write(0, 1000 + number, 0)
    bench.advance()
    line = Timeline(bench.indexes)
    line.refresh()
    anchor = line.at(5)
    # The other journal is read later, but what it tells of was before.
    for number in range(7):
        bench.write(1, 500 + number, 0)
    bench.advance()
    line.refresh()
    assert line.ordinal(anchor) == 12
    assert line.at(12) == anchor
    assert line.record(anchor).at_ns == 1005
    bench.close()


def test_what_has_come_is_not_there_before_it_is_taken_note_of(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    bench.write(0, 10, 1)
    bench.advance()
    lines = [Timeline(bench.indexes), Timeline(bench.indexes, Filter(errors=True))]
    for line in lines:
        line.refresh()
    bench.write(0, 11, 1)
    bench.write(1, 5, 1)
    bench.advance()
    for line in lines:
        assert len(line) == 1
        assert line.tail(5).anchors == [Anchor(10, 0, 0)]
        assert line.stretch(0, 5).anchors == [Anchor(10, 0, 0)]
        assert line.find(Filter(errors=True), None, 5) == [Anchor(10, 0, 0)]
    bench.close()


def test_a_clock_that_is_set_back_does_not_change_the_order_of_a_journal(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    for at_ns in (100, 200, 50, 60, 300):
        bench.write(0, at_ns, 0)
    bench.write(1, 150, 2)
    bench.advance()
    line = Timeline(bench.indexes)
    line.refresh()
    found = line.stretch(0, 10).anchors
    assert [(one.member, one.n) for one in found] == [(0, 0), (1, 0), (0, 1), (0, 2), (0, 3), (0, 4)]
    assert [line.record(one).at_ns for one in found] == [100, 150, 200, 50, 60, 300]
    bench.close()


def test_many_blocks_are_counted_in_steps(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    for number in range(ROWS * 3 + 17):
        bench.write(number % 2, number, 1 if number % 500 == 0 else 0)
    bench.advance()
    wanted = Filter(kinds=frozenset((0,)), errors=True)
    line = Timeline(bench.indexes, wanted)
    calls = 1
    while not line.refresh(0.0):
        calls += 1
    assert calls > 1
    assert len(line) == 7
    bench.plain = [(one, 1 if one.at_ns % 500 == 0 else 0) for one, _ in bench.plain]
    assert line.stretch(0, 10).anchors == [one for one, what in bench.plain if what == 1]
    assert line.at_fraction(0.0) == 0
    assert line.at_fraction(0.5) == 3
    assert line.at_fraction(1.0) == 6
    bench.close()


def test_past_the_end_there_is_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1)
    bench.write(0, 1, 0)
    bench.advance()
    line = Timeline(bench.indexes)
    line.refresh()
    with pytest.raises(IndexError):
        line.at(1)
    with pytest.raises(IndexError):
        line.at(-1)
    assert line.stretch(5, 5).anchors == []
    assert Timeline([]).span() is None
    bench.close()


def test_runs_in_virtual_time_stand_one_after_another(tmp_path: Path) -> None:
    """Two runs that both began at 100 of their own time; the second one was in truth an hour later."""
    hour = 3600
    bench = Bench(tmp_path, 3, (5000, 5000 + hour, 5000 + hour))
    for member in range(3):
        for at_ns in (100, 200, 300):
            bench.write(member, at_ns, 0)
    bench.advance()
    line = Timeline(bench.indexes, shifts=bench.shifts)
    line.refresh()
    members = [anchor.member for anchor in line.stretch(0, 9).anchors]
    assert members == [0, 0, 0, 1, 2, 1, 2, 1, 2]
    assert line.at_clock(200) == Anchor(5000 + hour + 200, 1, 1)
    assert line.at_clock(200, near=line.at(0)) == Anchor(5200, 0, 1)
    assert line.at_clock(50) == line.at(0)
    assert line.at_clock(301) is None
    bench.close()
