"""What a person writes and reads in the trace: where to go, what to see, how long things took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from esim_bench.trace.index import Filter
from esim_bench.tui.trace.jump import Way, parse_way
from esim_bench.tui.trace.rows import Columns, clock_text, delta_text, duration_text, fit
from esim_bench.tui.trace.wish import Wish, functions_like, words_like

DAY = 86_400_000_000_000
MORNING = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""
SECOND = 1_000_000_000
SPAN = (MORNING + 23 * 3600 * SECOND, MORNING + DAY + 3600 * SECOND)
"""From 23:00 to 01:00 of the next day."""


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("1", Way(ordinal=0)),
        ("#4711", Way(ordinal=4710)),
        ("4,711", Way(ordinal=4710)),
        ("4 711", Way(ordinal=4710)),
        ("0", Way(ordinal=0)),
        ("50 %", Way(part=0.5)),
        ("12.5%", Way(part=0.125)),
        ("250%", Way(part=1.0)),
        ("end", Way(part=1.0)),
        ("first", Way(part=0.0)),
        ("+1.5 s", Way(at_ns=MORNING + 1_500_000_000)),
        ("-200ms", Way(at_ns=MORNING - 200_000_000)),
        ("+2 min", Way(at_ns=MORNING + 120 * SECOND)),
        ("23:30", Way(at_ns=MORNING + 84_600 * SECOND)),
        ("00:30:01.25", Way(at_ns=MORNING + DAY + 1801 * SECOND + 250_000_000)),
        ("12:00", Way(at_ns=MORNING + 43_200 * SECOND)),
        ("2026-01-02T00:00:00.000000001Z", Way(at_ns=MORNING + DAY + 1)),
        ("2026-01-02 0:10", Way(at_ns=MORNING + DAY + 600 * SECOND)),
        ("25:00", None),
        ("12:75", None),
        ("2026-13-01 10:00", None),
        ("there", None),
        ("", None),
    ],
)
def test_a_way_is_a_number_a_part_a_time_or_a_step(text: str, way: Way | None) -> None:
    assert parse_way(text, MORNING, SPAN) == way


@given(st.text(max_size=20))
def test_no_text_is_too_strange(text: str) -> None:
    parse_way(text, MORNING, None)
    words_like(text, [0x9000])
    functions_like(text, ["SELECT"])


def test_status_words_are_given_by_patterns() -> None:
    known = [0x9000, 0x6A82, 0x6A88, 0x63C1, 0x63C2]
    assert words_like("6a82", known) == {0x6A82}
    assert words_like("6985", known) == {0x6985}
    assert words_like("63xx", known) == {0x63C1, 0x63C2}
    assert words_like("6A8?", known) == {0x6A82, 0x6A88}
    assert words_like("6A", known) == {0x6A82, 0x6A88}
    assert words_like("select", known) == frozenset()


def test_functions_are_given_by_a_part_of_the_name_or_a_pattern() -> None:
    known = ["ES10c.EnableProfile", "ES10c.GetEID", "ES10b.GetEuiccInfo1", "SELECT"]
    assert functions_like("es10c.*", known) == {"ES10c.EnableProfile", "ES10c.GetEID"}
    assert functions_like("get", known) == {"ES10c.GetEID", "ES10b.GetEuiccInfo1"}
    assert functions_like("nothing", known) == frozenset()


def test_a_wish_is_a_filter_and_survives_a_restart() -> None:
    wish = Wish().toggled("Power").toggled("AT")
    assert wish.filter == Filter(kinds=frozenset((1, 2, 3)))
    full = Wish(wish.groups, True, frozenset(("SELECT",)), frozenset((0x6A82,)))
    assert Wish.restored(full.saved()) == full
    assert Wish.restored({"groups": ["AT", "no such", 7], "words": ["x", -1, 70000]}) == Wish(frozenset(("AT",)))
    assert Wish.restored(None).empty


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (0, "+0.000000"),
        (12_345_000, "+0.012345"),
        (-12_345_000, "-0.012345"),
        (723_456 * 1_000_000, "+12:03.456"),
        (2 * 3600 * SECOND, "+2:00:00"),
        (-(DAY + 7384 * SECOND), "-1 d 02:03:04"),
    ],
)
def test_times_between_records(delta: int, text: str) -> None:
    assert delta_text(delta) == text


def test_durations_and_times_of_day() -> None:
    assert [duration_text(ns) for ns in (None, 412_300, 12_340_000, 4_210_000_000)] == [
        "",
        "412 us",
        "12.3 ms",
        "4.21 s",
    ]
    assert clock_text(MORNING + 1_002_003) == "00:00:00.001002"
    assert clock_text(MORNING + 1_002_003, 3) == "00:00:00.001"
    assert clock_text(1 << 70) == "?"


@given(st.text(max_size=40), st.integers(2, 30))
def test_a_text_fits_its_column_whatever_it_is(text: str, width: int) -> None:
    if text.isprintable():
        assert cell_len(fit(text, width)) == width


@given(st.integers(40, 300), st.integers(0, 30))
def test_the_columns_use_the_whole_width(width: int, slot: int) -> None:
    columns = Columns.of(width, slot)
    header = columns.header("clock")
    assert sum(map(len, header)) == width or columns.text == 8
