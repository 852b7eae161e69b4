"""The host that gives vpcd its cards, spoken to as vpcd does."""

import contextlib
import socket
import time

import pytest

from esim_bench.errors import ConfigError, TransportError
from esim_drivers.sim.nvm import PowerLost
from esim_drivers.sim.vpcd import VirtualReader, VpcdHost, reader_conf

ATR = bytes.fromhex("3B9C96018031A073BE21134553494D42B5")
OFF, ON, RESET, GET_ATR = (bytes((number,)) for number in (0, 1, 2, 4))
SELECT_MF = bytes.fromhex("00A40004023F00")


class Card:
    """Answers each command with its first bytes."""

    def __init__(self):
        self.log = []
        self.seconds = 0.0

    def power_on(self):
        self.log.append("on")
        return ATR

    def reset(self):
        self.log.append("reset")
        return ATR

    def power_off(self):
        self.log.append("off")

    def transmit(self, command):
        if command[1] == 0xDE:
            raise PowerLost
        return command[:2] + b"\x90\x00", self.seconds


class Vpcd:
    """The other side: sends length and payload apart, as vpcd 3.3 does."""

    def __init__(self, connection):
        connection.settimeout(2)
        self.connection = connection

    def send(self, payload):
        self.connection.sendall(len(payload).to_bytes(2, "big"))
        self.connection.sendall(payload)

    def receive(self):
        head = self.connection.recv(2)
        return self.connection.recv(int.from_bytes(head, "big")) if head else None

    def ask(self, payload):
        self.send(payload)
        return self.receive()


@pytest.fixture
def listening():
    """Return a vpcd that listens: its port, and what accepts the next card."""
    with contextlib.ExitStack() as ends, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(2)
        yield server.getsockname()[1], lambda: Vpcd(ends.enter_context(server.accept()[0]))


def test_power_presence_and_commands_over_a_vpcd_that_listens(listening):
    port, accept = listening
    card = Card()
    reader = VirtualReader(card)
    with VpcdHost.connecting([reader], port=port):
        vpcd = accept()
        # Presence is asked for before there is power: the card must not notice.
        assert vpcd.ask(GET_ATR) == b"\x3b\x00"
        assert card.log == []
        vpcd.send(ON)
        assert vpcd.ask(GET_ATR) == ATR
        assert vpcd.ask(SELECT_MF).hex() == "00a49000"
        vpcd.send(RESET)
        assert vpcd.ask(GET_ATR) == ATR
        vpcd.send(OFF)
        vpcd.send(RESET)
        assert vpcd.ask(GET_ATR) == ATR
        assert card.log == ["on", "reset", "off", "on"]
        # The service dies: the card has no power, and is offered to the next one.
        vpcd.connection.close()
        again = accept()
        assert again.ask(GET_ATR) == ATR
        assert card.log[4:] == ["off"]
        assert not reader.powered


def test_a_card_that_is_pulled_hangs_up_also_in_the_middle_of_a_command(listening):
    port, accept = listening
    card = Card()
    card.seconds = 60.0
    reader = VirtualReader(card)
    with VpcdHost.connecting([reader], port=port):
        vpcd = accept()
        vpcd.send(ON)
        vpcd.send(SELECT_MF)
        time.sleep(0.05)
        assert reader.remove() is card
        assert vpcd.receive() is None
        reader.insert(card)
        assert accept().ask(GET_ATR) == b"\x3b\x00"
        with pytest.raises(TransportError, match="taken"):
            reader.insert(Card())


def test_a_card_that_loses_its_power_gives_no_answer(listening):
    port, accept = listening
    with VpcdHost.connecting([VirtualReader(Card())], port=port):
        vpcd = accept()
        vpcd.send(ON)
        assert vpcd.ask(bytes.fromhex("00DE000000")) is None


def test_simulated_durations_pass_in_real_time_at_the_rate_that_is_asked_for(listening):
    port, accept = listening
    card = Card()
    card.seconds = 0.1
    reader = VirtualReader(card, rate=0.5)
    with VpcdHost.connecting([reader], port=port):
        vpcd = accept()
        vpcd.send(ON)
        began = time.perf_counter()
        vpcd.ask(SELECT_MF)
        assert 0.05 <= time.perf_counter() - began < 0.5
        reader.rate = 0
        began = time.perf_counter()
        vpcd.ask(SELECT_MF)
        assert time.perf_counter() - began < 0.04, "vpcd's two sends are acknowledged at once"


def test_to_a_vpcd_that_connects_an_empty_slot_never_hangs_up():
    reader = VirtualReader(Card())
    with VpcdHost.listening([reader]) as host:
        vpcd, empty = (Vpcd(socket.create_connection((host.address, host.port + slot))) for slot in (0, 1))
        assert empty.ask(GET_ATR) == b"\x3b\x00"
        assert empty.ask(SELECT_MF).hex() == "6f00"
        vpcd.send(ON)
        assert vpcd.ask(GET_ATR) == ATR
        reader.remove()
        assert vpcd.ask(SELECT_MF).hex() == "6f00"
        with pytest.raises(TransportError, match="2 free ports in a row"):
            VpcdHost.listening([reader], port=host.port)
        vpcd.connection.close()
        empty.connection.close()


def test_the_entry_of_a_reader_conf(tmp_path):
    library = tmp_path / "libifdvpcd.so"
    library.touch()
    entry = reader_conf("Bench A", 0x8C7B, library=library)
    assert 'FRIENDLYNAME "Bench A"\nDEVICENAME /dev/null:0x8C7B\n' in entry
    assert "DEVICENAME 127.0.0.1:0x8C7B" in reader_conf("A", 0x8C7B, address="127.0.0.1", library=library)
    with pytest.raises(ConfigError, match="without quotes"):
        reader_conf('A"', 1, library=library)
    with pytest.raises(ConfigError, match="apt install vsmartcard-vpcd"):
        reader_conf("A", 1, library=tmp_path / "none")
