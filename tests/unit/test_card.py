"""A conversation with a card, against a scripted one that fails on anything unexpected."""

from collections.abc import Sequence

import pytest

from esim_bench import clock
from esim_bench.card import Card
from esim_bench.codec import es10
from esim_bench.errors import CardStatusError, ProtectedError
from esim_bench.events import ListSink
from esim_bench.ports import CardCapabilities, Exchange, StopRule

AID = es10.ISD_R_AID.hex().upper()
START = [
    ("00A4000C023F00", "9000"),
    ("80AA00000AA9088100820101830107", "9000"),
    ("8010000011FF9F7F8100009FC0000000000000000000", "9000"),
    ("80F2000C", "9000"),
]
OPEN = [("0070000001", "019000"), (f"01A4040010{AID}00", "6F009000")]


class ScriptedCard:
    """Answers the commands of a script, in order."""

    def __init__(self, script: list[tuple[str, str]], capabilities: CardCapabilities | None = None) -> None:
        self.capabilities = capabilities or CardCapabilities()
        self.script = list(script)

    async def connect(self) -> bytes:
        return b"\x3b\x00"

    async def reset(self) -> bytes:
        return b"\x3b\x00"

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        done = []
        for first in commands:
            command: bytes | None = first
            while command is not None:
                assert self.script, f"unexpected {command.hex().upper()}"
                expected, answer = self.script.pop(0)
                assert command.hex().upper() == expected.replace(" ", "")
                done.append(Exchange(command, bytes.fromhex(answer), 0, 0))
                verdict = stop(command, done[-1].response)
                if verdict is False:
                    return done
                command = verdict if isinstance(verdict, bytes) else None
        return done

    async def open_session(self, aid: bytes) -> int:
        return 7

    async def close_session(self, session: int) -> None:
        pass

    async def close(self) -> None:
        pass


def card_of(script: list[tuple[str, str]], *, protect: bool = False, max_data: int = 255) -> tuple[Card, ScriptedCard]:
    link = ScriptedCard([*START, *script], CardCapabilities(max_data=max_data))
    return Card(link, sink=ListSink(), protect=protect), link


def es10_of(script: list[tuple[str, str]], request: bytes, *, max_data: int = 255) -> bytes:
    card, link = card_of(script, max_data=max_data)

    async def job() -> bytes:
        await card.start()
        return await card.es10(request)

    answer = clock.run_virtual(job())
    assert link.script == [], "the card was not asked all it expects"
    return answer


def test_an_es10_function_opens_the_isd_r_on_a_channel_of_its_own() -> None:
    script = [*OPEN, ("81E2910006BF3E035C015A00", "BF3E029000")]
    assert es10_of(script, es10.get_eid()).hex().upper() == "BF3E02"


def test_get_response_is_repeated_until_all_data_is_there() -> None:
    script = [
        *OPEN,
        ("81E2910003BF2E0000", "6100"),
        ("01C0000000", "AA" * 256 + "6102"),
        ("01C0000002", "BBBB9000"),
    ]
    assert es10_of(script, es10.get_euicc_challenge()) == b"\xaa" * 256 + b"\xbb\xbb"


def test_a_wrong_le_is_corrected() -> None:
    script = [*OPEN, ("81E2910003BF2E0000", "6C03"), ("81E2910003BF2E0003", "0102039000")]
    assert es10_of(script, es10.get_euicc_challenge()) == b"\1\2\3"


def test_long_requests_are_cut_into_blocks_that_fit_the_link() -> None:
    request = bytes(range(250))
    script = [
        *OPEN,
        ("81E21100 78" + request[:120].hex().upper(), "9000"),
        ("81E21101 78" + request[120:240].hex().upper(), "9000"),
        ("81E29102 0A" + request[240:].hex().upper() + "00", "9000"),
    ]
    assert es10_of(script, request, max_data=120) == b""


def test_a_chain_stops_at_the_first_error() -> None:
    script = [*OPEN, ("81E2110078" + "00" * 120, "6985")]
    with pytest.raises(CardStatusError, match=r"conditions of use not satisfied.*expected 9000, found 6985"):
        es10_of(script, bytes(250), max_data=120)


def test_a_channel_that_is_gone_is_opened_again_once() -> None:
    script = [
        *OPEN,
        ("81E2910003BF2E0000", "6881"),
        ("0070000001", "029000"),
        (f"02A4040010{AID}00", "9000"),
        ("82E2910003BF2E0000", "009000"),
    ]
    assert es10_of(script, es10.get_euicc_challenge()) == b"\0"


def test_no_isd_r_says_that_this_is_no_euicc() -> None:
    script = [OPEN[0], (f"01A4040010{AID}00", "6A82"), ("00708001", "9000")]
    with pytest.raises(CardStatusError, match="not an eUICC"):
        es10_of(script, es10.get_eid())


def test_a_proactive_command_is_fetched_and_a_refresh_is_reported() -> None:
    script = [
        *OPEN,
        ("81E2910014" + es10.enable_profile(bytes(10), True).hex().upper() + "00", "BF3103800100910B"),
        ("801200000B", "D009810301010482028182" + "9000"),
        ("801400000C 810301010482028281830100", "9000"),
    ]
    card, link = card_of(script)

    async def job() -> bytes:
        await card.start()
        return await card.es10(es10.enable_profile(bytes(10), True))

    assert clock.run_virtual(job()).hex().upper() == "BF3103800100"
    assert card.pending_refresh == 4
    assert link.script == []


def test_behind_a_modem_the_modem_is_the_terminal() -> None:
    link = ScriptedCard(
        [("80E2910003BF2E0000", "00910B")], CardCapabilities(raw_channels=False, sessions=True, terminal=True)
    )
    card = Card(link, sink=ListSink())

    async def job() -> bytes:
        await card.start()
        return await card.es10(es10.get_euicc_challenge())

    assert clock.run_virtual(job()) == b"\0"


@pytest.mark.parametrize(
    "request_bytes",
    [es10.delete_profile(bytes(10)), es10.memory_reset(operational=True), bytes.fromhex("BF640482020780")],
)
def test_a_protected_slot_refuses_what_destroys(request_bytes: bytes) -> None:
    card, link = card_of(OPEN, protect=True)

    async def job() -> None:
        await card.start()
        await card.es10(request_bytes)

    with pytest.raises(ProtectedError, match="protected slot"):
        clock.run_virtual(job())
    assert link.script == [], "nothing more went out than the ISD-R's selection"


@pytest.mark.parametrize("chunks", [["BF330C5A0A" + "00" * 10], ["BF", "330C5A0A" + "00" * 10], ["BF33", "0C5A0A"]])
def test_no_hand_made_chain_walks_around_the_guard(chunks: list[str]) -> None:
    commands = [
        f"81E2{'91' if index == len(chunks) - 1 else '11'}{index:02X}{len(chunk) // 2:02X}{chunk}"
        for index, chunk in enumerate(chunks)
    ]
    allowed = [(command, "9000") for command in commands if command.startswith("81E2110001")]
    card, link = card_of(allowed, protect=True)

    async def job() -> None:
        await card.start()
        for command in commands:
            await card.transmit(bytes.fromhex(command))

    with pytest.raises(ProtectedError):
        clock.run_virtual(job())
    assert link.script == []


def test_a_profile_that_the_bench_installed_may_be_deleted() -> None:
    own = bytes.fromhex("98001032547698103214")
    link = ScriptedCard(
        [*START, *OPEN, ("81E291000F" + es10.delete_profile(own).hex().upper() + "00", "BF33038001009000")]
    )
    card = Card(link, sink=ListSink(), protect=True, own_profiles=[own])

    async def job() -> bytes:
        await card.start()
        return await card.es10(es10.delete_profile(own))

    assert es10.result_code(clock.run_virtual(job())) == (0, "ok")


def test_the_iccid_is_read_from_its_file() -> None:
    script = [
        ("00A4000C023F00", "9000"),
        ("00A40004022FE200", "6208820241218002000A9000"),
        ("00B000000A", "980010325476981032149000"),
    ]
    card, _ = card_of(script)

    async def job() -> str | None:
        await card.start()
        return await card.read_iccid()

    assert clock.run_virtual(job()) == "89000123456789012341"


def test_no_profile_no_iccid() -> None:
    card, _ = card_of([("00A4000C023F00", "9000"), ("00A40004022FE200", "6A82")])

    async def job() -> str | None:
        await card.start()
        return await card.read_iccid()

    assert clock.run_virtual(job()) is None
