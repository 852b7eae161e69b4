"""A conversation with a card, against a scripted one that fails on anything unexpected."""

from collections.abc import Sequence

import pytest

from esim_bench import clock
from esim_bench.card import Card, Guard
from esim_bench.codec import es10, euicc_package
from esim_bench.codec.euicc_operations import Delete, Disable, ListProfileInfo, Operation
from esim_bench.errors import CardStatusError, ProtectedError, ProtocolError
from esim_bench.events import ListSink
from esim_bench.ports import CardCapabilities, Exchange, StopRule

AID = es10.ISD_R_AID.hex().upper()
START = [
    ("00A4000C023F00", "9000"),
    ("80AA00000AA9088100820101830107", "9000"),
    ("8010000011FF9FFF8100009FC0000000000000000000", "9000"),
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


def not_found(aid: str) -> list[tuple[str, str]]:
    return [OPEN[0], (f"01A4040010{aid}00", "6A82"), ("00708001", "9000")]


OTHERS = [aid.hex().upper() for aid in es10.OTHER_ISD_R_AIDS]


def test_no_isd_r_says_that_this_is_no_euicc() -> None:
    script = [step for aid in (AID, *OTHERS) for step in not_found(aid)]
    with pytest.raises(CardStatusError, match="not an eUICC"):
        es10_of(script, es10.get_eid())


def test_an_isd_r_under_an_aid_of_its_own_is_found() -> None:
    eid = "BF3E125A1089" + "00" * 15
    script = [
        *not_found(AID),
        *not_found(OTHERS[0]),
        OPEN[0],
        (f"01A4040010{OTHERS[1]}00", "9000"),
        ("81E2910006BF3E035C015A00", eid + "9000"),
    ]
    assert es10_of(script, es10.get_eid()) == bytes.fromhex(eid)


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


OWN = bytes.fromhex("98001032547698103214")
DELETE = es10.delete_profile(OWN).hex()


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(["81E2110001BF", f"81E29100{len(DELETE) // 2 - 1:02X}{DELETE[2:]}"], id="a repeated block number"),
        pytest.param(["81E2910003BF3E00", f"81E29101{len(DELETE) // 2:02X}{DELETE}"], id="a number that goes on"),
        pytest.param(["81E2110001BF", "01A40000", f"81E29101{len(DELETE) // 2 - 1:02X}{DELETE[2:]}"], id="a break"),
        pytest.param(["81E2110003BF3E03", "01A40000", f"81E29101{len(DELETE) // 2:02X}{DELETE}"], id="a new begin"),
        pytest.param([f"81E29100{len(DELETE) // 2:02X}{DELETE}00"], id="with Le"),
        pytest.param([f"C0E29100{len(DELETE) // 2:02X}{DELETE}"], id="on channel 4"),
    ],
)
def test_the_guard_refuses_under_any_reading_of_the_blocks(commands: list[str]) -> None:
    card, link = card_of([(command, "9000") for command in commands[:-1]], protect=True)

    async def job() -> None:
        await card.start()
        for command in commands:
            await card.transmit(bytes.fromhex(command))

    with pytest.raises(ProtectedError, match="DeleteProfile"):
        clock.run_virtual(job())
    assert link.script == []


def test_an_own_iccid_beside_another_profile_opens_no_door() -> None:
    guard = Guard(True, [OWN])
    guard.outgoing(bytes.fromhex(f"81E29100{len(DELETE) // 2:02X}{DELETE}"))
    both = "BF33" + "1E" + "4F10A0000005591010FFFFFFFF8900001000" + "5A0A" + OWN.hex()
    with pytest.raises(ProtectedError):
        guard.outgoing(bytes.fromhex(f"81E29100{len(both) // 2:02X}{both}"))


def a_package(*operations: Operation, block: int) -> list[bytes]:
    """An eUICC Package as STORE DATA commands with so many bytes in each block."""
    signed = euicc_package.package_signed("testeim1", bytes(16), 1, operations)
    request = euicc_package.package_request(signed, bytes(64))
    chunks = [request[at : at + block] for at in range(0, len(request), block)]
    return [
        bytes((0x81, 0xE2, 0x91 if chunk is chunks[-1] else 0x11, number, len(chunk))) + chunk
        for number, chunk in enumerate(chunks)
    ]


@pytest.mark.parametrize("block", [255, 16, 3])
def test_a_package_that_deletes_a_profile_that_is_not_ours_does_not_leave(block: int) -> None:
    other = bytes.fromhex("98001032547698100000")
    commands = a_package(ListProfileInfo(), Delete(OWN), Delete(other), block=block)
    guard = Guard(True, [OWN])
    for command in commands[:-1]:
        guard.outgoing(command)
    with pytest.raises(ProtectedError, match="deletes 8900012345678901"):
        guard.outgoing(commands[-1])


def test_a_package_that_deletes_what_this_bench_installed_may_leave() -> None:
    guard = Guard(True, [OWN])
    for command in a_package(Disable(OWN), Delete(OWN), block=20):
        guard.outgoing(command)


def test_data_that_looks_like_a_deletion_inside_a_chain_is_data() -> None:
    guard = Guard(True)
    guard.outgoing(bytes.fromhex("81E2110003860AAA"))
    guard.outgoing(bytes.fromhex("81E2910103BF330C"))


@pytest.mark.parametrize("sw", ["6110", "6C10"])
def test_a_card_that_never_comes_to_an_end_is_stopped(sw: str) -> None:
    class Endless(ScriptedCard):
        async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
            while not isinstance(stop(commands[0], bytes.fromhex(sw)), bool):
                pass
            raise AssertionError("the rule ended without a complaint")

    card = Card(Endless([]), sink=ListSink())
    with pytest.raises(ProtocolError, match="without end"):
        clock.run_virtual(card.start())


def test_a_reset_forgets_the_isd_r_and_a_pending_refresh() -> None:
    script = [*OPEN, ("81E2910003BF2E0000", "009000"), *START, *OPEN, ("81E2910003BF2E0000", "009000")]
    card, link = card_of(script)

    async def job() -> None:
        await card.start()
        await card.es10(es10.get_euicc_challenge())
        card.pending_refresh = 4
        await card.reset()
        assert card.pending_refresh is None
        await card.es10(es10.get_euicc_challenge())

    clock.run_virtual(job())
    assert link.script == []


def test_proactive_commands_of_the_start_up_are_all_answered() -> None:
    poll = "D009810301030082028182"
    start = [*START]
    start[2] = (start[2][0], "910B")
    script = [
        *start[:3],
        ("801200000B", poll + "9000"),
        ("801400000C 810301030082028281830100", "910B"),
        ("801200000B", "D009810301210082028102" + "9000"),
        ("801400000C 810301210082028281830130", "9000"),
        *start[3:],
    ]
    link = ScriptedCard(script)
    clock.run_virtual(Card(link, sink=ListSink()).start())
    assert link.script == []


def test_the_imsi_is_found_through_the_directory() -> None:
    usim = "A0000000871002FFFFFFFF8907090000"
    script = [
        ("00A4000C023F00", "9000"),
        ("00A40004022F0000", "620B8205422100260283022F00" + "9000"),
        ("00B2010426", ("61124F10" + usim).ljust(76, "F") + "9000"),
        ("00B2020426", "FF" * 38 + "9000"),
        ("00A4040C10" + usim, "9000"),
        ("00A40004026F0700", "6208820241218002000 99000".replace(" ", "")),
        ("00B0000009", "0809101010325406369000"),
    ]
    card, link = card_of(script)

    async def job() -> str | None:
        await card.start()
        return await card.read_imsi()

    assert clock.run_virtual(job()) == "001010123456063"
    assert link.script == []


@pytest.mark.parametrize(
    ("fcp", "complaint"),
    [
        ("6F00", "expected 62, found 6F"),
        ("6282", "truncated"),
        ("620882024121800200 0A".replace(" ", "")[:-2], "truncated"),
        ("62088202412180028000", "at most 32767 bytes"),
    ],
)
def test_nonsense_about_a_file_is_the_cards_fault(fcp: str, complaint: str) -> None:
    card, _ = card_of([("00A4000C023F00", "9000"), ("00A40004022FE200", fcp + "9000")])

    async def job() -> None:
        await card.start()
        await card.read_iccid()

    with pytest.raises(ProtocolError, match=complaint):
        clock.run_virtual(job())
