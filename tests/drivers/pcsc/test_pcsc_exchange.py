"""A simulated eUICC in the real PC/SC service, reached by the driver."""

import asyncio

import pytest

from esim_bench import clock
from esim_bench.card import Card
from esim_bench.codec import es10
from esim_bench.codec.atr import Atr
from esim_bench.errors import CodecError, ConfigError, TransportError
from esim_bench.events import ApduEvent, AtrEvent, ListSink
from esim_drivers.pcsc.session import without_le

SELECT_MF = bytes.fromhex("00A40004023F00")


def go_on(command, response):
    return True


@pytest.mark.parametrize(("make", "protocol"), [("standard", 1), ("small", 0)])
def test_an_es10_conversation_goes_through_in_both_protocols(pcsc, euicc, make, protocol):
    sim = euicc(make)
    pcsc.start(sim)
    sink = ListSink()

    async def main():
        link = pcsc.open(sink)
        card = Card(link, sink=sink)
        await card.start()
        eid = await card.es10(es10.get_eid())
        profiles = await card.es10(bytes.fromhex("BF2D00"))
        await link.close()
        return card.atr, eid, profiles

    atr, eid, profiles = clock.run_real(main())
    assert atr == sim.atr
    assert Atr.parse(atr).default_protocol == protocol
    assert eid.endswith(sim.identity.eid)
    assert profiles[:2].hex() == "bf2d"
    assert [event.cold for event in sink.events if isinstance(event, AtrEvent)] == [True]
    told = [event for event in sink.events if isinstance(event, ApduEvent)]
    assert told[0].command == SELECT_MF[:3] + b"\x0c" + SELECT_MF[4:]
    assert all(event.duration_ns > 0 for event in told)
    assert [event.at_ns for event in told] == sorted(event.at_ns for event in told)
    # T=0 announces an answer and has it fetched; T=1 gives it at once.
    assert any(event.command[1] == 0xC0 for event in told) == (protocol == 0)


def test_a_warm_reset_closes_channels_and_a_cold_one_cuts_the_power(pcsc, euicc):
    class Watched:
        """Writes down what the reader does to the card."""

        def __init__(self, card):
            self.card, self.log = card, []

        def __getattr__(self, name):
            self.log.append(name)
            return getattr(self.card, name)

    card = Watched(euicc())
    pcsc.start(card)

    async def main(how):
        sink = ListSink()
        link = pcsc.open(sink, reset=how)
        await link.connect()
        opened = await link.exchange([bytes.fromhex("0070000001")], go_on)
        card.log.clear()
        await link.reset()
        again = await link.exchange([bytes.fromhex("0070000001")], go_on)
        log = [name for name in card.log if name != "transmit"]
        await link.close()
        return opened[0].response.hex(), again[0].response.hex(), log, sink.events[-2].cold

    assert clock.run_real(main("warm")) == ("019000", "019000", ["reset"], False)
    assert clock.run_real(main("cold")) == ("019000", "019000", ["power_off", "power_on"], True)


def test_the_stop_rule_decides_what_follows_in_one_trip_to_the_worker(pcsc, euicc):
    pcsc.start(euicc())

    async def main():
        link = pcsc.open()
        await link.connect()
        asked = []

        def rule(command, response):
            asked.append(asyncio._get_running_loop())
            return len(asked) < 2

        done = await link.exchange([SELECT_MF, SELECT_MF, SELECT_MF], rule)
        await link.close()
        return done, asked

    done, asked = clock.run_real(main())
    assert len(done) == 2
    assert asked == [None, None], "the rule runs beside the loop"


@pytest.mark.parametrize("command", [b"", b"\x00", b"\x00\xa4\x00"])
def test_a_command_that_would_hang_the_reader_is_refused(pcsc, euicc, command):
    pcsc.start(euicc())

    async def main():
        link = pcsc.open()
        await link.connect()
        with pytest.raises(CodecError, match="at least 4 bytes"):
            await link.exchange([command], go_on)
        # Nothing has happened to the card.
        assert len(await link.exchange([SELECT_MF], go_on)) == 1
        await link.close()

    clock.run_real(main())


def test_what_a_stop_rule_raises_reaches_the_caller_and_the_card_stays(pcsc, euicc):
    pcsc.start(euicc())
    sink = ListSink()

    def rule(command, response):
        raise ValueError("enough")

    async def main():
        link = pcsc.open(sink)
        await link.connect()
        with pytest.raises(ValueError, match="enough"):
            await link.exchange([SELECT_MF], rule)
        assert isinstance(sink.events[-1], ApduEvent)
        assert len(await link.exchange([SELECT_MF], go_on)) == 1
        await link.close()

    clock.run_real(main())


def test_before_connect_and_after_close_there_is_no_card(pcsc, euicc):
    pcsc.start(euicc())

    async def main():
        link = pcsc.open()
        with pytest.raises(TransportError, match="not connected"):
            await link.exchange([SELECT_MF], go_on)
        await link.connect()
        await link.close()
        await link.close()
        with pytest.raises(TransportError, match="not connected"):
            await link.exchange([SELECT_MF], go_on)
        with pytest.raises(TransportError, match="closed"):
            await link.connect()

    clock.run_real(main())


def test_a_protocol_that_the_card_does_not_know_is_the_operators_mistake(pcsc, euicc):
    pcsc.start(euicc("small"))

    async def main():
        link = pcsc.open(protocol="T=1")
        with pytest.raises(ConfigError, match='protocol = "auto"'):
            await link.connect()
        await link.close()

    clock.run_real(main())


def test_case_4_commands_lose_their_le_and_no_others_do():
    assert without_le(bytes.fromhex("00A4040002A00000")).hex() == "00a4040002a000"
    case_3, case_2, case_2_with_zero = "00A40004023F00", "00C0000010", "00B0000000"
    for other in (case_3, case_2, case_2_with_zero):
        assert without_le(bytes.fromhex(other)).hex().upper() == other
