"""What breaks between bench and card, over the real PC/SC service, and how the link comes back without a restart."""

import asyncio
import threading
import time

import pytest

from esim_bench import clock
from esim_bench.card import Card
from esim_bench.codec import es10
from esim_bench.errors import ConfigError, DeviceTimeout, TransportError
from esim_bench.events import ApduEvent, ListSink, NullSink
from esim_drivers.pcsc import ReaderWatch, State, library
from esim_drivers.pcsc.options import Options

SELECT_MF = bytes.fromhex("00A40004023F00")


def go_on(command, response):
    return True


class Paced:
    """Takes its time over each command, and calls a function before a certain one."""

    def __init__(self, card, seconds=0.0, at=None, do=None):
        self.card, self.seconds, self.at, self.do = card, seconds, at, do
        self.count = 0
        self.hangs = False

    def power_on(self):
        return self.card.power_on()

    def reset(self):
        return self.card.reset()

    def power_off(self):
        self.card.power_off()

    def transmit(self, command):
        self.count += 1
        if self.count == self.at and self.do is not None:
            self.do()
        response, _ = self.card.transmit(command)
        return response, 1e6 if self.hangs else self.seconds


async def eid_over(link):
    card = Card(link, sink=NullSink())
    await card.start()
    return (await card.es10(es10.get_eid()))[-16:]


def test_a_pulled_card_is_told_and_comes_back_by_connect(pcsc, euicc):
    sim = euicc()
    pcsc.start(sim, pulling=True)

    async def main():
        link = pcsc.open(card_wait_s=3.0)
        assert await eid_over(link) == sim.identity.eid
        pcsc.reader.remove()
        with pytest.raises(TransportError):
            await link.exchange([SELECT_MF], go_on)
        await link.watch.wait(State.EMPTY, timeout=2)
        assert await link.present() is False
        # Whoever goes on without connecting is told what to do.
        with pytest.raises(TransportError, match="connect"):
            await link.exchange([SELECT_MF], go_on)
        pcsc.reader.insert(sim)
        # connect itself waits until the service sees the card.
        assert await eid_over(link) == sim.identity.eid
        assert await link.present() is True
        await link.close()

    clock.run_real(main())


def test_a_card_that_the_service_takes_for_absent_is_woken(pcsc, euicc):
    """Its contact goes for a moment, and just then somebody resets it: pcscd never sees it come again."""
    sim = euicc()
    pcsc.start(sim, pulling=True)

    async def main():
        link = pcsc.open()
        await link.connect()
        pcsc.reader.remove()
        with pytest.raises(TransportError):
            await link.reset()
        await link.watch.wait(State.EMPTY, timeout=0.2)
        pcsc.reader.insert(sim)
        assert await eid_over(link) == sim.identity.eid
        await link.close()

    clock.run_real(main())


def test_without_a_card_connect_says_so_after_its_wait(pcsc):
    pcsc.start(None, pulling=True)

    async def main():
        link = pcsc.open(card_wait_s=0.2)
        began = time.monotonic()
        with pytest.raises(TransportError, match=r"no card in the reader.*insert the card"):
            await link.connect()
        assert 0.2 <= time.monotonic() - began < 1.5
        assert await link.present() is False
        await link.close()

    clock.run_real(main())


def test_a_card_pulled_in_the_middle_of_a_command(pcsc, euicc):
    sim = euicc()
    pcsc.reader.rate = 1
    card = Paced(sim)
    pcsc.start(card, pulling=True)
    sink = ListSink()

    async def main():
        link = pcsc.open(sink)
        await link.connect()
        card.hangs, card.at = True, None
        before = len(sink.events)
        threading.Timer(0.05, pcsc.reader.remove).start()
        with pytest.raises(TransportError):
            await link.exchange([SELECT_MF, SELECT_MF], go_on)
        assert [event for event in sink.events[before:] if isinstance(event, ApduEvent)] == []
        card.hangs = False
        pcsc.reader.insert(card)
        assert await eid_over(link) == sim.identity.eid
        await link.close()

    clock.run_real(main())


def test_a_card_that_loses_its_power_alone_is_a_loss_too(pcsc, euicc):
    sim = euicc()
    card = Paced(sim)
    pcsc.start(card, pulling=True)

    async def main():
        link = pcsc.open()
        await link.connect()
        card.at, card.do = card.count + 2, sim.power_off
        with pytest.raises(TransportError, match="connect again"):
            await link.exchange([SELECT_MF] * 3, go_on)
        assert await eid_over(link) == sim.identity.eid
        await link.close()

    clock.run_real(main())


def test_the_service_is_killed_in_the_middle_of_a_chain_and_restarted(pcsc, euicc):
    sim = euicc()
    pcsc.reader.rate = 1
    card = Paced(sim, seconds=0.002)
    pcsc.start(card, pulling=True)
    sink = ListSink()

    async def main():
        link = pcsc.open(sink)
        await link.connect()
        card.at, card.do = card.count + 20, pcsc.pcscd.kill
        with pytest.raises(TransportError) as error:
            await link.exchange([SELECT_MF] * 40, go_on)
        assert "PC/SC service" in str(error.value)
        told = [event for event in sink.events if isinstance(event, ApduEvent)]
        assert len(told) == 19, "what was answered before is on the time line"
        with pytest.raises(TransportError, match="not running"):
            await link.present()
        asyncio.get_running_loop().call_later(0.2, pcsc.pcscd.start)
        assert await eid_over(link) == sim.identity.eid
        assert (await link.watch.look()).state is State.PRESENT
        await link.close()

    clock.run_real(main())


def test_without_a_service_connect_says_how_to_start_it(pcsc, euicc):
    pcsc.start(euicc())
    pcsc.pcscd.stop()

    async def main():
        link = pcsc.open(wait_s=0.1)
        with pytest.raises(TransportError, match=r"not running.*systemctl start pcscd.socket"):
            await link.connect()
        await link.close()

    clock.run_real(main())


def test_a_reader_that_is_not_there_names_those_that_are(pcsc, euicc):
    pcsc.start(euicc())

    async def main():
        link = pcsc.open(reader="name:OMNIKEY*", wait_s=0.1)
        with pytest.raises(TransportError, match=r"name:OMNIKEY.*esim-bench test 00 00"):
            await link.connect()
        assert (await link.watch.look()).state is State.NO_READER
        assert await link.present() is False
        await link.close()

    clock.run_real(main())


def test_a_card_without_end_is_given_up_and_the_reader_comes_back_on_a_fresh_worker(pcsc, euicc):
    sim = euicc()
    pcsc.reader.rate = 1
    card = Paced(sim)
    pcsc.start(card, pulling=True)

    async def main():
        link = pcsc.open(timeout_s=0.15)
        await link.connect()
        card.hangs = True
        began = time.monotonic()
        with pytest.raises(DeviceTimeout, match=r"within 0.15 s"):
            await link.exchange([SELECT_MF], go_on)
        assert time.monotonic() - began < 1.0
        with pytest.raises(TransportError, match="connect"):
            await link.exchange([SELECT_MF], go_on)
        # The watch is not held up by it.
        assert await link.present() is True
        card.hangs = False
        pcsc.reader.remove()
        pcsc.reader.insert(card)
        assert await eid_over(link) == sim.identity.eid
        await link.close()

    clock.run_real(main())


def test_the_time_limit_is_that_of_one_command_not_of_a_chain(pcsc, euicc):
    pcsc.reader.rate = 1
    pcsc.start(Paced(euicc(), seconds=0.02))

    async def main():
        link = pcsc.open(timeout_s=0.15)
        await link.connect()
        done = await link.exchange([SELECT_MF] * 20, go_on)
        await link.close()
        return done

    assert len(clock.run_real(main())) == 20


def test_a_slow_chain_is_told_while_it_runs(pcsc, euicc):
    pcsc.reader.rate = 1
    pcsc.start(Paced(euicc(), seconds=0.03))
    sink = ListSink()

    async def main():
        link = pcsc.open(sink)
        await link.connect()
        task = asyncio.create_task(link.exchange([SELECT_MF] * 5, go_on))
        await asyncio.sleep(0.1)
        before = len([event for event in sink.events if isinstance(event, ApduEvent)])
        assert not task.done()
        await task
        await link.close()
        return before

    assert 1 <= clock.run_real(main()) < 5
    assert len([event for event in sink.events if isinstance(event, ApduEvent)]) == 5


def test_a_cancelled_chain_ends_after_the_command_under_way(pcsc, euicc):
    pcsc.reader.rate = 1
    card = Paced(euicc(), seconds=0.03)
    pcsc.start(card)

    async def main():
        link = pcsc.open()
        await link.connect()
        card.count = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await link.exchange([SELECT_MF] * 100, go_on)
        # The card is still ours, and what comes next is sent after the command that was under way.
        await link.exchange([SELECT_MF], go_on)
        await link.close()

    clock.run_real(main())
    assert card.count <= 8


def test_the_watch_sees_cards_and_services_come_and_go(pcsc, euicc):
    pcsc.start(euicc(), pulling=True)
    seen = []

    async def main():
        watch = ReaderWatch(Options(reader="name:esim-bench test 00 00"), "A1")
        sight = await watch.wait(State.PRESENT, timeout=3)
        seen.append(sight)
        card = pcsc.reader.remove()
        seen.append(await watch.change(sight, timeout=3))
        pcsc.pcscd.kill()
        seen.append(await watch.change(seen[-1], timeout=3))
        pcsc.reader.insert(card)
        pcsc.pcscd.start()
        seen.append(await watch.wait(State.PRESENT, timeout=3))
        with pytest.raises(DeviceTimeout, match=r"no card within 0.1 s, found a card"):
            await watch.wait(State.EMPTY, timeout=0.1)
        watch.close()

    clock.run_real(main())
    assert [sight.state for sight in seen] == [State.PRESENT, State.EMPTY, State.NO_SERVICE, State.PRESENT]
    assert seen[0].atr
    assert not seen[0].in_use


def test_a_missing_library_is_told_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(library.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(library, "_SHARED_OBJECT", "libpcsclite.so.none")
    with pytest.raises(ConfigError, match="apt install pcscd"):
        library.load.__wrapped__()
