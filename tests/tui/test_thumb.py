"""The thumb beside the rows of a trace."""

from hypothesis import given
from hypothesis import strategies as st

from esim_bench.tui.trace.thumb import thumb, top_for


def test_where_it_stands() -> None:
    assert thumb(20, 10, 0) == (0, 20)  # everything is shown
    assert thumb(20, 100, 0) == (0, 4)
    assert thumb(20, 100, 80) == (16, 4)
    assert thumb(20, 5_000_000, 2_500_000) == (10, 1)


@given(st.integers(1, 100), st.integers(0, 10_000_000), st.integers(-50, 150), st.integers(0, 100))
def test_dragging_stays_among_the_rows(height: int, total: int, place: int, grab: int) -> None:
    top = top_for(place, grab, height, total)
    assert 0 <= top <= max(0, total - height)
    start, size = thumb(height, total, top)
    assert start >= 0
    assert start + size <= height
