"""The simulated modem as sans-IO machine: bytes and times in, bytes and times out."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench import data
from esim_drivers.sim.modem import SimModem

CardClass = Callable[[], Any]
ISD_R = "A0000005591010FFFFFFFF8900000100"


class Bench:
    """Gives a modem time, without any loop."""

    def __init__(self, module: str, card: Any, seed: int = 1) -> None:
        self.card = card
        self.modem = SimModem(data.module(module), card, rng=random.Random(seed), imei="352906110000018")
        self.now = 100.0
        self.out: list[tuple[float, bytes]] = self.modem.power_on(self.now)

    def wait(self, seconds: float) -> str:
        """Let time pass; return what came out meanwhile."""
        end = self.now + seconds
        while (due := self.modem.deadline) is not None and due <= end:
            self.out += self.modem.feed(b"", due)
        self.now = end
        came = sorted((item for item in self.out if item[0] <= end), key=lambda item: item[0])
        self.out = [item for item in self.out if item[0] > end]
        return b"".join(piece for _, piece in came).decode("latin-1")

    def say(self, line: str, seconds: float = 5.0) -> list[str]:
        """Send a line; return the lines of the answer."""
        self.out += self.modem.feed(line.encode() + b"\r", self.now)
        return [part for part in self.wait(seconds).replace("\r", "\n").split("\n") if part]


@pytest.fixture
def eg25(scripted_card: CardClass) -> Bench:
    bench = Bench("quectel-eg25", scripted_card())
    bench.wait(30)
    bench.say("ATE0")
    return bench


@pytest.fixture
def gm02s(scripted_card: CardClass) -> Bench:
    bench = Bench("sequans-gm02s", scripted_card())
    bench.wait(30)
    bench.say("ATE0")
    bench.say("AT+CMEE=1")
    bench.say("AT+CFUN=1", 10)
    return bench


def test_a_boot_says_its_lines_over_many_seconds(scripted_card: CardClass) -> None:
    bench = Bench("quectel-eg25", scripted_card())
    assert bench.wait(9.9) == ""
    lines = [line for line in bench.wait(20).split("\r\n") if line]
    assert sorted(lines) == sorted(
        ["RDY", "+CFUN: 1", "+CPIN: READY", "+QUSIM: 1", "+QIND: SMS DONE", "+QIND: PB DONE"]
    )
    assert lines[0] == "RDY"


def test_the_order_of_the_boot_lines_varies_with_chance_alone(scripted_card: CardClass) -> None:
    def boot(seed: int) -> str:
        return Bench("quectel-eg25", scripted_card(), seed).wait(30)

    assert boot(1) == boot(1)
    assert len({boot(seed) for seed in range(40)}) > 1


def test_nobody_listens_before_the_port_is_up(scripted_card: CardClass) -> None:
    bench = Bench("quectel-eg25", scripted_card())
    assert bench.say("AT", 2) == []


def test_the_modem_is_the_cards_terminal(eg25: Bench) -> None:
    starts = [command[:4] for command in eg25.card.log]
    assert starts[:2] == ["00A4", "80AA"]
    assert "8010" in starts
    assert "80F2" in starts


def test_identity_and_subscriber(eg25: Bench) -> None:
    assert eg25.say("AT+CGMI") == ["Quectel", "OK"]
    assert eg25.say("AT+CGMM") == ["EG25", "OK"]
    assert eg25.say("AT+CGSN") == ["352906110000018", "OK"]
    assert eg25.say("ATI")[:2] == ["Quectel", "EG25"]
    assert eg25.say("AT+CIMI") == ["262020100000001", "OK"]
    assert eg25.say("AT+QCCID") == ["+QCCID: 89440000000000000010", "OK"]
    assert eg25.say("AT+CPIN?") == ["+CPIN: READY", "OK"]


def test_echo_on_and_off(eg25: Bench) -> None:
    assert eg25.say("AT") == ["OK"]
    assert eg25.say("ATE1") == ["OK"]
    assert eg25.say("AT") == ["AT", "OK"]
    assert eg25.say("ATE1E0") == ["ATE1E0", "OK"]
    assert eg25.say("AT") == ["OK"]


@pytest.mark.parametrize("line", ["AT+NOSUCH", "AT+CCHO", "AT+CCHO=zz", "AT+CGLA=1", "ATY7", "AT+CSIM=4,00", "AT+CPIN"])
def test_unknown_and_malformed_commands_are_refused(eg25: Bench, line: str) -> None:
    assert eg25.say(line)[-1] in ("ERROR", "+CME ERROR: 50")


def test_what_is_not_a_command_is_not_answered(eg25: Bench) -> None:
    assert eg25.say("hello") == []


def test_errors_are_plain_numeric_or_verbose(eg25: Bench) -> None:
    wrong = 'AT+CCHO="A000000000"'
    assert eg25.say("AT+CMEE=0") == ["OK"]
    assert eg25.say(wrong) == ["ERROR"]
    assert eg25.say("AT+CMEE=2") == ["OK"]
    assert eg25.say(wrong) == ["+CME ERROR: SIM failure"]
    assert eg25.say("AT+CMEE=1") == ["OK"]
    assert eg25.say(wrong) == ["+CME ERROR: 13"]


def open_session(bench: Bench) -> str:
    return bench.say(f'AT+CCHO="{ISD_R}"')[0].removeprefix("+CCHO: ")


def test_a_session_has_an_opaque_handle_and_its_own_channel(eg25: Bench) -> None:
    handle = open_session(eg25)
    assert handle not in ("1", "2", "3")
    # CLA 80 on the line, channel 1 on the card.
    assert eg25.say(f'AT+CGLA={handle},16,"80E29100035C015A"') == ['+CGLA: 10,"5C015A9000"', "OK"]
    assert eg25.card.log[-1] == "81E29100035C015A"
    assert eg25.say(f"AT+CCHC={handle}") == ["OK"]
    assert eg25.say(f"AT+CCHC={handle}") == ["+CME ERROR: 50"]
    assert eg25.say(f'AT+CGLA={handle},10,"80E2910000"') == ["+CME ERROR: 50"]


def test_a_failed_select_leaves_no_channel_open(eg25: Bench) -> None:
    assert eg25.say('AT+CCHO="A0000000000000"') == ["+CME ERROR: 13"]
    assert list(eg25.card.channels) == [0]


def test_no_free_channel_is_refused(eg25: Bench) -> None:
    for _ in range(3):
        open_session(eg25)
    assert eg25.say(f'AT+CCHO="{ISD_R}"') == ["+CME ERROR: 20"]


def test_csim_reaches_the_basic_channel_but_no_other(eg25: Bench) -> None:
    assert eg25.say('AT+CSIM=14,"00A40004023F00"') == ['+CSIM: 4,"9000"', "OK"]
    assert eg25.say('AT+CSIM=10,"0070000001"') == ['+CSIM: 6,"019000"', "OK"]
    assert eg25.say('AT+CSIM=10,"81F2000000"') == ["+CME ERROR: 0"]


def test_a_refresh_is_fetched_and_the_sim_reset_a_moment_later(eg25: Bench) -> None:
    handle = open_session(eg25)
    # The host sees 9000; the modem saw 91xx, fetched and answered.
    assert eg25.say(f'AT+CGLA={handle},14,"80E2910002BF31"', 0.3) == ['+CGLA: 8,"BF319000"', "OK"]
    assert eg25.card.log[-2:] == ["801200000B", "801400000C810301010482028281830100"]
    assert eg25.card.resets == 1
    lines = [line for line in eg25.wait(1.0).split("\r\n") if line]
    assert eg25.card.resets == 2
    assert eg25.say("AT+CPIN?", 0.1) == ["+CME ERROR: 14"]
    assert eg25.say(f'AT+CGLA={handle},10,"80E2910000"', 0.1) == ["+CME ERROR: 14"]
    lines += [line for line in eg25.wait(6).split("\r\n") if line]
    assert lines[:2] == ["+CPIN: READY", "+QUSIM: 1"]
    assert eg25.say(f'AT+CGLA={handle},10,"80E2910000"') == ["+CME ERROR: 50"]
    assert eg25.say("AT+QCCID") == ["+QCCID: 89440000000000000020", "OK"]


def test_cfun_0_takes_the_sims_power_and_forgets_a_pending_refresh(eg25: Bench) -> None:
    handle = open_session(eg25)
    eg25.say(f'AT+CGLA={handle},14,"80E2910002BF31"', 0.1)
    assert eg25.say("AT+CFUN=0", 1) == ["OK"]
    assert not eg25.card.powered
    assert eg25.say("AT+CPIN?", 5) == ["+CME ERROR: 13"]
    assert not eg25.card.powered
    assert eg25.say("AT+CFUN?") == ["+CFUN: 0", "OK"]
    assert eg25.say("AT+CFUN=1", 0.5) == ["OK"]
    assert "+CPIN: READY" in eg25.wait(8)
    assert eg25.say("AT+CPIN?") == ["+CPIN: READY", "OK"]


def test_cfun_1_1_reboots_the_modem(eg25: Bench) -> None:
    assert eg25.say("AT+CFUN=1,1", 0.5) == ["OK"]
    assert not eg25.card.powered
    assert eg25.say("AT", 2) == []
    assert "RDY" in eg25.wait(30)
    assert eg25.say("AT") == ["AT", "OK"]


def test_a_csim_modem_knows_no_sessions_and_boots_without_sim(scripted_card: CardClass) -> None:
    bench = Bench("sequans-gm02s", scripted_card())
    assert [line for line in bench.wait(40).split("\r\n") if line] == ["+SYSSTART"]
    bench.say("ATE0")
    assert bench.say(f'AT+CCHO="{ISD_R}"') == ["ERROR"]
    assert bench.say("AT+CPIN?") == ["ERROR"]
    assert not bench.card.powered


def test_a_csim_modem_passes_channels_and_91xx_through(gm02s: Bench) -> None:
    assert gm02s.say('AT+CSIM=10,"0070000001"') == ['+CSIM: 6,"019000"', "OK"]
    assert gm02s.say(f'AT+CSIM=42,"01A4040010{ISD_R}"') == ['+CSIM: 4,"9000"', "OK"]
    # It fetches the command itself all the same, so the host finds nothing to fetch.
    assert gm02s.say('AT+CSIM=14,"81E2910002BF31"', 0.5) == ['+CSIM: 8,"BF31910B"', "OK"]
    assert gm02s.say('AT+CSIM=10,"801200000B"', 0.3) == ['+CSIM: 4,"6F00"', "OK"]


def test_a_line_over_the_limit_is_refused(gm02s: Bench) -> None:
    limit = data.module("sequans-gm02s").at.line_limit
    assert limit is not None
    apdu = bytes.fromhex("80E29100") + bytes(300)
    line = f'AT+CSIM={2 * len(apdu)},"{apdu.hex()}"'
    assert len(line) > limit
    before = len(gm02s.card.log)
    assert gm02s.say(line) == ["ERROR"]
    assert len(gm02s.card.log) == before


def test_characters_take_time_on_a_uart(gm02s: Bench) -> None:
    line = f'AT+CSIM=474,"{bytes.fromhex("80F2000CE8").hex()}{"00" * 232}"'
    assert gm02s.say(line, 0.04) == []
    assert gm02s.say("", 1)[-1] == "OK"


def test_a_blocked_application_is_not_even_tried(scripted_card: CardClass) -> None:
    bench = Bench("simcom-sim7600g-h", scripted_card())
    bench.wait(40)
    bench.say("ATE0")
    assert bench.say(f'AT+CCHO="{ISD_R}"') == ["+CME ERROR: 3"]
    assert bench.say(f'AT+CSIM=42,"00A4040010{ISD_R}"') == ["+CME ERROR: 3"]


def test_dialects_differ_in_looks(scripted_card: CardClass) -> None:
    fm350 = Bench("fibocom-fm350-gl", scripted_card())
    fm350.wait(40)
    fm350.say("ATE0")
    answer = fm350.say(f'AT+CCHO="{ISD_R}"')
    assert answer[0].isdigit()
    assert fm350.say(f"AT+CCHC={answer[0]}") == ["+CCHC", "OK"]
    mc7455 = Bench("sierra-mc7455", scripted_card())
    mc7455.wait(40)
    mc7455.say("ATE0")
    assert mc7455.say(f'AT+CCHO="{ISD_R}"') == ["+CCHO: 000000000385a7cf", "OK"]


def test_without_power_nothing_comes_out(eg25: Bench) -> None:
    eg25.out += eg25.modem.feed(b"AT\r", eg25.now)
    eg25.modem.power_off()
    assert eg25.modem.deadline is None
    assert eg25.modem.feed(b"AT\r", eg25.now + 1) == []
    assert not eg25.card.powered


@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_any_chunking_of_the_input_gives_the_same_output(cuts: list[int]) -> None:
    stream = b'AT+CPIN?\rAT+CSIM=14,"00A40004023F00"\r\nAT+CGSN\r'
    marks = sorted({min(cut, len(stream)) for cut in cuts})

    def run(pieces: list[bytes]) -> str:
        bench = Bench("quectel-eg25", _Answering())
        bench.wait(30)
        bench.say("ATE0")
        for piece in pieces:
            bench.out += bench.modem.feed(piece, bench.now)
        return bench.wait(10)

    assert run([stream[a:b] for a, b in zip([0, *marks], [*marks, len(stream)], strict=True)]) == run([stream])


class _Answering:
    """A card that says 9000 to everything."""

    def power_on(self) -> bytes:
        return b"\x3b\x00"

    def reset(self) -> bytes:
        return b"\x3b\x00"

    def power_off(self) -> None:
        pass

    def transmit(self, command: bytes) -> tuple[bytes, float]:
        return b"\x90\x00", 0.01
