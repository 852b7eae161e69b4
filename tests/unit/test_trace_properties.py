"""Traces that are torn, damaged or hostile: they open as far as they go, and every record has its line."""

import io
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from esim_bench.codec import tlv
from esim_bench.errors import ConfigError
from esim_bench.events import ApduEvent, AtEvent, AtrEvent, Event, MarkEvent, PowerAction, PowerEvent, RspEvent
from esim_bench.trace.decode import ApduDecoder, describe_event
from esim_bench.trace.export import export_text
from esim_bench.trace.journal import Journal
from esim_bench.trace.mask import SecretMask
from esim_bench.trace.reader import Reader
from esim_bench.trace.stats import stats

T0 = 1_767_225_600_000_000_000
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
EVENTS: list[Event] = [
    PowerEvent(T0, PowerAction.ON, "reset"),
    AtrEvent(T0 + 1, bytes.fromhex("3B9F96801FC78031A073BE21136743200718000001A5"), cold=True),
    AtEvent(T0 + 2, ">", 'AT+CCHO="A0000005591010FFFFFFFF8900000100"'),
    ApduEvent(T0 + 3, bytes.fromhex("80E2910003BF3E00"), bytes.fromhex("BF3E00") + b"\x90\x00", 10),
    ApduEvent(T0 + 4, bytes.fromhex("00B0000000"), bytes(256) + b"\x90\x00", 10),
    RspEvent(T0 + 5, "https://a.example.com/gsma/rsp2/es9plus/cancelSession", b"{}", b"{}", "200", 1),
    MarkEvent(T0 + 6, "step 1"),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "A1.pcapng"
    with Journal.create(path, slot="A1") as journal:
        for event in EVENTS:
            journal.emit(event)
    return path.read_bytes()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad") / "A1.pcapng"


def look(path: Path) -> list[Event]:
    """Read all of a trace and say all of it; a file that is no trace is refused."""
    try:
        reader = Reader(path)
    except ConfigError:
        return []
    with reader:
        events = [record.event for record in reader]
        assert len(events) == len(reader)
        assert reader.slots is not None
        stats(reader)
        out = io.StringIO()
        export_text(reader, out)
        out.getvalue().encode()
    return events


@QUICK
@given(data=st.data())
def test_a_torn_journal_has_all_whole_records(good: bytes, file: Path, data: st.DataObject) -> None:
    file.write_bytes(good[: data.draw(st.integers(0, len(good)))])
    events = look(file)
    assert events == EVENTS[: len(events)]


@QUICK
@given(data=st.data())
def test_a_journal_is_torn_only_at_its_end(good: bytes, file: Path, data: st.DataObject) -> None:
    # What a power failure leaves behind the last record costs no record before it.
    file.write_bytes(good + data.draw(st.binary(max_size=40)))
    assert look(file)[: len(EVENTS)] == EVENTS


@QUICK
@given(data=st.data())
def test_flipped_bits_anywhere_cost_records_and_nothing_else(good: bytes, file: Path, data: st.DataObject) -> None:
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    look(file)


@QUICK
@given(data=st.data())
def test_blocks_in_any_order(good: bytes, file: Path, data: st.DataObject) -> None:
    blocks = []
    at = 0
    while at < len(good):
        (length,) = struct.unpack_from("<I", good, at + 4)
        blocks.append(good[at : at + length])
        at += length
    order = data.draw(st.lists(st.sampled_from(blocks), max_size=12))
    file.write_bytes(blocks[0] + b"".join(order))
    look(file)


lengths = st.sampled_from((0, 4, 12, 16, 28, 32, 36, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF))


@QUICK
@given(
    st.lists(
        st.tuples(st.sampled_from((1, 2, 3, 5, 6, 0x0A0D0D0A, 0xBAD)), lengths, st.binary(max_size=60)), max_size=4
    )
)
def test_blocks_of_impossible_lengths(good: bytes, file: Path, blocks: list[tuple[int, int, bytes]]) -> None:
    tail = b"".join(
        struct.pack("<II", kind, length) + body + struct.pack("<I", length) for kind, length, body in blocks
    )
    file.write_bytes(good + tail)
    assert look(file)[: len(EVENTS)] == EVENTS


@QUICK
@given(
    magic=st.sampled_from((b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")),
    link=st.sampled_from((1, 101, 113, 228, 276, 147)),
    packets=st.lists(st.tuples(st.binary(max_size=60), lengths | st.none()), max_size=4),
)
def test_foreign_captures(file: Path, magic: bytes, link: int, packets: list[tuple[bytes, int | None]]) -> None:
    order = "<" if magic[0] in (0xD4, 0x4D) else ">"
    parts = [magic + struct.pack(order + "HHiIII", 2, 4, 0, 0, 65535, link)]
    for packet, length in packets:
        size = len(packet) if length is None else length
        parts.append(struct.pack(order + "IIII", 1, 2, size, size) + packet)
    file.write_bytes(b"".join(parts))
    look(file)


# ------------------------------------------------------------------------------------------------- meanings and masks

tags = st.sampled_from(
    [
        *(0xBF20, 0xBF21, 0xBF22, 0xBF25, 0xBF28, 0xBF29, 0xBF2B, 0xBF2D, 0xBF31, 0xBF36, 0xBF37, 0xBF38, 0xBF41),
        *(0xA0, 0xA1, 0x80, 0x81, 0x02, 0x04, 0x30, 0x5A, 0x4F, 0x5C, 0x86, 0x88, 0xE3, 0x5F37, 0xD0),
    ]
)
values = st.binary(max_size=12) | st.sampled_from((b"\xff" * 3000, b"\x7f" * 200, b""))
objects = st.recursive(
    st.builds(tlv.encode, tags, values),
    lambda inner: st.builds(lambda tag, parts: tlv.encode(tag, *parts), tags, st.lists(inner, max_size=3)),
    max_leaves=6,
)


def store_data(payload: bytes, answer: bytes) -> list[Event]:
    """Return the STORE DATA chain for an ES10 request, the answer in its last response (SGP.22 5.7.2)."""
    parts = [payload[at : at + 255] for at in range(0, len(payload), 255)] or [b""]
    events: list[Event] = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        head = bytes((0x81, 0xE2, 0x91 if last else 0x11, number & 0xFF, len(part)))
        events.append(ApduEvent(T0, head + part, (answer if last else b"") + b"\x90\x00", 1))
    return events


SELECT = ApduEvent(T0, bytes.fromhex("01A4040010A0000005591010FFFFFFFF8900000100"), b"\x90\x00", 1)


@QUICK
@given(objects, objects)
@example(tlv.encode(0xBF2D, tlv.encode(0xA0, tlv.encode(0x5A, b"\xff" * 3000))), tlv.encode(0xBF2D))
@example(tlv.encode(0xBF30, tlv.encode(0x80, b"\x7f" * 3000)), tlv.encode(0xBF30, tlv.encode(0x80, b"\x7f" * 3000)))
@example(b"\xbf\x36" + b"\x30\x80" * 400, b"\xa0\x84\xff\xff\xff\xff")
def test_every_call_has_a_meaning_and_a_mask(request: bytes, answer: bytes) -> None:
    decoder, mask = ApduDecoder(), SecretMask()
    for event in [SELECT, *store_data(request, answer)]:
        meaning = decoder.feed(event) if isinstance(event, ApduEvent) else ""
        assert meaning
        assert not meaning.startswith("? ->")
        meaning.encode()
        masked, spans = mask.apply(event)
        assert isinstance(masked, ApduEvent)
        assert isinstance(event, ApduEvent)
        assert len(masked.command) == len(event.command)
        assert len(masked.response) == len(event.response)
        whole = len(event.command) + len(event.response)
        assert all(0 <= start < start + size <= whole for start, size in spans)


@QUICK
@given(st.text(max_size=60), st.binary(max_size=200))
def test_lines_and_bodies_are_masked_and_described(text: str, body: bytes) -> None:
    mask = SecretMask(["secret-word"])
    for event in (
        AtEvent(T0, "<", text),
        AtEvent(T0, ">", f'AT+CSIM=10,"{text}"'),
        MarkEvent(T0, text),
        RspEvent(T0, f"https://{text}/gsma/rsp2/es9plus/{text}", body, body, text, 1),
    ):
        masked, _ = mask.apply(event)
        assert describe_event(masked) is not None
        assert type(masked) is type(event)
