"""A module's debug UART over the kernel's tty layer: lines with stamps, whatever the bytes are."""

import asyncio
import os
import pty
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.errors import ConfigError
from esim_bench.events import Event, EventSink, ListSink, UartEvent
from esim_bench.ports import DriverContext, LosesDevice, ObserverDriver
from esim_drivers.uart.driver import UartDriver, UartObserver
from esim_drivers.uart.lines import LineSplitter

Context = Callable[[EventSink], DriverContext]
Until = Callable[[Callable[[], Any]], Awaitable[None]]
Marks = Callable[[list[Event]], list[str]]


def told(events: list[Event]) -> list[str]:
    return [event.line for event in events if isinstance(event, UartEvent)]


class Port:
    """A pty under a name that stays: what a module's UART is to the bench."""

    def __init__(self, name: Path) -> None:
        self.name = name
        self.plug()

    def plug(self) -> None:
        self.master, self._slave = pty.openpty()
        self.name.unlink(missing_ok=True)
        self.name.symlink_to(os.ttyname(self._slave))

    def say(self, data: bytes) -> None:
        os.write(self.master, data)

    def unplug(self) -> None:
        self.name.unlink(missing_ok=True)
        for descriptor in (self.master, self._slave):
            os.close(descriptor)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    made = Port(tmp_path / "ttyDEBUG")
    yield made
    if made.name.is_symlink():
        made.unplug()


def observer(port: Port, context: Context, sink: ListSink, **spec: Any) -> UartObserver:
    return UartDriver().open_observer({"port": str(port.name), **spec}, context(sink))


def test_lines_come_as_they_were_sent(port: Port, context: Context, until: Until) -> None:
    sink = ListSink()

    async def main() -> None:
        listening = observer(port, context, sink)
        await listening.start()
        port.say(b"[0.01] boot\r\n\r\n[0.02] SIM rea")
        await asyncio.sleep(0.02)
        port.say(b"dy\r\n\xff\x00\xfe garbage\n")
        await until(lambda: len(told(sink.events)) == 3)
        await listening.stop()

    asyncio.run(main())
    assert told(sink.events) == ["[0.01] boot", "[0.02] SIM ready", "\udcff\0\udcfe garbage"]
    stamps = [event.at_ns for event in sink.events]
    assert stamps == sorted(stamps)


def test_a_prompt_is_told_after_a_while_and_the_last_words_at_the_end(
    port: Port, context: Context, until: Until
) -> None:
    sink = ListSink()

    async def main() -> None:
        listening = observer(port, context, sink)
        await listening.start()
        port.say(b"login: ")
        await until(lambda: told(sink.events))
        port.say(b"pani")
        await asyncio.sleep(0.05)
        await listening.stop()

    asyncio.run(main())
    assert told(sink.events) == ["login: ", "pani"]
    assert [event.ended for event in sink.events if isinstance(event, UartEvent)] == [False, False]


def test_an_over_long_line_is_cut_and_says_how_much(port: Port, context: Context, until: Until) -> None:
    sink = ListSink()

    async def main() -> None:
        listening = observer(port, context, sink, longest=10)
        await listening.start()
        port.say(b"0123456789abcdef\nnext\n")
        await until(lambda: len(told(sink.events)) == 2)
        await listening.stop()

    asyncio.run(main())
    first, second = (event for event in sink.events if isinstance(event, UartEvent))
    assert (first.line, first.cut, second.line) == ("0123456789", 6, "next")


def test_a_port_that_goes_with_the_power_is_opened_again(
    port: Port, context: Context, until: Until, marks: Marks
) -> None:
    sink = ListSink()

    async def main() -> None:
        listening = observer(port, context, sink)
        assert isinstance(listening, LosesDevice)
        await listening.start()
        port.say(b"before\nlast wo")
        await until(lambda: told(sink.events))
        port.unplug()
        await until(lambda: any("lost, waited for" in text for text in marks(sink.events)))
        assert listening.trouble is None  # modules are powered off and boot: that takes its time
        port.plug()
        await until(lambda: any("back, listening" in text for text in marks(sink.events)))
        port.say(b"after\n")
        await until(lambda: "after" in told(sink.events))
        await listening.stop()

    asyncio.run(main())
    assert told(sink.events) == ["before", "last wo", "after"]


def test_a_port_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, port: Port, context: Context, until: Until, marks: Marks
) -> None:
    """The capture begins before the power comes on; a module's own port comes with it."""
    sink = ListSink()
    port.unplug()

    async def main() -> None:
        listening = observer(port, context, sink)
        await listening.start()
        assert listening.trouble is not None
        await asyncio.sleep(0.15)
        port.plug()
        await until(lambda: any(text.endswith(": listening") for text in marks(sink.events)))
        assert listening.trouble is None
        port.say(b"boot\n")
        await until(lambda: told(sink.events) == ["boot"])
        await listening.stop()

    asyncio.run(main())
    assert sum("not there, waited for" in text for text in marks(sink.events)) == 1


def test_what_is_to_be_hidden_is_never_told(port: Port, context: Context, until: Until) -> None:
    sink = ListSink()

    async def main() -> None:
        listening = observer(port, context, sink, hide=["key=([0-9a-f]+)", "secret"])
        await listening.start()
        port.say(b"a key=00ff, and a secret\n")
        await until(lambda: told(sink.events))
        await listening.stop()

    asyncio.run(main())
    assert told(sink.events) == ["a key=****, and a ******"]


@pytest.mark.parametrize(
    "spec",
    [
        {"port": "COM1"},
        {"port": "/dev/x", "baud": "fast"},
        {"port": "/dev/x", "baud": True},
        {"port": "/dev/x", "hide": "("},
        {"port": "/dev/x", "hide": ["("]},
        {"port": "/dev/x", "parity": 1},
        {},
    ],
)
def test_unusable_tables(spec: dict[str, Any], context: Context) -> None:
    assert isinstance(UartDriver(), ObserverDriver)
    with pytest.raises(ConfigError):
        UartDriver().open_observer(spec, context(ListSink()))


def test_a_speed_that_there_is_not(port: Port, context: Context) -> None:
    with pytest.raises(ConfigError, match="usual one"):
        asyncio.run(observer(port, context, ListSink(), baud=12345).start())


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 60))
def test_lines_do_not_depend_on_how_the_bytes_come(pieces: list[bytes], longest: int) -> None:
    splitter = LineSplitter("u", longest)
    events = [event for number, piece in enumerate(pieces) for event in splitter.feed(piece, number)]
    events += splitter.flush()
    *ended, rest = b"".join(pieces).split(b"\n")
    wanted = [(line[:longest].rstrip(b"\r"), max(0, len(line) - longest), True) for line in ended]
    wanted.append((rest[:longest], max(0, len(rest) - longest), False))
    seen = [(event.line.encode("utf-8", "surrogateescape"), event.cut, event.ended) for event in events]
    assert seen == [one for one in wanted if one[0] or one[1]]
    assert not splitter.open


def test_a_line_without_end_is_told_all_the_same() -> None:
    splitter = LineSplitter("u")
    (event,) = [event for _ in range(70) for event in splitter.feed(b"\xfe" * 1000, 0)]
    assert (len(event.line), event.ended) == (1024, False)
    assert event.cut >= 65_536
