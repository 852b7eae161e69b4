"""What modules do that nobody asked for, on the wire in memory and on a pty alike, and the AT driver's way through."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from esim_bench import data
from esim_bench.codec import at
from esim_bench.errors import CardStatusError, DeviceTimeout, ProtocolError, TransportError
from esim_drivers.sim.modem import SimModem

ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
READ = bytes.fromhex("80E2910003BF3E00")
SWITCH = bytes.fromhex("80E2910003BF3100")
OPEN_CHANNEL = bytes.fromhex("0070000001")
Run = Callable[..., None]


def go_on(command: bytes, response: bytes) -> bool:
    return True


# ---------------------------------------------------------------------------------------------------------- the line


def test_unsolicited_lines_inside_answers_are_heard_and_change_nothing(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        for _ in range(5):
            assert await rig.read() == "bf3e009000"
        assert (await rig.modem.identity())["imei"] == "352906110000018"
        assert len(rig.heard()) > 10
        assert {"+QIND: SMS DONE", "+CSQ: 20,99"} <= set(rig.heard())

    noise = {"noise": ["+QIND: SMS DONE", "+CSQ: 20,99"], "noise_chance": 0.5}
    modem_rig(body, quirks=noise)


@pytest.mark.parametrize("manners", [{"echo": True}, {"echo": False}])
@pytest.mark.parametrize("end", ["cr", "crlf"])
def test_echo_of_any_kind(modem_rig: Run, manners: dict[str, Any], end: str) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"

    modem_rig(body, at=manners, quirks={"echo_end": end})


def test_an_answer_held_back_comes_glued_before_the_next_and_is_not_taken_for_it(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        modem, withheld = rig.modem, 0
        for number in range(30):
            command, expected = (("AT+CGMM", "Generic"), ("AT+CGSN", "352906110000018"))[number % 2]
            try:
                answer = await modem.command(command, 2.0)
            except DeviceTimeout:
                withheld += 1
            else:
                assert answer.lines == (expected,)
        assert withheld

    modem_rig(body, seed=3, quirks={"withheld": 0.2, "withheld_s": 30.0})


def test_commands_that_are_dropped_end_in_a_timeout_each(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        good = lost = 0
        for _ in range(30):
            try:
                good += (await rig.modem.command("AT+CGMM", 2.0)).lines == ("Generic",)
            except DeviceTimeout:
                lost += 1
        assert good > 10
        assert lost > 2

    modem_rig(body, seed=2, quirks={"ignored": 0.3})


def test_lost_bytes_are_never_a_wrong_answer(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        outcomes = {"good": 0, "error": 0}
        for _ in range(40):
            try:
                answer = await rig.modem.command("AT+CGSN", 2.0)
            except (DeviceTimeout, TransportError):
                outcomes["error"] += 1
                continue
            outcomes["good" if answer.ok and answer.lines == ("352906110000018",) else "error"] += 1
        # An IMEI can lose a digit and nobody sees it: AT has no checksum. Most commands get through.
        assert outcomes["good"] > 15
        assert outcomes["error"] > 0

    modem_rig(body, seed=5, quirks={"lost_in": 0.01, "lost_out": 0.01})


def test_an_apdu_answer_that_lost_bytes_is_noticed_by_its_length(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        noticed = 0
        await rig.card.connect()
        for _ in range(12):
            command = READ[:4] + bytes((100,)) + bytes(100)
            try:
                session = await rig.card.open_session(ISD_R)
                (exchange,) = await rig.card.exchange([command], go_on, session)
                assert exchange.response == bytes(100) + b"\x90\x00"
            except (DeviceTimeout, TransportError, ProtocolError, CardStatusError):
                noticed += 1
                if not rig.modem.usable:
                    await rig.card.connect()
        assert noticed > 1

    modem_rig(body, seed=7, quirks={"lost_out": 0.002}, at={"apdu_timeout_s": 3.0}, sim={"open_tries": 2})


def test_errors_in_words_of_their_own(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        with pytest.raises(CardStatusError, match=r"\+CME ERROR: Parameters error"):
            await rig.card.open_session(ISD_R)

    blocked = {"blocked_aids": ("A0000005591010",)}
    texts = {"verbose": True, "texts": {"50": "Parameters error"}}
    modem_rig(body, quirks=texts, sim=blocked, errors={"blocked": 50})


# -------------------------------------------------------------------------------------------------------------- boot


def test_a_boot_with_garbage_and_twice_as_slow(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        rig.host.power_on()
        began = asyncio.get_running_loop().time()
        rig.modem.listening()
        await rig.card.connect()
        assert asyncio.get_running_loop().time() - began > 20
        assert await rig.read() == "bf3e009000"
        assert any(not line.isascii() for line in rig.heard("<") + rig.heard())

    quirks = {"garbage": 60, "slow_boot": 1.0, "slow_boot_factor": 2.0}
    modem_rig(body, "quectel-eg25", booted=False, quirks=quirks)


def test_sim_busy_after_the_boot_even_for_settings(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        rig.host.power_on()
        await rig.until(lambda: rig.sim.sim.state.name == "READY")
        assert (await rig.modem.command("AT&C1")).final in ("+CME ERROR: SIM busy", "+CME ERROR: 14")
        await rig.card.connect()
        assert (await rig.modem.command("AT&C1")).final == "OK"
        assert await rig.read() == "bf3e009000"

    modem_rig(body, "ublox-sara-r422", booted=False, quirks={"busy_s": 15.0})


def test_a_port_that_comes_back_after_cfun(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        enumeration = rig.sim.enumeration
        assert (await rig.modem.command("AT+CFUN=0")).ok
        await rig.until(lambda: rig.sim.enumeration == enumeration + 1)
        with pytest.raises(TransportError):
            await rig.modem.command("AT")
        await rig.until(lambda: rig.sim.enumeration == enumeration + 2)
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"

    modem_rig(body, quirks={"reenumerates": ["cfun"], "away_s": 3.0})


# --------------------------------------------------------------------------------------------------------------- SIM


def test_states_without_a_sim_or_without_its_power(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        assert (await rig.modem.command("AT+CFUN=0")).ok
        assert (await rig.modem.command("AT+CPIN?")).final == "+CME ERROR: 13"
        rig.host.remove_card()
        assert (await rig.modem.command("AT+CFUN=1")).ok
        assert (await rig.modem.command("AT+CPIN?")).final == "+CME ERROR: 10"
        assert (await rig.modem.command(rig.modem.dialect.sim.iccid_command)).final == "+CME ERROR: 10"

    modem_rig(body, "quectel-eg25")


def test_an_nrf_without_a_sim_says_a_plain_error_and_xsim(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        rig.host.remove_card()
        await rig.modem.command("AT+CMEE=1")
        await rig.modem.command("AT+CFUN=1")
        assert (await rig.modem.command("AT+CPIN?")).final == "ERROR"
        assert "%XSIM: 0" in rig.heard()

    modem_rig(body, "nordic-nrf9160", sim={"absent_urcs": ["%XSIM: 0"]})


def test_hot_plug_is_told_and_the_card_started_anew(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        rig.host.remove_card()
        with pytest.raises((CardStatusError, TransportError)):
            await rig.read()
        rig.host.insert_card()
        await asyncio.sleep(6)
        await rig.modem.command("AT")
        assert [line for line in rig.heard() if line.startswith("+SIM")] == ["+SIM: Removed", "+SIM: Inserted"]
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"

    lines = {"removed_urcs": ["+SIM: Removed"], "inserted_urcs": ["+SIM: Inserted"], "open_tries": 1}
    modem_rig(body, sim=lines)


def test_a_modem_that_ignores_hot_plug_needs_the_sims_power_switched(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        rig.host.remove_card()
        rig.host.insert_card()
        await asyncio.sleep(10)
        assert (await rig.modem.command("AT+CPIN?")).final == "+CME ERROR: 10"
        await rig.card.reset()
        assert (await rig.modem.command("AT+CPIN?")).lines == ("+CPIN: READY",)

    modem_rig(body, quirks={"hot_plug": False}, sim={"reset": "cfun"})


def test_lines_about_the_sim_can_be_missed(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        rig.host.remove_card()
        rig.host.insert_card()
        await asyncio.sleep(6)
        await rig.modem.command("AT")
        assert not [line for line in rig.heard() if line.startswith(("+SIM", "+CPIN"))]
        # What tells is the state itself.
        assert (await rig.modem.command("AT+CPIN?")).lines == ("+CPIN: READY",)

    modem_rig(body, quirks={"missed_urcs": 1.0}, sim={"removed_urcs": ["+SIM: Removed"]})


def test_the_isd_r_opens_after_some_tries(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"
        assert sum(line.startswith("AT+CCHO") for line in rig.heard(">")) == 7

    modem_rig(body, quirks={"open_fails": 6})


def test_ccho_that_is_accepted_and_always_fails(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        assert (await rig.modem.command("AT+CCHO=?")).ok
        with pytest.raises(CardStatusError):
            await rig.card.open_session(ISD_R)
        answer = await rig.modem.command(at.csim_command(OPEN_CHANNEL))
        assert answer.final == "+CME ERROR: 0"

    modem_rig(body, quirks={"ccho_fails": True, "csim_opens": False}, sim={"csim": True}, errors={"csim_channel": 0})


def test_channels_left_open_hang_the_modem_until_it_is_reset(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        for _ in range(2):
            await rig.card.open_session(ISD_R)
        with pytest.raises(DeviceTimeout):
            await rig.card.open_session(ISD_R)
        with pytest.raises(DeviceTimeout):
            await rig.modem.command("AT", 2.0)
        rig.host.power_off()
        rig.host.power_on()
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"

    modem_rig(body, quirks={"hang_after": 2}, at={"apdu_timeout_s": 3.0})


def test_leftovers_of_another_program_are_closed_before_they_hang_anything(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        for _ in range(2):
            await rig.modem.command(at.ccho_command(ISD_R))
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"

    modem_rig(body, quirks={"hang_after": 2}, sim={"handle": "counter", "close_at_start": [5, 6]})


def test_an_error_to_the_last_long_block_that_the_card_executed(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        session = await rig.card.open_session(ISD_R)
        blocks = [bytes((0x80, 0xE2, 0x91 if n == 3 else 0x11, n, 100)) + bytes(100) for n in range(4)]
        executed = len(rig.device.log)
        with pytest.raises(TransportError, match="may have executed"):
            await rig.card.exchange(blocks, go_on, session)
        assert len(rig.device.log) == executed + 4
        with pytest.raises(TransportError):
            await rig.card.exchange(blocks, go_on, session)
        # Twice was too often: nothing but a loss of power helps.
        assert (await rig.modem.command("AT+CPIN?")).final == "+CME ERROR: 13"
        await rig.card.reset()
        assert await rig.read() == "bf3e009000"

    modem_rig(body, quirks={"last_block_error": 1.0, "dead_after": 2}, sim={"reset": "cfun"}, at={"errors": "numeric"})


def test_long_blocks_get_a_checksum_error_and_do_not_reach_the_card(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        session = await rig.card.open_session(ISD_R)
        executed = len(rig.device.log)
        long, short = (bytes((0x80, 0xE2, 0x91, 0x00, size)) + bytes(size) for size in (240, 120))
        (exchange,) = await rig.card.exchange([long], go_on, session)
        assert exchange.sw == 0x6601
        assert len(rig.device.log) == executed
        (exchange,) = await rig.card.exchange([short], go_on, session)
        assert exchange.sw == 0x9000

    modem_rig(body, quirks={"checksum_above": 200})


def test_a_modem_that_ignores_refresh_shows_the_old_profile_until_cfun(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        session = await rig.card.open_session(ISD_R)
        await rig.card.exchange([SWITCH], go_on, session)
        await asyncio.sleep(5)
        assert await rig.iccid() == "10"
        await rig.card.reset()
        assert await rig.iccid() == "20"

    modem_rig(body, quirks={"refresh": "ignored"}, sim={"reset": "cfun"})


def test_a_slot_that_must_be_chosen_first(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.modem.command("AT+CMEE=1")
        assert (await rig.modem.command("AT+CPIN?")).final == "+CME ERROR: 10"
        assert not (await rig.modem.command("AT%CSUS=1")).ok
        await rig.modem.command("AT+CFUN=0")
        assert (await rig.modem.command("AT%CSUS=1")).ok
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"

    modem_rig(body, quirks={"select_sim": "AT%CSUS=1"})


def test_busy_commands_succeed_later(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        answers = [(await rig.modem.command("AT+CPIN?")).final for _ in range(40)]
        assert set(answers) == {"OK", "+CME ERROR: 14"}

    modem_rig(body, quirks={"busy": 0.3}, at={"errors": "numeric"})


def test_a_command_buffer_of_127_characters(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        most = rig.card.capabilities.max_data
        assert 30 < most < 60
        session = await rig.card.open_session(ISD_R)
        command = bytes((0x80, 0xE2, 0x91, 0x00, most)) + bytes(most) + b"\0"
        (exchange,) = await rig.card.exchange([command[:-1]], go_on, session)
        assert exchange.sw == 0x9000
        with pytest.raises(TransportError, match="too long"):
            await rig.card.exchange([command[:-1] + bytes(40)], go_on, session)

    modem_rig(body, at={"line_limit": 127})


# ------------------------------------------------------------------------------------------------------------- chance


def test_the_same_seed_gives_the_same_mischief(scripted_card: Callable[[], Any]) -> None:
    row = data.module("quectel-eg25")
    wild = {
        "garbage": 9,
        "lost_out": 0.01,
        "noise": ["+QIND: X"],
        "noise_chance": 0.4,
        "slow_boot": 0.5,
        "withheld": 0.1,
    }
    dialect = row.model_copy(update={"quirks": type(row.quirks).model_validate(wild)})

    def life(seed: int) -> list[tuple[float, bytes]]:
        modem = SimModem(dialect, scripted_card(), rng=random.Random(seed), imei="352906110000018")
        out = modem.power_on(0.0)
        for at_s in itertools.chain(range(1, 40), (40.5, 41.0, 41.5)):
            while modem.deadline is not None and modem.deadline <= at_s:
                out += modem.feed(b"", modem.deadline)
            out += modem.feed(b"ATE0\rAT+CGMM\rAT+CPIN?\r", float(at_s))
        return out

    assert life(1) == life(1)
    assert life(1) != life(2)
