"""The plot in a terminal."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from esim_bench.desk.history import Series
from esim_bench.tui.widgets.plot import MOST, SIGNS, Plot, ticks


class Shown(App[None]):
    def __init__(self, plot: Plot) -> None:
        super().__init__()
        self.plot = plot

    def compose(self) -> ComposeResult:
        yield self.plot


@given(st.floats(-1e6, 1e6), st.floats(0.001, 1e6), st.integers(1, 20))
def test_ticks_are_round_and_hold_both_ends(low: float, span: float, count: int) -> None:
    found = ticks(low, low + span, count)
    assert found[0] <= low + 1e-6 * abs(low) + 1e-9
    assert found[-1] >= low + span - 1e-6 * abs(low + span) - 1e-9
    assert len(found) <= count + 3


async def drawn(plot: Plot, size: tuple[int, int]) -> str:
    app = Shown(plot)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        return "\n".join(plot.render_line(y).text for y in range(plot.size.height))


async def test_axes_units_and_signs(size: tuple[int, int]) -> None:
    plot = Plot("Download time", "s", [Series("EG25", [2.0, 3.0, 4.0]), Series("GM02S", [9.0])])
    text = await drawn(plot, size)
    assert "Download time" in text
    assert "[s]" in text
    assert text.count(SIGNS[0]) == 4, "three values, and the legend"
    assert "EG25 4 s" in text
    assert "GM02S 9 s" in text
    assert all(len(line) == size[0] for line in text.splitlines())


@pytest.mark.parametrize("values", [[], [5.0], [5.0, 5.0], [-1.0, 1e9], [0.0]])
async def test_odd_values_are_drawn(values: list[float]) -> None:
    text = await drawn(Plot("T", "s", [Series("x", values)]), (40, 10))
    assert "Nothing to show yet" in text if not values else SIGNS[0] in text


async def test_more_series_than_signs_are_counted() -> None:
    many = [Series(f"m{number}", [float(number)]) for number in range(MOST + 3)]
    assert "and 3 more" in await drawn(Plot("T", "s", many), (120, 20))


def test_each_series_has_a_sign_of_its_own() -> None:
    made: Callable[[str], int] = lambda signs: len(set(signs))  # noqa: E731
    assert made(SIGNS) == len(SIGNS)
