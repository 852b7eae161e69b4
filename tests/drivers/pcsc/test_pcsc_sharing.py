"""A reader that somebody else uses, and two cards of one rack at once."""

import asyncio
import subprocess
import sys

import pytest

from esim_bench import clock
from esim_bench.card import Card
from esim_bench.codec import es10
from esim_bench.errors import InUseError, TransportError
from esim_bench.events import NullSink
from esim_bench.ports import CardPresence
from esim_drivers.pcsc import PcscDriver

SELECT_MF = bytes.fromhex("00A40004023F00")
GREEDY = """
import sys, time
from smartcard.scard import *
_, context = SCardEstablishContext(SCARD_SCOPE_USER)
while True:
    code, card, protocol = SCardConnect(context, sys.argv[1], int(sys.argv[2]), SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1)
    if code == 0:
        break
    time.sleep(0.02)
print("has it", flush=True)
sys.stdin.readline()
"""


def go_on(command, response):
    return True


@pytest.fixture
def other_program(pcsc, tmp_path):
    """Return the starter of another program that connects to the card (1: exclusively, 2: shared)."""
    processes = []

    def start(share):
        program = tmp_path / "greedy_lpa"
        program.write_text(GREEDY)
        command = [sys.executable, str(program), "esim-bench test 00 00", str(share)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "has it\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_reader_held_by_another_program_names_it_and_works_when_that_has_gone(pcsc, euicc, other_program):
    sim = euicc()
    pcsc.start(sim)
    other = other_program(1)

    async def main():
        link = pcsc.open()
        with pytest.raises(InUseError) as error:
            await link.connect()
        assert f"greedy_lpa (process {other.pid})" in str(error.value)
        found = await PcscDriver().discover()
        assert "greedy_lpa" in found[0].trouble
        other.kill()
        other.wait()
        card = Card(link, sink=NullSink())
        await card.start()
        assert (await card.es10(es10.get_eid()))[-16:] == sim.identity.eid
        await link.close()

    clock.run_real(main())


def test_a_program_that_lets_go_soon_is_waited_for(pcsc, euicc, other_program):
    pcsc.start(euicc())
    other = other_program(1)

    async def main():
        link = pcsc.open()
        asyncio.get_running_loop().call_later(0.2, other.kill)
        assert await link.connect()
        await link.close()

    clock.run_real(main())


def test_a_shared_card_is_not_reset_and_both_can_talk(pcsc, euicc, other_program):
    sim = euicc()
    pcsc.start(sim)
    other_program(2)
    channel = bytes.fromhex("0070000001")

    async def main():
        first, second = pcsc.open(exclusive=False), pcsc.open(exclusive=False)
        await first.connect()
        assert (await first.exchange([channel], go_on))[0].response.hex() == "019000"
        await second.connect()
        # The channel of the first is still open.
        assert (await second.exchange([channel], go_on))[0].response.hex() == "029000"
        done = await asyncio.gather(*(link.exchange([SELECT_MF] * 5, go_on) for link in (first, second)))
        assert [len(one) for one in done] == [5, 5]
        await second.reset()
        with pytest.raises(TransportError, match="somebody else has reset the card"):
            await first.exchange([SELECT_MF], go_on)
        await first.connect()
        await first.close()
        await second.close()

    clock.run_real(main())


def test_a_card_that_hangs_holds_up_no_other(pcsc, euicc):
    class Hanging:
        def __init__(self, card):
            self.card = card

        def __getattr__(self, name):
            return getattr(self.card, name)

        def transmit(self, command):
            return self.card.transmit(command)[0], 1e6

    pcsc.second.insert(Hanging(euicc()))
    pcsc.second.rate = 1
    pcsc.start(euicc(), pulling=True)

    async def main():
        good, bad = pcsc.open(), pcsc.open(reader="name:esim-bench test 00 01")
        await asyncio.gather(good.connect(), bad.connect())
        stuck = asyncio.create_task(bad.exchange([SELECT_MF], go_on))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            assert len(await good.exchange([SELECT_MF] * 50, go_on)) == 50
        assert not stuck.done()
        pcsc.second.remove()
        with pytest.raises(TransportError):
            await stuck
        await good.close()
        await bad.close()

    clock.run_real(main())


def test_discovery_tells_readers_cards_and_what_goes_into_a_rack_file(pcsc, euicc):
    sim = euicc()
    pcsc.start(sim)

    async def main():
        driver = PcscDriver()
        found = await driver.discover()
        link = pcsc.open(**{key: value for key, value in found[0].table.items() if key != "driver"})
        assert isinstance(link, CardPresence)
        atr = await link.connect()
        await link.close()
        return found, atr

    found, atr = clock.run_real(main())
    assert [one.name for one in found] == ["esim-bench test 00 00", "esim-bench test 00 01"]
    assert found[0].table == {"driver": "pcsc", "reader": "name:esim-bench test 00 00"}
    assert found[0].details["card"] == "present"
    assert found[0].details["atr"] == atr.hex().upper()
    assert found[0].trouble is None


def test_discovery_without_a_service_says_how_to_start_it(pcsc, euicc):
    pcsc.start(euicc())
    pcsc.pcscd.stop()
    with pytest.raises(TransportError, match=r"systemctl start pcscd.socket"):
        clock.run_real(PcscDriver().discover())
