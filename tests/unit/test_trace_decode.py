"""The decoder: what a human reads beside each APDU."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import tlv
from esim_bench.events import ApduEvent, AtrEvent, Event, MarkEvent, RspEvent
from esim_bench.trace.decode import ApduDecoder, Meaning
from esim_bench.trace.reader import Record
from esim_bench.trace.stats import stats

T0 = 1_767_225_600_000_000_000
ISD_R = "A0000005591010FFFFFFFF8900000100"
ICCID = "98881111111111111111"


class Slot:
    """Feeds a decoder with APDUs 10 ms apart."""

    def __init__(self) -> None:
        self.decoder = ApduDecoder()
        self.now = T0
        self.events: list[Event] = []

    def meaning(self, command: str, response: str, session: int = 0) -> Meaning:
        event = ApduEvent(self.now, bytes.fromhex(command), bytes.fromhex(response), 2_000_000, session)
        self.events.append(event)
        self.now += 10_000_000
        return self.decoder.interpret(event)

    def says(self, command: str, response: str, session: int = 0) -> str:
        return self.meaning(command, response, session).text


def test_a_terminal_start_up_reads_like_one() -> None:
    slot = Slot()
    assert slot.says("00A40004023F00", "612F") == "SELECT MF -> 612F 47 bytes of response wait"
    assert slot.says("00C000002F", "62" + "2D" + "00" * 45 + "9000") == "GET RESPONSE of SELECT MF -> 9000"
    assert slot.says("80AA000005A903830107", "9000") == "TERMINAL CAPABILITY LUId LPDd LDSd -> 9000"
    assert slot.says("80AA000005A903840101", "9000") == "TERMINAL CAPABILITY IPAd -> 9000"
    assert slot.says("8010000003FFFFFF", "9000") == "TERMINAL PROFILE -> 9000"
    assert slot.says("00A4000C022FE2", "9000") == "SELECT EF.ICCID -> 9000"
    assert slot.says("00B000000A", "988812010000400310F39000") == "READ BINARY EF.ICCID = 8988211000000430013 -> 9000"
    assert slot.says("0070000001", "019000") == "MANAGE CHANNEL open 1 -> 9000"
    assert slot.says(f"01A4040010{ISD_R}", "6A82") == "SELECT ISD-R -> 6A82 file or application not found"
    assert slot.says("0070800100", "9000") == "MANAGE CHANNEL close 1 -> 9000"
    assert slot.says("80F2000000", "6C1E").startswith("STATUS -> 6C1E")


def test_files_have_names_within_their_application() -> None:
    slot = Slot()
    slot.says("00A4000C023F00", "9000")
    assert slot.says("00A4000C022F00", "9000") == "SELECT EF.DIR -> 9000"
    assert slot.says("00B2010426", "61" * 38 + "9000") == "READ RECORD EF.DIR 1, 38 bytes -> 9000"
    assert slot.says("00A404040CA0000000871002FF33FF0189", "6130").startswith("SELECT ADF.USIM ->")
    assert slot.says("00A4000C026F07", "9000") == "SELECT EF.IMSI -> 9000"
    assert slot.says("00B0000009", "0809101010325406369000") == "READ BINARY EF.IMSI = 001010123456063 -> 9000"
    assert slot.says("00A40804047FFF6F38", "9000") == "SELECT ADF.USIM/EF.UST -> 9000"
    assert slot.says("00B0870009", "0809101010325406369000") == "READ BINARY EF.IMSI = 001010123456063 -> 9000"
    assert slot.says("00A4000C027FFF", "9000") == "SELECT ADF.USIM -> 9000"
    assert slot.says("00A4000C025FC0", "9000") == "SELECT DF.5GS -> 9000"
    assert slot.says("00A4000C024F07", "9000") == "SELECT EF.SUCI_Calc_Info -> 9000"
    assert slot.says("00D6000102AABB", "9000") == "UPDATE BINARY EF.SUCI_Calc_Info at 1, 2 bytes -> 9000"
    assert slot.says("00A4000C026FFA", "6A82") == "SELECT 6FFA -> 6A82 file or application not found"
    assert slot.says("0020000108FFFFFFFFFFFFFFFF", "63C2").startswith("VERIFY PIN1 -> 63C2 verification failed, 2 ")
    assert slot.says("0020000A00", "63CA").startswith("VERIFY ADM1 status -> 63CA")


def test_a_refresh_is_told_with_its_mode() -> None:
    slot = Slot()
    fetch = "D009810301010482028182"
    assert slot.says("801200000B", fetch + "9000") == "FETCH REFRESH mode 04 UICC Reset -> 9000"
    assert slot.says("801400000C810301010482028281830100", "9000") == (
        "TERMINAL RESPONSE REFRESH mode 04 UICC Reset: performed -> 9000"
    )
    assert "eUICC Profile State Change" in slot.says("801200000B", "D0098103010109820281829000")


def test_an_es10_function_on_t0_is_one_call_over_three_apdus() -> None:
    slot = Slot()
    slot.says("0070000001", "019000")
    assert slot.says(f"01A4040010{ISD_R}", "6121").startswith("SELECT ISD-R")
    first = slot.meaning("81E2110009BF3111A00C5A0A9888", "9000")
    assert first.text == "ES10c.EnableProfile block 0 -> 9000"
    assert (first.started, first.ended) == (True, False)
    second = slot.meaning("81E291010B" + ICCID[4:] + "8101FF", "6106")
    assert second.text == "ES10c.EnableProfile block 1 (last) -> 6106 6 bytes of response wait"
    last = slot.meaning("01C0000006", "BF3103800100910B")
    assert last.function == "ES10c.EnableProfile"
    assert last.text.startswith("ES10c.EnableProfile ")
    assert "ok" in last.text
    assert "910B" in last.text
    assert last.text.endswith(", 22 ms")
    assert last.ended
    assert last.elapsed_ns == 22_000_000


def test_an_es10_function_on_t1_is_one_apdu() -> None:
    slot = Slot()
    only = slot.meaning("81E2910006BF3E035C015A00", "BF3E125A10890490321234512345123456789012359000")
    assert only.text.startswith("ES10c.GetEID")
    assert only.text.endswith(", 2.0 ms")
    assert (only.started, only.ended) == (True, True)


def test_a_block_sent_again_after_6c_is_not_taken_twice() -> None:
    slot = Slot()
    assert slot.says("81E2910006BF3E035C015A00", "6C15") == "ES10c.GetEID block 0 -> 6C15 wrong Le, 21 is right"
    again = slot.meaning("81E2910006BF3E035C015A15", "BF3E125A10890490321234512345123456789012359000")
    assert again.text.startswith("ES10c.GetEID")
    assert again.ended


def test_an_error_ends_the_call_by_name() -> None:
    slot = Slot()
    failed = slot.meaning("81E2910006BF3E035C015A", "6985")
    assert failed.text == "ES10c.GetEID -> 6985 conditions of use not satisfied, 2.0 ms"
    assert failed.ended


def test_a_bound_profile_package_is_told_segment_by_segment() -> None:
    slot = Slot()
    name = "ES10b.LoadBoundProfilePackage"
    began = slot.meaning("81E2910008BF3682012CBF2300", "9000")
    assert began.text == f"{name} InitialiseSecureChannel -> 9000"
    assert (began.started, began.ended) == (True, False)
    assert slot.says("81E2910004A0028700", "9000") == f"{name} A0 ConfigureISDP -> 9000"
    assert slot.says("81E2910002A11D", "9000") == f"{name} A1 StoreMetadata -> 9000"
    assert slot.says("81E29100048802AABB", "9000") == f"{name} 88 StoreMetadata segment 1 -> 9000"
    assert slot.says("81E2910003A30A00", "9000") == f"{name} A3 profile elements -> 9000"
    assert slot.says("81E29100048602AABB", "9000") == f"{name} 86 profile element segment 1 -> 9000"
    assert slot.says("81E21100048604AABB", "9000") == f"{name} 86 profile element segment 2 block 0 -> 9000"
    assert slot.says("81E2910102CCDD", "9000") == f"{name} 86 profile element segment 2 (2 blocks) -> 9000"
    assert slot.says("81E29100048602AABB", "6103").startswith(f"{name} 86 profile element segment 3 block 0 (last)")
    result = slot.meaning("01C0000003", "BF37009000")
    assert result.text.startswith(name)
    assert result.ended
    assert not result.started
    # Afterwards an A0 object is no segment any more.
    assert "LoadBoundProfilePackage" not in slot.says("81E2910004A0028700", "6A88")


def install_result(final: bytes) -> str:
    """ProfileInstallationResult (SGP.22 5.7.6) with a given finalResult, and 9000."""
    metadata = tlv.encode(0xBF2F, bytes.fromhex("800101 81020780 0C04"), b"dp.x")
    oid = bytes.fromhex("06032A0304")
    data = tlv.encode(0xBF27, bytes.fromhex("8001AA"), metadata, oid, tlv.encode(0xA2, final))
    return tlv.encode(0xBF37, data, tlv.encode(0x5F37, bytes(64))).hex() + "9000"


def test_the_result_of_an_installation_is_told() -> None:
    aid = bytes.fromhex("A0000005591010FFFFFFFF8900001200")
    done = tlv.encode(0xA0, tlv.encode(0x4F, aid), bytes.fromhex("0409 3007A0053003800100"))
    failed = tlv.encode(0xA1, bytes.fromhex("800105 81010C"))
    for final, text in (
        (done, "-> ok, ISD-P 0012"),
        (failed, "-> loadProfileElements: installFailedDueToPEProcessingError"),
    ):
        slot = Slot()
        slot.says("81E2910008BF3682012CBF2300", "9000")
        said = slot.says("81E29100048602AABB", install_result(final))
        assert said == f"ES10b.LoadBoundProfilePackage {text}, 12 ms"


def test_sessions_of_a_modem_are_conversations_of_their_own() -> None:
    slot = Slot()
    assert slot.says("80E2110003BF3E03", "9000", session=2) == "ES10c.GetEID block 0 -> 9000"
    assert slot.says("00A4000C023F00", "9000", session=1) == "SELECT MF -> 9000"
    done = slot.meaning("80E29101035C015A", "BF3E125A10890490321234512345123456789012359000", session=2)
    assert done.function == "ES10c.GetEID"
    assert done.ended


def test_a_reset_forgets_what_was_selected() -> None:
    slot = Slot()
    slot.says("00A4000C022FE2", "9000")
    slot.decoder.observe(AtrEvent(T0, b"\x3b\x00", cold=True))
    assert slot.says("00B000000A", "69869000"[:4]) == "READ BINARY current file -> 6986 no EF selected"


def test_rsp_messages_are_named_after_their_function() -> None:
    event = RspEvent(
        T0,
        "https://dp.example/gsma/rsp2/es9plus/initiateAuthentication",
        b"{}",
        b'{"header":{"functionExecutionStatus":{"status":"Failed","statusCodeData":'
        b'{"subjectCode":"8.8.1","reasonCode":"3.8"}}}}',
        "200",
        3_000_000,
    )
    text = ApduDecoder().observe(event).text
    assert text.startswith("ES9+.InitiateAuthentication -> 200 Failed 8.8.1/3.8, 3.0 ms")


def test_statistics_count_a_function_once() -> None:
    slot = Slot()
    slot.says("81E2110003BF3E03", "9000")
    slot.says("81E29101035C015A", "6115")
    slot.says("01C0000015", "BF3E125A10890490321234512345123456789012359000")
    slot.says("00A4000C022FE2", "9000")
    slot.says("00B000000A", "6C0A")
    slot.says("81E2110003BF3E03", "9000")  # the power goes here
    slot.events.append(MarkEvent(slot.now, "cut"))
    rows = {row.function: row for row in stats(Record(n, e.at_ns, e, "") for n, e in enumerate(slot.events))}
    assert (rows["ES10c.GetEID"].count, rows["ES10c.GetEID"].unfinished) == (1, 1)
    assert rows["ES10c.GetEID"].median_ms == 22.0
    assert rows["SELECT"].count == 1
    assert rows["READ BINARY"].total_ms == 2.0


apdus = st.builds(
    ApduEvent,
    st.integers(0, 2**63),
    st.one_of(
        st.binary(max_size=270),
        st.builds(
            lambda head, data: bytes(head) + bytes((len(data),)) + data,
            st.tuples(
                st.sampled_from((0x00, 0x01, 0x80, 0x81, 0xC0)),
                st.sampled_from((0xE2, 0xC0, 0xA4, 0xB0, 0xB2, 0x70, 0x12, 0x14, 0xAA, 0x20, 0x88, 0xC2)),
                st.sampled_from((0x00, 0x04, 0x08, 0x11, 0x80, 0x91)),
                st.sampled_from((0, 1, 2, 4)),
            ),
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from((b"\xbf\x36\x05\xbf\x23\x00", b"\xbf\x31\x00", b"\xa0\x00", b"\x86\x00", b"\xbf")),
            ),
        ),
    ),
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda data, sw: data + sw,
            st.one_of(st.binary(max_size=30), st.just(b"\xbf\x37\x00"), st.just(b"\xbf\x31\x03\x80\x01\x01")),
            st.sampled_from((b"\x90\x00", b"\x61\x05", b"\x6c\x05", b"\x91\x0b", b"\x69\x85")),
        ),
    ),
    st.integers(0, 2**40),
    st.integers(0, 2),
)


@given(st.lists(apdus, max_size=12))
def test_the_decoder_has_a_line_for_any_nonsense(events: list[ApduEvent]) -> None:
    decoder = ApduDecoder()
    for event in events:
        text = decoder.feed(event)
        assert isinstance(text, str)
        assert text
        # The inner decoder must cope by itself; the net around it is for what nobody thought of.
        assert not text.startswith("? ->")
