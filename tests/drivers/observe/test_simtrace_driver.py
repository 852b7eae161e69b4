"""The sniffer's driver over pyusb, on a fake bus: it hears what a real simulated card and its reader say."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from esim_bench.codec.apdu import Command
from esim_bench.errors import ConfigError, TransportError
from esim_bench.events import (
    ApduEvent,
    AtrEvent,
    Event,
    EventSink,
    ListSink,
    SniffedApduEvent,
    SniffEvent,
    SniffKind,
)
from esim_bench.ports import DiscoveringDriver, DriverContext, LosesDevice, ObserverDriver
from esim_bench.rack.slot import Slot
from esim_drivers.sim.usb_backend import FakeUsb
from esim_drivers.sim.usb_simtrace import FakeSimtrace, Tap, tpdu
from esim_drivers.simtrace.driver import SimtraceDriver, SimtraceObserver
from esim_drivers.simtrace.messages import Change, Flaw, Kind

Context = Callable[[EventSink], DriverContext]
Until = Callable[[Callable[[], Any]], Awaitable[None]]
STATUS = bytes.fromhex("80F2000C00") + b"\x90\x00"


def opened(bus: FakeUsb, context: Context, sink: ListSink, **spec: Any) -> SimtraceObserver:
    return SimtraceDriver(lambda: bus).open_observer(spec, context(sink))


async def read_info(slot: Slot) -> str:
    await slot.lpa.info()
    await slot.lpa.profiles()
    # A command of each case, and a PIN that is blank.
    await slot.card.command(Command(0x00, 0xA4, 0x00, 0x04))
    await slot.card.command(Command(0x00, 0x20, 0x00, 0x01))
    await slot.card.command(Command(0x00, 0xB2, 0x01, 0x04, le=1))
    return await slot.lpa.eid()


@pytest.mark.parametrize("pieces", [(4096,), (64, 1, 7)], ids=["whole", "cut"])
def test_what_is_sniffed_is_what_was_exchanged(
    pieces: tuple[int, ...], context: Context, simulated: Callable[..., tuple[list[Event], Any]], until: Until
) -> None:
    sniffer, sink = FakeSimtrace(), ListSink()

    async def main() -> list[Event]:
        observer = opened(FakeUsb([sniffer]), context, sink, usb="1-1.4")
        await observer.start()
        own, _ = await asyncio.to_thread(simulated, read_info, heard=Tap(sniffer))
        sniffer.pieces = pieces
        exchanges = sum(isinstance(event, ApduEvent) for event in own)
        await until(lambda: sum(isinstance(event, SniffedApduEvent) for event in sink.events) >= exchanges)
        await observer.stop()
        return own

    own = asyncio.run(main())
    said = [(tpdu(event.command), event.response) for event in own if isinstance(event, ApduEvent)]
    heard = [(tpdu(event.command), event.response) for event in sink.events if isinstance(event, SniffedApduEvent)]
    assert len(said) > 15
    assert heard == said
    # Without Le after data, which T=0 does not carry, they are the very commands.
    exact = [event.command for event in own if isinstance(event, ApduEvent) and tpdu(event.command) == event.command]
    assert set(exact) <= {event.command for event in sink.events if isinstance(event, SniffedApduEvent)}
    assert not any(event.flaws for event in sink.events if isinstance(event, SniffedApduEvent))
    atrs = [event.atr for event in own if isinstance(event, AtrEvent)]
    assert [e.data for e in sink.events if isinstance(e, SniffEvent) and e.kind is SniffKind.ATR] == atrs


def test_what_was_heard_before_the_start_is_left_out_and_the_end_is_told(
    context: Context, marks: Callable[[list[Event]], list[str]]
) -> None:
    sniffer, sink = FakeSimtrace(), ListSink()

    async def main() -> None:
        sniffer.data(Kind.TPDU, STATUS)
        observer = opened(FakeUsb([sniffer]), context, sink)
        await observer.start()
        sniffer.data(Kind.TPDU, STATUS, Flaw.OVERRUN)
        await observer.stop()

    asyncio.run(main())
    assert [event.flaws for event in sink.events if isinstance(event, SniffedApduEvent)] == ["overrun"]
    assert marks(sink.events) == ["simtrace: 1 exchanges heard, 1 overrun"]


def test_a_sniffer_that_is_pulled_is_told_and_listens_again_when_it_is_back(
    context: Context, until: Until, marks: Callable[[list[Event]], list[str]]
) -> None:
    sniffer, sink = FakeSimtrace(), ListSink()
    bus = FakeUsb([sniffer])

    async def main() -> None:
        observer = opened(bus, context, sink, usb="usb:1-1.4")
        await observer.start()
        assert isinstance(observer, LosesDevice)
        assert observer.trouble is None
        bus.unplug("1-1.4")
        await until(lambda: any("lost" in text for text in marks(sink.events)))
        bus.plug(sniffer)
        await until(lambda: any("back" in text for text in marks(sink.events)))
        sniffer.change(Change.EJECT)
        await until(lambda: any(isinstance(event, SniffEvent) for event in sink.events))
        assert isinstance(observer.trouble, TransportError)
        await observer.stop()

    asyncio.run(main())
    assert bus["1-1.4"].open_handles == 0
    assert bus["1-1.4"].claimed == set()


def test_bytes_that_are_no_message_are_counted(context: Context, marks: Callable[[list[Event]], list[str]]) -> None:
    sniffer, sink = FakeSimtrace(), ListSink()

    async def main() -> None:
        observer = opened(FakeUsb([sniffer]), context, sink)
        await observer.start()
        sniffer.raw(b"\xff" * 5)
        sniffer.data(Kind.TPDU, STATUS)
        await observer.stop()

    asyncio.run(main())
    assert "simtrace: 5 bytes from the sniffer are no message" in marks(sink.events)
    assert sum(isinstance(event, SniffedApduEvent) for event in sink.events) == 1


@pytest.mark.parametrize(
    ("devices", "spec", "error", "text"),
    [
        ([], {}, TransportError, "no SIMtrace2 at all: found none"),
        (["1-1.4"], {"usb": "1-2"}, TransportError, "no SIMtrace2 at 1-2: found 1-1.4"),
        (["1-1.4", "1-2"], {}, ConfigError, "several SIMtrace2: expected usb = one of them, found 1-1.4, 1-2"),
    ],
)
def test_which_sniffer(
    devices: list[str], spec: dict[str, Any], error: type[Exception], text: str, context: Context
) -> None:
    bus = FakeUsb([FakeSimtrace(path) for path in devices])
    with pytest.raises(error, match=text):
        asyncio.run(opened(bus, context, ListSink(), **spec).start())


def test_card_emulation_firmware_is_no_sniffer(context: Context) -> None:
    with pytest.raises(TransportError, match=r"is no sniffer.*flash"):
        asyncio.run(opened(FakeUsb([FakeSimtrace(subclass=2)]), context, ListSink()).start())


@pytest.mark.parametrize(("number", "hint"), [(errno.EACCES, "udev"), (errno.EBUSY, "another program")])
def test_a_sniffer_that_may_not_be_opened_says_why(number: int, hint: str, context: Context) -> None:
    sniffer = FakeSimtrace()
    sniffer.denied = number
    with pytest.raises(TransportError, match=hint):
        asyncio.run(opened(FakeUsb([sniffer]), context, ListSink()).start())


@pytest.mark.parametrize("spec", [{"port": 1}, {"usb": 4}, {"usb": "1"}, {"serial": ""}, {"serial": "a", "usb": "1-1"}])
def test_unusable_tables(spec: dict[str, Any], context: Context) -> None:
    with pytest.raises(ConfigError):
        SimtraceDriver().open_observer(spec, context(ListSink()))


def test_discovery_finds_sniffers_and_opens_nothing() -> None:
    bus = FakeUsb([FakeSimtrace("1-1.4"), FakeSimtrace("1-2", subclass=2)])
    driver = SimtraceDriver(lambda: bus)
    assert isinstance(driver, DiscoveringDriver)
    assert isinstance(driver, ObserverDriver)
    (found,) = asyncio.run(driver.discover())
    assert (found.kind, found.usb, dict(found.table)) == ("sniffer", "1-1.4", {"driver": "simtrace", "usb": "1-1.4"})
    assert bus.log == []
    assert bus["1-1.4"].open_handles == 0
