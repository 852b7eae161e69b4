"""What a journal tells of its slot: read from journals that are written here, record by record."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esim_bench.codec import euicc_package, tlv
from esim_bench.codec.euicc_operations import Delete, Enable
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.identifiers import iccid_to_bytes
from esim_bench.desk.feed import Facts, Feed
from esim_bench.events import ApduEvent, AtEvent, AtrEvent, Event, MarkEvent, PowerAction, PowerEvent
from esim_bench.scenario import marks
from esim_bench.scenario.results import Outcome
from esim_bench.trace import Journal
from esim_bench.trace.index import TraceIndex

EID = "89049032123451234512345678901235"
ONE, TWO = "8988211000000000003", "8988211000000000011"
AIDS = {ONE: bytes.fromhex("A0000005591010FFFFFFFF8900001000"), TWO: bytes.fromhex("A0000005591010FFFFFFFF8900001100")}


def es10_call(request: bytes, response: bytes, sw: bytes = b"\x90\x00", piece: int = 120) -> list[Event]:
    """Return the APDUs of a function: STORE DATA in blocks, the answer fetched by GET RESPONSE in pieces."""
    events: list[Event] = []
    blocks = [request[at : at + 60] for at in range(0, len(request), 60)]
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        command = bytes((0x81, 0xE2, 0x91 if last else 0x11, number, len(block))) + block
        events.append(ApduEvent(0, command, b"\x61\x10" if last else b"\x90\x00", 5, 1))
    pieces = [response[at : at + piece] for at in range(0, len(response), piece)]
    for number, part in enumerate(pieces):
        end = sw if number == len(pieces) - 1 else b"\x61\x20"
        events.append(ApduEvent(0, bytes.fromhex("01C0000000"), part + end, 5, 1))
    return events


def profile_list(*states: tuple[str, int, str]) -> list[Event]:
    """Return a GetProfilesInfo and its answer: ICCID, state, name."""
    entries = [
        tlv.encode(
            0xE3,
            tlv.encode(0x5A, iccid_to_bytes(iccid)),
            tlv.encode(0x4F, AIDS[iccid]),
            tlv.encode(0x9F70, bytes((state,))),
            tlv.encode(0x91, b"esim-bench"),
            tlv.encode(0x92, name.encode()),
            tlv.encode(0x95, b"\x02"),
        )
        for iccid, state, name in states
    ]
    request = tlv.encode(0xBF2D, tlv.encode(0x5C, bytes.fromhex("5A4F9F7090919295")))
    return es10_call(request, tlv.encode(0xBF2D, tlv.encode(0xA0, *entries)))


def enable(iccid: str, result: int = 0, *, by_aid: bool = False) -> list[Event]:
    """Return an EnableProfile and its answer."""
    which = tlv.encode(0x4F, AIDS[iccid]) if by_aid else tlv.encode(0x5A, iccid_to_bytes(iccid))
    request = tlv.encode(0xBF31, tlv.encode(0xA0, which), tlv.encode(0x81, b"\xff"))
    return es10_call(request, tlv.encode(0xBF31, tlv.encode(0x80, bytes((result,)))), b"\x91\x0b")


BOTH = profile_list((ONE, 1, "Bootstrap Global"), (TWO, 0, "Operational A"))


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., Feed]:
    """Return what writes events into a journal and reads it: ``told(events, ..., simulated=True)``, once for each."""
    feeds: list[Feed] = []

    def tell(*portions: Sequence[Event], simulated: bool = True) -> Feed:
        path = tmp_path / f"A1-{len(feeds)}.pcapng"
        journal = Journal.create(path, slot="A1")
        feed = Feed(TraceIndex(path), Facts(simulated))
        feeds.append(feed)
        for events in portions:
            for event in events:
                journal.emit(event)
            feed.index.advance(1000)
            feed.take()
        journal.close(comments=False)
        return feed

    return tell


def states(feed: Feed) -> dict[str, str]:
    """Return the profiles' states by ICCID."""
    return {iccid: view.state for iccid, view in feed.facts.profiles.items()}


def test_the_eid_is_that_of_get_eid(told: Callable[..., Feed]) -> None:
    """GetEuiccData in two APDUs."""
    answer = tlv.encode(0xBF3E, tlv.encode(0x5A, bytes.fromhex(EID)))
    assert told(es10_call(bytes.fromhex("BF3E035C015A"), answer)).facts.eid == EID


def test_profiles_are_listed_with_their_names(told: Callable[..., Feed]) -> None:
    """The answer comes in several pieces."""
    feed = told(BOTH)
    assert states(feed) == {ONE: "enabled", TWO: "disabled"}
    assert feed.facts.profiles[TWO].label == "Operational A"


@pytest.mark.parametrize("by_aid", [False, True])
def test_enabling_a_profile_disables_the_other(told: Callable[..., Feed], by_aid: bool) -> None:
    """Also when the profile is named by the AID of its ISD-P."""
    assert states(told(BOTH, enable(TWO, by_aid=by_aid))) == {ONE: "disabled", TWO: "enabled"}


def test_an_enabling_that_was_refused_changes_nothing(told: Callable[..., Feed]) -> None:
    """Result 3: disallowedByPolicy."""
    assert states(told(BOTH, enable(TWO, 3))) == {ONE: "enabled", TWO: "disabled"}


def test_a_deleted_profile_is_gone(told: Callable[..., Feed]) -> None:
    """DeleteProfile names it without a container."""
    request = tlv.encode(0xBF33, tlv.encode(0x5A, iccid_to_bytes(TWO)))
    assert states(told(BOTH, es10_call(request, bytes.fromhex("BF3303800100")))) == {ONE: "enabled"}


def test_a_nickname_is_taken_on_and_stays_in_a_list_without_nicknames(told: Callable[..., Feed]) -> None:
    """A list that was asked for ICCID and state only takes no name away."""
    iccid = tlv.encode(0x5A, iccid_to_bytes(ONE))
    named = es10_call(tlv.encode(0xBF29, iccid, tlv.encode(0x90, b"home")), bytes.fromhex("BF2903800100"))
    short = es10_call(
        bytes.fromhex("BF2D055C035A9F70"),
        tlv.encode(0xBF2D, tlv.encode(0xA0, tlv.encode(0xE3, iccid, bytes.fromhex("9F700101")))),
    )
    view = told(BOTH, named, short).facts.profiles[ONE]
    assert (view.label, view.name, view.state) == ("home", "Bootstrap Global", "enabled")


def package(code: int = 0) -> list[Event]:
    """Return a package of an eIM that enables the second profile and deletes the first, and its result."""
    operations = (Enable(iccid_to_bytes(TWO)), Delete(iccid_to_bytes(ONE)))
    signed = euicc_package.package_signed("eim1", bytes.fromhex(EID), 1, operations)
    results = (OperationResult("enable", code), OperationResult("delete"))
    result = euicc_package.result_signed("eim1", 1, 1, results)
    return es10_call(
        euicc_package.package_request(signed, bytes(64)), euicc_package.signed_result(result, bytes(64)), piece=40
    )


def test_an_order_of_an_eim_takes_effect(told: Callable[..., Feed]) -> None:
    """Those of its operations that were done."""
    assert states(told(BOTH, package())) == {TWO: "enabled"}
    assert states(told(BOTH, package(1))) == {TWO: "disabled"}


def test_what_cannot_be_followed_leaves_the_profiles_open(told: Callable[..., Feed]) -> None:
    """A fallback tells no ICCID: the next list does."""
    fallback = es10_call(bytes.fromhex("BF5D00"), bytes.fromhex("BF5D03800100"))
    broken = es10_call(bytes.fromhex("BF51023000"), bytes.fromhex("BF5102A000"))
    for change in (fallback, broken):
        assert states(told(BOTH, change)) == {}
        assert states(told(BOTH, change, BOTH)) == {ONE: "enabled", TWO: "disabled"}


MODEM = [
    AtEvent(0, ">", "AT+CEREG?"),
    AtEvent(0, "<", "+CEREG: 0,5"),
    AtEvent(0, "<", "OK"),
    AtEvent(0, "<", '+COPS: 0,0,"Example Net",7'),
    AtEvent(0, "<", "+CSQ: 20,99"),
]


def test_the_modem_tells_network_and_signal(told: Callable[..., Feed]) -> None:
    """+CSQ 20 is -73 dBm (27.007 8.5)."""
    facts = told(MODEM).facts
    assert (facts.registration, facts.operator, facts.signal_dbm) == ("roaming", "Example Net", -73)


@pytest.mark.parametrize(
    "end",
    [
        [PowerEvent(0, PowerAction.OFF)],
        [AtEvent(0, ">", "AT+CFUN=0")],
        [AtEvent(0, "!", "+CFUN: 0")],
    ],
    ids=["power off", "radio off", "radio is off"],
)
def test_the_network_is_forgotten_without_power(told: Callable[..., Feed], end: list[Event]) -> None:
    """What was true of the modem then is not true of it now."""
    facts = told(MODEM, end).facts
    assert (facts.registration, facts.operator, facts.signal_dbm) == ("", "", None)


def test_an_unsolicited_line_counts_and_takes_the_operator_away(told: Callable[..., Feed]) -> None:
    """+CEREG: 3 is "registration denied"."""
    facts = told(MODEM, [AtEvent(0, "!", "+CEREG: 3")]).facts
    assert (facts.registration, facts.operator) == ("denied", "")


def test_power_and_its_proof(told: Callable[..., Feed]) -> None:
    """A proof belongs to the last switch."""
    off = [PowerEvent(0, PowerAction.OFF), PowerEvent(0, PowerAction.PROOF, "the reader sees no card")]
    facts = told(off).facts
    assert (facts.power, facts.proof) == ("off", "the reader sees no card")
    facts = told(off, [PowerEvent(0, PowerAction.ON)]).facts
    assert (facts.power, facts.proof) == ("on", "")
    assert told([AtrEvent(0, b"\x3b\x00", True)]).facts.power == "on"


def test_steps_and_the_first_one_that_failed(told: Callable[..., Feed]) -> None:
    """Marks as a run leaves them."""
    begun = [
        MarkEvent(0, marks.begun("switch", "4FF", "A1")),
        MarkEvent(0, marks.step_began("start")),
        MarkEvent(0, marks.step_ended("start", Outcome.PASS, "ATR 3B00")),
        MarkEvent(0, marks.step_began("verify: IMSI")),
    ]
    facts = told(begun).facts
    assert (facts.scenario, facts.step, facts.steps_done, facts.outcome) == ("switch", "verify: IMSI", 1, "")
    end = [
        MarkEvent(0, marks.step_ended("verify: IMSI", Outcome.FAIL, "expected 1, found 2")),
        MarkEvent(0, marks.ended("switch", Outcome.FAIL)),
    ]
    facts = told(begun, end).facts
    assert (facts.step, facts.outcome, facts.reason) == ("", "FAIL", "verify: IMSI: expected 1, found 2")


def test_a_run_on_a_simulated_slot_begins_with_a_fresh_card(told: Callable[..., Feed]) -> None:
    """A real card keeps its profiles."""
    begin = [MarkEvent(0, marks.begun("switch", "4FF", "A1"))]
    assert states(told(BOTH, begin)) == {}
    assert states(told(BOTH, begin, simulated=False)) == {ONE: "enabled", TWO: "disabled"}


def test_apdus_and_errors_are_counted_over_all_blocks(told: Callable[..., Feed]) -> None:
    """More records than one block of the index has, in several portions."""
    good = ApduEvent(0, bytes.fromhex("80F2000C"), b"\x90\x00", 1)
    bad = ApduEvent(0, bytes.fromhex("00A40004026F07"), b"\x6a\x82", 1)
    feed = told([good] * 1500, [bad] * 3 + [good] * 1000, [MarkEvent(0, "x")], [bad])
    assert (feed.apdus, feed.errors) == (2504, 4)


def test_what_cannot_be_read_says_nothing(told: Callable[..., Feed]) -> None:
    """Answers of a broken card, lines of a broken modem."""
    broken = [
        *es10_call(bytes.fromhex("BF3E035C015A"), bytes.fromhex("BF3E05")),
        *es10_call(bytes.fromhex("BF2D00"), bytes.fromhex("BF2D03810101")),
        ApduEvent(0, b"\x81\xe2", b"", 1),
        AtEvent(0, "<", "+CEREG: "),
        AtEvent(0, "<", "+COPS: \udcff"),
        AtEvent(0, "<", "+CSQ: x,y"),
    ]
    facts = told(MODEM, broken).facts
    assert (facts.eid, facts.registration, facts.signal_dbm) == ("", "unknown", None)


LIFE: list[Event] = [
    MarkEvent(0, marks.begun("switch", "4FF", "A1")),
    PowerEvent(0, PowerAction.ON),
    *es10_call(bytes.fromhex("BF3E035C015A"), tlv.encode(0xBF3E, tlv.encode(0x5A, bytes.fromhex(EID)))),
    *BOTH,
    *MODEM,
    MarkEvent(0, marks.step_began("enable")),
    *enable(TWO),
    MarkEvent(0, marks.step_ended("enable", Outcome.PASS, "")),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, len(LIFE)), max_size=6))
def test_it_does_not_matter_when_it_looks(told: Callable[..., Feed], cuts: list[int]) -> None:
    """A journal that grows tells the same as one that is whole."""
    borders = [0, *sorted(cuts), len(LIFE)]
    portions = [LIFE[begin:end] for begin, end in itertools.pairwise(borders)]
    assert told(*portions).facts == told(LIFE).facts
