"""A modem that refuses to pass an APDU on: what may be sent again, and what must be read."""

from collections.abc import Sequence

import pytest

from esim_bench import clock
from esim_bench.card import Card
from esim_bench.errors import ApduRefusedError
from esim_bench.events import ListSink
from esim_bench.ports import CardCapabilities, Exchange, StopRule

LIST = bytes.fromhex("BF2D00")
ENABLE = bytes.fromhex("BF3100")


class Modem:
    """A link with sessions that refuses blocks longer than ``longest``, and halves what it says it takes."""

    def __init__(self, longest: int = 255, *, refuses: Sequence[int] = ()) -> None:
        self.capabilities = CardCapabilities(raw_channels=False, sessions=True, terminal=True, max_data=240)
        self.longest = longest
        self.refuses = set(refuses)
        """Numbers of APDUs that are refused after the card has executed them."""
        self.sent: list[bytes] = []
        self.sessions = 0
        self.open: list[int] = []
        self.dead: set[int] = set()

    async def connect(self) -> bytes:
        return b""

    async def reset(self) -> bytes:
        return b""

    async def close(self) -> None:
        pass

    async def open_session(self, aid: bytes) -> int:
        self.sessions += 1
        self.open.append(self.sessions)
        return self.sessions

    async def close_session(self, session: int) -> None:
        self.open.remove(session)

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        done = []
        for command in commands:
            self.sent.append(command)
            length = len(command) - 5 - (1 if command[2] & 0x80 else 0)
            if length > self.longest or len(self.sent) in self.refuses or session in self.dead:
                if length > self.longest:
                    self.capabilities = CardCapabilities(
                        raw_channels=False, sessions=True, terminal=True, max_data=max(32, length // 2)
                    )
                raise ApduRefusedError("refused", command=command, hint=None)
            done.append(Exchange(command, command[5 : 5 + command[4]] + b"\x90\x00", 0, 0))
        return done


def card_on(modem: Modem) -> Card:
    return Card(modem, sink=ListSink())


def test_a_chain_that_was_refused_before_its_end_is_begun_anew_with_shorter_blocks() -> None:
    modem = Modem(longest=100)
    request = bytes(range(250)) * 2

    async def job() -> bytes:
        return await card_on(modem).es10(request)

    assert len(clock.run_virtual(job())) == 500
    assert [len(command) - 5 for command in modem.sent[:2]] == [240, 120]
    taken = modem.sent[2:]
    assert b"".join(command[5 : 5 + command[4]] for command in taken) == request
    assert [command[3] for command in taken] == list(range(9))
    assert modem.sessions == 1


def test_a_last_block_is_never_sent_again() -> None:
    modem = Modem(refuses=[1])

    async def job() -> None:
        card = card_on(modem)
        with pytest.raises(ApduRefusedError):
            await card.es10(ENABLE)
        # The session goes on: one refusal may be no more than an answer lost.
        assert await card.es10(LIST) == LIST

    clock.run_virtual(job())
    assert [command[5:7].hex() for command in modem.sent] == ["bf31", "bf2d"]
    assert modem.sessions == 1


def test_after_two_refusals_the_state_is_read_in_a_new_session() -> None:
    modem = Modem()

    async def job() -> None:
        card = card_on(modem)
        await card.es10(LIST)
        modem.dead.add(1)
        with pytest.raises(ApduRefusedError):
            await card.es10(ENABLE)
        assert await card.es10(LIST) == LIST
        assert await card.es10(ENABLE) == ENABLE

    clock.run_virtual(job())
    assert modem.sessions == 2
    assert modem.open == [2]
    assert [command[5:7].hex() for command in modem.sent].count("bf31") == 2


def test_an_order_is_not_repeated_however_often_it_is_refused() -> None:
    modem = Modem()

    async def job() -> None:
        card = card_on(modem)
        await card.es10(LIST)
        modem.dead.add(1)
        for _ in range(3):
            with pytest.raises(ApduRefusedError):
                await card.es10(ENABLE)

    clock.run_virtual(job())
    assert len(modem.sent) == 4
    assert modem.sessions == 1


def test_a_block_that_no_length_helps_is_refused_for_good() -> None:
    modem = Modem(longest=20)

    async def job() -> None:
        with pytest.raises(ApduRefusedError):
            await card_on(modem).es10(bytes(500))

    clock.run_virtual(job())
    assert len(modem.sent) < 8
