"""Observers in a rack file: begun before the power comes on, told of when they fail, and fatal only where required."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from esim_bench.errors import BenchError, ConfigError, DeviceTimeout, TransportError
from esim_bench.events import AtrEvent, Event, EventSink, ListSink, MarkEvent, NullSink, SampleEvent
from esim_bench.ports import DriverContext
from esim_bench.rack import observing
from esim_bench.rack.check import check
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.world import World
from esim_bench.trace import Journal
from esim_drivers.scpi.sampler import Sampler, pace

STATUS = "80F2000C"


class Listener:
    """An observer that tells what it is told to."""

    def __init__(self, sink: EventSink, spec: Mapping[str, Any]) -> None:
        self._sink = sink
        self.spec = spec
        self.trouble: BenchError | None = None

    async def start(self) -> None:
        if self.spec.get("broken"):
            raise TransportError("no such thing", hint="plug it in")
        if self.spec.get("slow"):
            await asyncio.sleep(60)
        self._sink.emit(MarkEvent(1, "listening"))

    async def stop(self) -> None:
        self._sink.emit(MarkEvent(2, "heard enough"))
        if self.spec.get("bad_end"):
            raise ValueError("an observer's own mistake")


class ListenerDriver:
    made: list[Listener] = []  # noqa: RUF012 - what the test looks at

    def open_observer(self, spec: Mapping[str, Any], context: DriverContext) -> Listener:
        if "wrong" in spec:
            raise ConfigError("unknown key", found="wrong")
        self.made.append(Listener(context.sink, spec))
        return self.made[-1]


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch) -> list[Listener]:
    """Let the driver ``uart`` be a listener of our own."""
    real = observing.load_driver
    monkeypatch.setattr(ListenerDriver, "made", [])
    monkeypatch.setattr(observing, "load_driver", lambda name: ListenerDriver() if name == "uart" else real(name))
    return ListenerDriver.made


@pytest.fixture
def rack(tmp_path: Path, simulated: Callable[..., tuple[list[Event], Any]]) -> Callable[[str], str]:
    """Write a rack file with observers at a replayed card, which any run may be made on."""
    recorded = tmp_path / "recorded.pcapng"

    async def nothing(slot: Slot) -> None:
        await slot.lpa.info()

    with Journal.create(recorded, slot="A1") as journal:
        simulated(nothing, heard=journal)

    def write(observe: str) -> str:
        path = tmp_path / "rack.toml"
        card = f'card = {{ driver = "replay", journal = "{recorded}", strict = "any" }}'
        path.write_text(
            f'[rack]\nname = "r"\n[[slot]]\nname = "A1"\nform_factor = "4FF"\n{card}\nobserve = {observe}\n'
        )
        return str(path)

    return write


def started(path: str, sink: EventSink) -> None:
    """Open a slot, start it, close it."""

    async def main() -> None:
        loaded = load_rack(path)
        slot = open_slot(loaded.one("A1"), World(loaded, "1"), sink)
        try:
            await slot.start()
        finally:
            await slot.close()

    asyncio.run(main())


def test_observers_listen_from_before_the_power_comes_on_to_the_end(
    rack: Callable[[str], str], listeners: list[Listener], marks: Callable[[list[Event]], list[str]]
) -> None:
    sink = ListSink()
    started(rack('[ { driver = "uart", port = "/dev/x" } ]'), sink)
    kinds = [event.text if isinstance(event, MarkEvent) else type(event).__name__ for event in sink.events]
    assert kinds.index("listening") < kinds.index(AtrEvent.__name__) < kinds.index("heard enough")
    (listener,) = listeners
    assert listener.spec == {"port": "/dev/x"}  # ``required`` is the rack's own


def test_where_nobody_records_nothing_listens(rack: Callable[[str], str], listeners: list[Listener]) -> None:
    path = rack('[ { driver = "uart", port = "/dev/x", broken = true, required = true } ]')
    started(path, NullSink())


def test_an_observer_that_does_not_start_is_told_and_the_run_goes_on(
    rack: Callable[[str], str], listeners: list[Listener], marks: Callable[[list[Event]], list[str]]
) -> None:
    sink = ListSink()
    started(rack('[ { driver = "uart", port = "/dev/x", broken = true }, { driver = "uart", bad_end = true } ]'), sink)
    assert "the observer uart /dev/x does not listen: no such thing (plug it in)" in marks(sink.events)
    assert "the observer uart does not end: ValueError: an observer's own mistake" in marks(sink.events)
    assert any(isinstance(event, AtrEvent) for event in sink.events)


def test_an_observer_without_end_does_not_hold_the_slot(
    rack: Callable[[str], str],
    listeners: list[Listener],
    marks: Callable[[list[Event]], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observing, "START_SECONDS", 0.05)
    sink = ListSink()
    started(rack('[ { driver = "uart", slow = true } ]'), sink)
    assert any(text.startswith("the observer uart does not listen: TimeoutError") for text in marks(sink.events))


@pytest.mark.parametrize(
    ("observe", "outcome"),
    [
        ('[ { driver = "uart", broken = true } ]', "PASS"),
        ('[ { driver = "uart", broken = true, required = true } ]', "ERROR"),
        ('[ { driver = "uart", lost = true } ]', "PASS"),
        ('[ { driver = "uart", lost = true, required = true } ]', "ERROR"),
    ],
)
def test_a_run_without_a_required_observer_is_error_and_never_pass(
    observe: str,
    outcome: str,
    rack: Callable[[str], str],
    listeners: list[Listener],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from pydantic import BaseModel

    from esim_bench.scenario import engine
    from esim_bench.scenario.context import Bench
    from esim_bench.scenario.registry import Scenario

    class Nothing(BaseModel):
        pass

    async def run(bench: Bench, params: BaseModel) -> None:
        async with bench.step("start"):
            await bench.slot.start()
            for one in listeners:
                if one.spec.get("lost"):
                    one.trouble = DeviceTimeout("pulled")
        async with bench.step("look"):
            await bench.slot.lpa.info()

    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))
    loaded = load_rack(rack(observe))
    scenario = Scenario("look", "looks", "", Nothing, run)
    options = engine.RunOptions(seed=1, trace_dir=tmp_path / "traces")
    result, *_ = engine.run_scenario(loaded, [loaded.one("A1")], scenario, Nothing(), options, lambda *_: None)
    (slot,) = result.slots
    assert slot.outcome.value == outcome, slot.steps
    if outcome == "ERROR":
        assert "the observer uart" in slot.steps[-1].detail


def test_check_looks_at_observers_and_touches_nothing(rack: Callable[[str], str], listeners: list[Listener]) -> None:
    check(load_rack(rack('[ { driver = "uart", port = "/dev/x" } ]')))
    with pytest.raises(ConfigError, match="slot A1: unknown key"):
        check(load_rack(rack('[ { driver = "uart", wrong = 1 } ]')))
    with pytest.raises(ConfigError, match="cannot serve as observer"):
        check(load_rack(rack('[ { driver = "replay" } ]')))
    with pytest.raises(ConfigError, match="unknown driver"):
        check(load_rack(rack('[ { driver = "ear" } ]')))


def test_a_simulated_slot_is_not_observed(tmp_path: Path) -> None:
    path = tmp_path / "rack.toml"
    path.write_text(
        '[rack]\nname = "r"\n[[slot]]\nname = "A1"\nform_factor = "4FF"\nsim = {}\nobserve = [ { driver = "uart" } ]\n'
    )
    with pytest.raises(ConfigError, match="nothing real hangs at a simulated slot"):
        load_rack(path)


# --------------------------------------------------------------------------------------------------------------- meters


class Meter:
    """A supply whose current is what the test says."""

    def __init__(self, *answers: float | Exception) -> None:
        self.answers = list(answers)
        self.closed = 0

    async def measure(self) -> tuple[float | None, float | None]:
        await asyncio.sleep(0.001)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer, 3.8

    async def close(self) -> None:
        self.closed += 1


def sampled(meter: Meter, seconds: float, every_s: float = 0.1) -> tuple[list[Event], Sampler]:
    from esim_bench import clock

    sink = ListSink()
    sampler = Sampler(meter, every_s, sink, "scpi psu")

    async def main() -> None:
        await sampler.start()
        await asyncio.sleep(seconds)
        await sampler.stop()

    clock.run_virtual(main())
    return sink.events, sampler


def test_a_meter_is_sampled_at_its_pace_without_drift() -> None:
    meter = Meter(0.1, 0.2, 0.3)
    events, _ = sampled(meter, 10.0)
    stamps = [event.at_ns for event in events if isinstance(event, SampleEvent)]
    assert len(stamps) == 100
    gaps = {round((after - before) / 1e6) for before, after in itertools.pairwise(stamps[1:])}
    assert gaps == {100}
    assert meter.closed == 1


def test_a_meter_that_does_not_answer_is_told_once_and_asked_on(marks: Callable[[list[Event]], list[str]]) -> None:
    lost = TransportError("the supply is gone")
    events, sampler = sampled(Meter(0.1, lost, lost, 0.2), 10.0)
    assert marks(events) == ["scpi psu: no samples from now on: the supply is gone", "scpi psu: samples again"]
    assert sampler.trouble is None


def test_a_meter_that_is_not_there_at_the_start(marks: Callable[[list[Event]], list[str]]) -> None:
    meter = Meter(TransportError("nobody"))
    with pytest.raises(TransportError):
        sampled(meter, 1.0)
    assert meter.closed == 1


def test_a_meter_that_is_slower_than_asked_for_says_so(marks: Callable[[list[Event]], list[str]]) -> None:
    class Slow(Meter):
        async def measure(self) -> tuple[float | None, float | None]:
            await asyncio.sleep(0.3)
            return await super().measure()

    events, _ = sampled(Slow(0.1), 3.0)
    assert marks(events) == ["scpi psu: slower than asked for: a sample takes longer than 0.1 s"]
    assert 8 <= sum(isinstance(event, SampleEvent) for event in events) <= 11


@pytest.mark.parametrize("value", [0, -1, "fast", True, 4000, float("nan")])
def test_unusable_paces(value: Any) -> None:
    with pytest.raises(ConfigError):
        pace({"every_s": value})
    assert pace({}) == 0.1
