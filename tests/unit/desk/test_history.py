"""The history as values: search, comparison, series."""

import pytest

from esim_bench.desk import history
from esim_bench.desk.history import Summary
from esim_bench.rack.model import load_rack
from esim_bench.scenario import engine, registry
from esim_bench.scenario.results import Outcome
from esim_bench.trace.index import TraceIndex


def ran(scenario: str, slots: tuple[str, ...] = ("A1",), seed: int = 0) -> str:
    rack, chosen = load_rack("sim-3"), registry.scenario(scenario)
    result, _ = engine.run_scenario(
        rack, rack.select(slots), chosen, chosen.parse({}), engine.RunOptions(seed=seed), None
    )
    assert result.outcome is Outcome.PASS
    return result.run


def test_words_of_a_search_must_all_be_there() -> None:
    first, second = ran("provision"), ran("switch", ("A1", "B1"))
    assert {one.run for one in history.summaries()} == {first, second}
    assert [one.run for one in history.summaries("switch")] == [second]
    assert [one.run for one in history.summaries("MFF2 pass")] == [second]
    assert history.summaries("switch iSIM") == []


def test_an_empty_history_is_no_mistake() -> None:
    assert history.summaries() == []
    assert [trend.series for trend in history.trends()] == [[], [], []]


def test_a_running_run_has_no_outcome() -> None:
    one = Summary("r", "2026-01-01", "switch", "lab", "running", None, (("A1", "4FF", None),))
    assert one.has(["running", "a1"])
    assert not one.has(["pass"])


def test_two_runs_are_compared_step_by_step() -> None:
    left = {"slots": [{"slot": "A1", "steps": [{"name": "cut", "outcome": "PASS", "seconds": 1.0}] * 2}]}
    right = {
        "slots": [
            {
                "slot": "A1",
                "steps": [
                    {"name": "cut", "outcome": "PASS", "seconds": 2.0},
                    {"name": "cut", "outcome": "FAIL", "seconds": 0.01},
                    {"name": "more", "outcome": "PASS", "seconds": 1.0},
                ],
            }
        ]
    }
    first, second, third = history.compare(left, right)
    assert (first.differs, first.ratio) == (False, 2.0)
    assert (second.differs, second.ratio) == (True, None)
    assert third.left is None
    assert third.differs


def test_trends_are_per_kind_of_device() -> None:
    for seed in range(2):
        ran("power_cycle", ("A1", "B1"), seed)
    rate, downloads, recoveries = history.trends()
    assert {one.name.split()[0] for one in rate.series} == {"4FF", "EG25"}
    assert all(one.values == [100.0, 100.0] for one in rate.series)
    assert all(value > 0.2 for one in downloads.series for value in one.values)
    assert [len(one.values) for one in recoveries.series] == [2, 2]
    assert history.trends("switch")[0].series == []


def test_a_step_is_found_in_the_journal() -> None:
    document = history.document(ran("provision"))
    (path,) = history.traces(document)
    index = TraceIndex(path)
    while index.advance():
        pass
    times = [history.step_time(index, number) for number in range(len(document["slots"][0]["steps"]))]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]
    assert history.step_time(index, 999) is None
    index.close()
    assert history.traces(document, ["B1"]) == []


def test_a_kind_without_a_modem_is_its_form_factor() -> None:
    assert history.kind_of({"form_factor": "4FF", "device": {"euicc": {"firmware": "1.2"}}}) == "4FF card 1.2"
    assert history.kind_of({"form_factor": "MFF2", "device": {"modem": {"model": "X", "revision": "7"}}}) == "X 7"
    assert history.kind_of({}) == "? card"


@pytest.mark.parametrize("name", ["nothing", ""])
def test_a_run_that_is_not_there_is_said(name: str) -> None:
    with pytest.raises(Exception, match="no such run"):
        history.document(name)
