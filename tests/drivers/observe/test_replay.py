"""A recorded journal as a card: it answers as the real one did, and says where a run leaves the recorded way."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock
from esim_bench.card import Card
from esim_bench.cli.main import invoke
from esim_bench.codec.apdu import Command
from esim_bench.errors import CardStatusError, ConfigError, DeviceError, ProtocolError
from esim_bench.events import (
    ApduEvent,
    AtEvent,
    AtrEvent,
    Event,
    EventSink,
    ListSink,
    SniffedApduEvent,
    SniffEvent,
    SniffKind,
)
from esim_bench.ports import CardDriver, DriverContext, PowerDriver
from esim_bench.rack.slot import Slot
from esim_bench.trace import Journal, SecretMask
from esim_drivers.replay.card import ReplayCard
from esim_drivers.replay.driver import ReplayDriver
from esim_drivers.sim.usb_simtrace import tpdu

Simulated = Callable[..., tuple[list[Event], Any]]
Context = Callable[[EventSink], DriverContext]
T0 = 1_767_225_600_000_000_000
ATR = bytes.fromhex("3B00")


async def info(slot: Slot) -> dict[str, Any]:
    """Ask what ``esim-bench euicc info`` asks, in its order."""
    details = await slot.lpa.info()
    await slot.trust()
    eid = await slot.lpa.eid()
    iccid = await slot.card.read_iccid()
    await slot.form_factor_contradictions()
    return {"eid": eid, "iccid": iccid, "ext_card_resource": details.document().get("ext_card_resource")}


async def profiles(slot: Slot) -> list[Any]:
    return [(one.iccid, one.state_name) for one in await slot.lpa.profiles()]


@pytest.fixture
def recorded(tmp_path: Path, simulated: Simulated) -> Callable[..., tuple[Path, Any]]:
    """Record a job on a simulated slot."""

    def record(
        job: Callable[[Slot], Awaitable[Any]], slot: str = "A1", *, mask: SecretMask | None = None
    ) -> tuple[Path, Any]:
        path = tmp_path / f"{slot}.pcapng"
        with Journal.create(path, slot=slot, mask=mask) as journal:
            _, result = simulated(job, slot=slot, heard=journal)
        return path, result

    return record


@pytest.fixture
def journal(tmp_path: Path) -> Callable[..., Path]:
    """Write a journal of our own making."""

    def write(*events: Event, mask: SecretMask | None = None, slot: str = "A1") -> Path:
        path = tmp_path / "own.pcapng"
        with Journal.create(path, slot=slot, mask=mask) as journal:
            for event in events:
                journal.emit(event)
        return path

    return write


def apdu(number: int, command: str, response: str, session: int = 0) -> ApduEvent:
    return ApduEvent(T0 + number * 1_000_000, bytes.fromhex(command), bytes.fromhex(response), 5_000_000, session)


def card_of(path: Path, context: Context, sink: EventSink | None = None, **spec: Any) -> ReplayCard:
    return ReplayDriver().open_card({"journal": str(path), **spec}, context(sink or ListSink()))


def rack_of(path: Path, tmp_path: Path, extra: str = "") -> str:
    rack = tmp_path / "rack.toml"
    rack.write_text(
        f'[rack]\nname = "replayed"\n[[slot]]\nname = "A1"\nform_factor = "4FF"\n'
        f'card = {{ driver = "replay", journal = "{path}"{extra} }}\n'
    )
    return str(rack)


def test_the_driver_serves_as_card_and_as_power() -> None:
    assert isinstance(ReplayDriver(), CardDriver)
    assert isinstance(ReplayDriver(), PowerDriver)


def test_euicc_info_of_a_recorded_card_from_the_command_line(
    recorded: Callable[..., tuple[Path, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, told = recorded(info)
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))
    code = invoke(["euicc", "info", "A1", "--rack", rack_of(path, tmp_path), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    document = json.loads(out)
    assert (document["eid"], document["iccid"]) == (told["eid"], told["iccid"])


def test_another_command_than_the_recorded_one_is_told_with_its_place(
    recorded: Callable[..., tuple[Path, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, _ = recorded(info)
    monkeypatch.setenv("ESIM_BENCH_HOME", str(tmp_path / "home"))
    code = invoke(["euicc", "profiles", "A1", "--rack", rack_of(path, tmp_path)])
    err = " ".join(capsys.readouterr().err.split())
    assert code != 0
    assert re.search(
        r"A1\.pcapng, record \d+ at \d+\.\d+ s: the run leaves the recorded way: "
        r"expected 81E29100.* \(ES10b\.GetEuiccInfo2\), found 81E29100.* \(ES10c\.GetProfilesInfo, channel 1\)",
        err,
    ), err


@pytest.mark.parametrize("slot", ["A1", "B1", "C1"])
def test_what_only_reads_replays_in_full(
    slot: str, recorded: Callable[..., tuple[Path, Any]], context: Context, simulated: Simulated
) -> None:
    """By a T=0 reader, by the sessions of a modem, by AT+CSIM with short lines."""

    async def read(opened: Slot) -> Any:
        return await info(opened), await profiles(opened)

    path, told = recorded(read, slot)
    sink = ListSink()
    link = card_of(path, context, sink)

    async def again() -> Any:
        card = Card(link, sink=sink)
        await card.start()
        slot_like = await _slot_over(card)
        result = await read(slot_like)
        await link.close()
        return result

    assert clock.run_virtual(again()) == told
    assert link.capabilities.terminal == (slot != "A1")
    own = [event for event in sink.events if isinstance(event, ApduEvent)]
    assert own
    last = sink.events[-1]
    assert getattr(last, "text", "").startswith(f"replay: {len(own)} of ")


async def _slot_over(card: Card) -> Any:
    """What of a slot the reading jobs want, over a card alone."""
    from types import SimpleNamespace

    from esim_bench.agents.lpa import Lpa
    from esim_bench.codec import es10

    lpa = Lpa(card, None, device=es10.device_info(tac=b"\0" * 4, imei=None, form_factor_type=0))  # type: ignore[arg-type]

    async def trust() -> None:
        await lpa.info1()

    async def contradictions() -> None:
        await lpa.info()

    return SimpleNamespace(lpa=lpa, card=card, trust=trust, form_factor_contradictions=contradictions)


def test_a_masked_byte_of_a_command_may_be_anything(journal: Callable[..., Path], context: Context) -> None:
    verify = apdu(1, "0020000108" + "31323334FFFFFFFF", "9000")
    path = journal(AtrEvent(T0, ATR, True), verify, apdu(2, "80F2000C", "9000"), mask=SecretMask())
    assert b"1234" not in path.read_bytes()

    async def run(pin: str, reference: str = "01") -> list[int]:
        link = card_of(path, context)
        await link.connect()
        done = await link.exchange(
            [bytes.fromhex(f"002000{reference}08{pin}"), bytes.fromhex("80F2000C")], lambda c, r: True
        )
        return [one.sw for one in done]

    assert clock.run_virtual(run("38373635FFFFFFFF")) == [0x9000, 0x9000]
    with pytest.raises(ProtocolError, match="leaves the recorded way"):
        clock.run_virtual(run("38373635FFFFFFFF", reference="02"))
    with pytest.raises(ProtocolError, match="leaves the recorded way"):
        clock.run_virtual(run("38373635FFFFFF"))


def test_a_masked_answer_is_served_as_it_stands_and_told(
    journal: Callable[..., Path], context: Context, marks: Callable[[list[Event]], list[str]]
) -> None:
    authenticate = apdu(1, "0088008122" + "10" + "11" * 16 + "10" + "22" * 16 + "00", "DB08" + "33" * 8 + "9000")
    path = journal(AtrEvent(T0, ATR, True), authenticate, mask=SecretMask())
    sink = ListSink()

    async def run() -> bytes:
        link = card_of(path, context, sink)
        await link.connect()
        (done,) = await link.exchange([authenticate.command], lambda c, r: True)
        return done.response

    assert clock.run_virtual(run()) == b"*" * 10 + b"\x90\x00"
    assert marks(sink.events) == ["replay: record 2: the answer is masked, as in the journal"]


def test_a_download_says_that_the_servers_challenge_is_new_each_time(
    journal: Callable[..., Path], context: Context
) -> None:
    """The one thing that no journal can serve."""
    recorded = "81E2910008" + "BF3805" + "3003800111"
    path = journal(AtrEvent(T0, ATR, True), apdu(1, recorded, "9000"))

    async def run() -> None:
        link = card_of(path, context)
        await link.connect()
        await link.exchange([bytes.fromhex(recorded[:-2] + "22")], lambda c, r: True)

    with pytest.raises(ProtocolError) as diverged:
        clock.run_virtual(run())
    text = str(diverged.value)
    assert "byte 12: 11 is recorded, not 22" in text
    assert "AuthenticateServer has the server's challenge and transaction id, new each time" in text
    assert "own.pcapng, record 2 at 0.001000 s" in text


def test_resets_come_where_they_were(journal: Callable[..., Path], context: Context) -> None:
    status = "80F2000C"
    path = journal(
        AtrEvent(T0, ATR, True),
        apdu(1, status, "9000"),
        AtrEvent(T0 + 2, b"\x3b\x01\x02", False),
        apdu(3, status, "6E00"),
    )
    sink = ListSink()

    async def run() -> list[Any]:
        link = card_of(path, context, sink)
        seen: list[Any] = [await link.connect()]
        seen += [one.sw for one in await link.exchange([bytes.fromhex(status)], lambda c, r: True)]
        with pytest.raises(ProtocolError, match=r"expected a reset of the card \(ATR 3B0102\), found 80F2000C"):
            await link.exchange([bytes.fromhex(status)], lambda c, r: True)
        seen.append(await link.reset())
        seen += [one.sw for one in await link.exchange([bytes.fromhex(status)], lambda c, r: True)]
        with pytest.raises(ProtocolError, match="behind the end of the journal"):
            await link.reset()
        return seen

    assert clock.run_virtual(run()) == [ATR, 0x9000, b"\x3b\x01\x02", 0x6E00]
    assert [event.atr for event in sink.events if isinstance(event, AtrEvent)] == [ATR, b"\x3b\x01\x02"]


def test_any_answers_what_comes_later_and_says_what_stands_earlier(
    journal: Callable[..., Path], context: Context
) -> None:
    path = journal(
        AtrEvent(T0, ATR, True),
        apdu(1, "00A4000C022FE2", "9000"),
        apdu(2, "00B000000A", "9844" + "00" * 8 + "9000"),
        apdu(3, "00A4000C022F05", "9000"),
        apdu(4, "00B0000002", "656E9000"),
    )

    async def run() -> None:
        link = card_of(path, context, strict="any")
        await link.connect()
        done = await link.exchange([bytes.fromhex("00A4000C022F05"), bytes.fromhex("00B0000002")], lambda c, r: True)
        assert [one.data for one in done] == [b"", b"en"]
        assert await link.reset() == ATR  # none is left: the last one again
        with pytest.raises(ProtocolError, match="behind the end"):
            await link.exchange([bytes.fromhex("00B000000A")], lambda c, r: True)
        earlier = card_of(path, context, strict="any")
        await earlier.connect()
        await earlier.exchange([bytes.fromhex("00A4000C022F05")], lambda c, r: True)
        with pytest.raises(ProtocolError, match=r"no such command from here on.*it stands earlier, at record 3"):
            await earlier.exchange([bytes.fromhex("00B000000A")], lambda c, r: True)

    clock.run_virtual(run())


def test_sessions_of_a_modem_are_those_of_its_at_lines(journal: Callable[..., Path], context: Context) -> None:
    def line(number: int, direction: Any, text: str) -> AtEvent:
        return AtEvent(T0 + number, direction, text)

    path = journal(
        line(1, ">", 'AT+CCHO="A0000001"'), line(2, "<", "+CME ERROR: 22"),
        line(3, ">", 'AT+CCHO="A0000002"'), line(4, "!", "+CREG: 1"), line(5, "<", "+CCHO: 3"), line(6, "<", "OK"),
        line(7, ">", 'AT+CGLA=3,10,"80F2000C00"'), line(8, "<", '+CGLA: 4,"9000"'), line(9, "<", "OK"),
        apdu(10, "80F2000C00", "9000", session=1),
    )  # fmt: skip

    async def run() -> None:
        link = card_of(path, context)
        assert link.capabilities.sessions
        assert link.capabilities.terminal
        assert await link.connect() == b""
        with pytest.raises(CardStatusError):
            await link.open_session(bytes.fromhex("A0000001"))
        session = await link.open_session(bytes.fromhex("A0000002"))
        (done,) = await link.exchange([bytes.fromhex("80F2000C00")], lambda c, r: True, session)
        assert done.sw == 0x9000
        await link.close_session(session)

    clock.run_virtual(run())


def test_what_was_sniffed_is_a_source_too(simulated: Simulated, journal: Callable[..., Path], context: Context) -> None:
    """T=0 carries no Le after data; the bench's commands have one."""
    own, told = simulated(info)
    heard: list[Event] = []
    for event in own:
        if isinstance(event, AtrEvent):
            heard.append(SniffEvent(event.at_ns, SniffKind.ATR, "simtrace", event.atr))
        elif isinstance(event, ApduEvent):
            command = event.command if len(event.command) < 6 else tpdu(event.command)
            heard.append(SniffedApduEvent(event.at_ns, command, event.response, 0, "simtrace"))
    path = journal(*heard)

    async def again() -> Any:
        link = card_of(path, context, source="sniffed")
        card = Card(link, sink=ListSink())
        await card.start()
        return await info(await _slot_over(card))

    assert clock.run_virtual(again()) == told
    with pytest.raises(ConfigError, match="nothing to replay"):
        card_of(path, context)


def test_answers_take_as_long_as_they_took(journal: Callable[..., Path], context: Context) -> None:
    path = journal(AtrEvent(T0, ATR, True), apdu(1, "80F2000C", "9000"))

    async def run(timing: bool) -> int:
        link = card_of(path, context, timing=timing)
        await link.connect()
        (done,) = await link.exchange([bytes.fromhex("80F2000C")], lambda c, r: True)
        return done.duration_ns

    assert clock.run_virtual(run(False)) == 0
    assert clock.run_virtual(run(True)) == 5_000_000


def test_leaving_closes_channels_wherever_the_journal_stands(journal: Callable[..., Path], context: Context) -> None:
    path = journal(AtrEvent(T0, ATR, True), apdu(1, "80F2000C", "9000"))

    async def run() -> None:
        link = card_of(path, context)
        card = Card(link, sink=ListSink())
        await link.connect()
        assert (await card.command(Command(0x00, 0x70, 0x80, 1))).sw == 0x9000
        assert (await card.command(Command(0x80, 0xF2, 0, 0x0C))).sw == 0x9000

    clock.run_virtual(run())


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, "needs a journal"),
        ({"journal": "none.pcapng"}, "cannot read the trace"),
        ({"slot": "Z9"}, r"which slot of the journal\?: expected one of A1, found 'Z9'"),
        ({"strict": "loose"}, "expected order or any"),
        ({"timing": "yes"}, "true or false"),
        ({"source": "radio"}, "expected link or sniffed"),
        ({"speed": 2}, "unknown key"),
    ],
)
def test_unusable_tables(spec: dict[str, Any], text: str, journal: Callable[..., Path], context: Context) -> None:
    path = journal(AtrEvent(T0, ATR, True), apdu(1, "80F2000C", "9000"))
    whole = spec if not spec or "journal" in spec else {"journal": str(path), **spec}
    with pytest.raises(ConfigError, match=text):
        ReplayDriver().open_card(whole, context(ListSink()))


def test_a_card_that_is_not_connected_answers_nothing(journal: Callable[..., Path], context: Context) -> None:
    path = journal(AtrEvent(T0, ATR, True), apdu(1, "80F2000C", "9000"))
    with pytest.raises(DeviceError, match="not connected"):
        asyncio.run(card_of(path, context).exchange([b"\x80\xf2\x00\x0c"], lambda c, r: True))
