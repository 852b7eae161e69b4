"""Proactive polling and what the terminal tells in return (TS 102 223), from the card's and the terminal's side."""

import pytest

from esim_bench.card.proactive import ProactiveCommand
from esim_bench.codec import tlv
from esim_bench.errors import CodecError
from esim_drivers.sim.cat import (
    MORE_TIME,
    POLL_INTERVAL,
    POLLING_OFF,
    PROVIDE_LOCAL_INFORMATION,
    SET_UP_EVENT_LIST,
    TIMER_MANAGEMENT,
    Toolkit,
)
from esim_drivers.sim.personality import personality
from esim_drivers.sim.terminal import Terminal
from esim_drivers.sim.uicc_card import UiccCard

ABLE = "801000000C FFFFFFFF7F0F00DF7FFF0300"


def make_card(name: str = "polling") -> UiccCard:
    card = UiccCard(personality(name))
    card.power_on()
    return card


def send(card: UiccCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command.replace(" ", "")))[0].hex().upper()


def answered(kit: Toolkit, type_: int, qualifier: int = 0, members: str = "", result: str = "830100") -> None:
    """Queue a command, fetch it and answer it."""
    kit.queue(type_, qualifier, bytes.fromhex(members))
    fetched = kit.fetch()
    assert fetched is not None
    details = tlv.parse(fetched).children()[0].raw
    assert kit.respond(details + bytes.fromhex("82028281" + result)) == 0x9000


def test_a_card_asks_for_polling_after_terminal_profile() -> None:
    card = make_card()
    assert send(card, ABLE) == "910F"
    assert send(card, "80F2000C") == "910F"  # announced until it is fetched
    fetched = send(card, "801200000F")
    assert fetched == "D00D" + "810301030082028182" + "8402010A" + "9000"
    assert send(card, "80F2000C") == "9000"
    assert send(card, "8014000010 810301030082028281830100 84020114") == "9000"  # the terminal prefers 20 seconds
    assert card.uicc.toolkit.poll_seconds == 20
    card.reset()
    assert card.uicc.toolkit.poll_seconds == 30  # the default of every terminal


@pytest.mark.parametrize("profile", ["8010000001FF", "801000000CFFFF1F FF7F0F00DF7FFF0300"])
def test_a_terminal_that_cannot_poll_is_not_asked(profile: str) -> None:
    assert send(make_card(), profile) == "9000"


def test_other_cards_leave_polling_to_the_terminal() -> None:
    assert send(make_card("standard"), ABLE) == "9000"


def test_long_intervals_are_told_in_minutes() -> None:
    kit = Toolkit()
    kit.terminal_profile = b"\xff\xff\xff"
    for seconds, duration in ((1, "84020101"), (255, "840201FF"), (256, "84020005"), (99999, "840200FF")):
        kit.ask_for_polling(seconds)
        assert (kit.fetch() or b"").hex().upper().endswith(duration)
        kit.reset()
        kit.terminal_profile = b"\xff\xff\xff"


def test_polling_can_be_turned_off() -> None:
    kit = Toolkit()
    answered(kit, POLLING_OFF, result="830130")
    assert kit.poll_seconds == 30  # beyond the terminal's capabilities
    answered(kit, POLLING_OFF)
    assert kit.poll_seconds is None
    answered(kit, POLL_INTERVAL, members="8402010A", result="830100 84020205")
    assert kit.poll_seconds == 0.5


def test_what_the_terminal_found_out_is_kept() -> None:
    kit = Toolkit()
    answered(kit, PROVIDE_LOCAL_INFORMATION, result="830100 930762F21000010001")
    assert kit.last_answer[0x13].hex() == "62f21000010001"
    answered(kit, PROVIDE_LOCAL_INFORMATION, 0x06, result="830100 BF0108")
    assert kit.last_answer[0x3F] == b"\x08"  # E-UTRAN; BF is a tag of one byte
    answered(kit, MORE_TIME, result="83022004")
    assert kit.last_result == 0x20


def test_events_come_where_they_were_asked_for() -> None:
    card = make_card("standard")
    assert send(card, "80C2000009 D607190103 82028281") == "6A81"
    kit = card.uicc.toolkit
    answered(kit, SET_UP_EVENT_LIST, members="9902030A")
    assert send(card, "80C2000009 D607190103 82028281") == "9000"
    assert send(card, "80C2000009 D607190112 82028281") == "6A80"  # not in the list
    assert send(card, "80C2000004 D6031901") == "6A80"
    assert send(card, "80C20000") == "6700"
    answered(kit, SET_UP_EVENT_LIST, members="9900")
    assert send(card, "80C2000009 D607190103 82028281") == "6A81"


def test_a_timer_expires_once() -> None:
    card = make_card("standard")
    kit = card.uicc.toolkit
    expired = "80C200000E D70C82028281 A40101 A503005000"
    assert send(card, expired) == "6A81"
    answered(kit, TIMER_MANAGEMENT, 0x00, "A40101 A503005000")
    answered(kit, TIMER_MANAGEMENT, 0x00, "A40102 A503005000")
    assert send(card, expired) == "9000"
    assert send(card, expired) == "6A80"
    answered(kit, TIMER_MANAGEMENT, 0x01, "A40102")
    assert send(card, expired) == "6A81"


def test_an_envelope_waits_for_the_running_command() -> None:
    card = make_card("standard")
    answered(card.uicc.toolkit, SET_UP_EVENT_LIST, members="990103")
    send(card, "8010000001FF")
    card.uicc.toolkit.queue(MORE_TIME)
    assert send(card, "80F2000C") == "910B"
    assert send(card, "801200000B") == "D0098103020200820281829000"
    assert send(card, "80C2000009 D607190103 82028281") == "9300"
    assert send(card, "801400000C 810302020082028281830100") == "9000"
    assert send(card, "80C2000009 D607190103 82028281") == "9000"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("D009810301010482028182", "830100"),  # REFRESH
        ("D009810301020082028182", "830100"),  # MORE TIME
        ("D00D8103010300820281828402011E", "8301008402011E"),  # POLL INTERVAL: the interval is accepted
        ("D00D0103010300020281820402011E", "8301008402011E"),  # the same without comprehension required
        ("D009810301040082028182", "830100"),
        ("D00C810301050082028182990103", "830100"),
        ("D009810301260082028182", "83022004"),  # where it is: no service
        ("D009810301260182028182", "830130"),  # it has no IMEI
        ("D009810301134082028182", "830130"),
        ("D00E810301400182028182BC03020035", "830130"),
    ],
)
def test_a_terminal_of_few_means_answers(command: str, answer: str) -> None:
    parsed = ProactiveCommand.parse(bytes.fromhex(command))
    response = parsed.terminal_response().hex().upper()
    assert response == f"8103{parsed.details.hex().upper()}82028281{answer}"


@pytest.mark.parametrize(
    "command", ["", "D1098103010104820281 82", "D00482028182", "D008810201018202 8182", "D0098103"]
)
def test_what_is_no_proactive_command_is_named(command: str) -> None:
    with pytest.raises(CodecError):
        ProactiveCommand.parse(bytes.fromhex(command))


class Wire:
    """A card that only asks: each command is fetched in turn, and what is answered is kept."""

    def __init__(self, *commands: str) -> None:
        self.waiting = [bytes.fromhex(command) for command in commands]
        self.answers: list[str] = []

    def power_on(self) -> bytes:
        return b"\x3b\x00"

    def reset(self) -> bytes:
        return b"\x3b\x00"

    def power_off(self) -> None:
        self.waiting.clear()

    def transmit(self, command: bytes) -> tuple[bytes, float]:
        if command[1] == 0x12:
            return self.waiting.pop(0) + b"\x90\x00", 0.0
        if command[1] == 0x14:
            self.answers.append(command[5:].hex().upper())
        return (bytes((0x91, len(self.waiting[0]))) if self.waiting else b"\x90\x00"), 0.0


def test_a_modem_answers_what_it_does_and_what_it_cannot_do() -> None:
    wire = Wire("D00D8103010300820281828402011E", "D00E810302400182028182BC03020035", "D009810303010482028182")
    assert Terminal(wire).finish(0x910F) is True  # the REFRESH wants a reset
    assert wire.answers == [
        "810301030082028281" + "8301008402011E",
        "810302400182028281" + "830130",
        "810303010482028281" + "830100",
    ]
