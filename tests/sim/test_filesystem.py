"""The tree of a mounted profile: finding files, access rules, PINs, and what SELECT tells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import tlv
from esim_bench.errors import CodecError
from esim_drivers.sim import access
from esim_drivers.sim.channel import Channel
from esim_drivers.sim.fcp import MF, FileHeader, PinState, fcp, pin_status
from esim_drivers.sim.file_commands import FileCommands
from esim_drivers.sim.filesystem import FileSystem, Node, file_key
from esim_drivers.sim.nvm import Nvm, PowerLost
from esim_drivers.sim.pins import Pin, Pins, pin_key, puk_key, shared_key

ISDP = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
USIM = bytes.fromhex("A0000000871002FF49FF0589")
PIN1 = b"0000\xff\xff\xff\xff"
ADM1 = b"55555555"
PUK1 = b"11111111"

# EF.ARR of the MF: 1 anybody reads, ADM1 updates; 2 PIN1 for both; 3 PIN1 or ADM1 reads, nobody updates; 4 broken.
RULES = [
    "8001019000 800102A406830 10A950108",
    "800103A40683010195 0108",
    "800101A010A406830101950108A40683010A950108 8001029700",
    "800101A4",
]
ARR = b"".join(bytes.fromhex(rule.replace(" ", "")).ljust(30, b"\xff") for rule in RULES)


def put(nvm: Nvm, path: tuple[int, ...], header: FileHeader, content: bytes = b"") -> None:
    nvm.put(file_key(ISDP, path), header.encode() + content)


def arr(record: int, fid: int = 0x2F06) -> bytes:
    return fid.to_bytes(2, "big") + bytes((record,))


@pytest.fixture
def nvm() -> Nvm:
    nvm = Nvm()
    put(nvm, (MF,), FileHeader("df", MF, arr=arr(1), pins=b"\x01\x0a"))
    put(nvm, (MF, 0x2F06), FileHeader("linear", 0x2F06, size=120, record_length=30, sfi=6, arr=arr(1)), ARR)
    put(nvm, (MF, 0x2FE2), FileHeader("transparent", 0x2FE2, size=10, sfi=2, arr=arr(1)), bytes(range(10)))
    put(nvm, (MF, 0x2F05), FileHeader("transparent", 0x2F05, size=4, sfi=5, arr=arr(4)), b"deen")
    put(nvm, (MF, 0x7F10), FileHeader("df", 0x7F10, arr=arr(1)))
    put(nvm, (MF, 0x7F10, 0x5F3A), FileHeader("df", 0x5F3A, arr=arr(1)))
    put(nvm, (MF, 0x7F10, 0x5F3A, 0x4F30), FileHeader("transparent", 0x4F30, size=3, arr=arr(2)), b"pbr")
    put(nvm, (MF, 0x7F10, 0x6F3A), FileHeader("linear", 0x6F3A, size=9, record_length=3, arr=arr(2)), b"abcdefghi")
    put(nvm, (MF, 0x7FD0), FileHeader("adf", 0x7FD0, aid=USIM, arr=arr(1), pins=b"\x01\x81"))
    put(nvm, (MF, 0x7FD0, 0x6F07), FileHeader("transparent", 0x6F07, size=9, sfi=7, arr=arr(2)), b"imsi56789")
    put(nvm, (MF, 0x7FD0, 0x6F3B), FileHeader("cyclic", 0x6F3B, size=6, record_length=2, arr=arr(2)), b"112233")
    put(nvm, (MF, 0x7FD0, 0x5F3A), FileHeader("df", 0x5F3A, arr=arr(1), link=(MF, 0x7F10, 0x5F3A)))
    nvm.put(pin_key(ISDP, (MF,), 0x01), Pin(PIN1, 0x07, 1, 3, 3).encode())
    nvm.put(pin_key(ISDP, (MF,), 0x0A), Pin(ADM1, 0x01, 0, 10, 10).encode())
    nvm.put(pin_key(ISDP, (MF, 0x7F10), 0x81), Pin(b"9999\xff\xff\xff\xff", 0x07, 0, 3, 3).encode())
    nvm.put(shared_key(ISDP, (MF, 0x7FD0)), b"3F00/7F10")
    nvm.put(puk_key(ISDP, 0x01), Pin(PUK1, 1, 0, 10, 10).encode())
    return nvm


class Card:
    """Files, PINs and one channel."""

    def __init__(self, nvm: Nvm) -> None:
        self.files = FileSystem(nvm)
        self.pins = Pins(nvm)
        self.files.mount(ISDP)
        self.pins.mount(ISDP)
        self.commands = FileCommands(self.files, self.pins)
        self.channel = Channel(0, self.files.mf)

    def node(self, *path: int) -> Node:
        start = self.files.adfs[0] if path[0] == 0x7FFF else self.files.mf
        found = self.files.by_path(path[1:] if path[0] == 0x7FFF else path, start, None)
        assert found is not None
        return found

    def may(self, node: Node) -> tuple[bool, bool]:
        return self.commands.allowed(node, access.READ), self.commands.allowed(node, access.UPDATE)


@pytest.fixture
def card(nvm: Nvm) -> Card:
    return Card(nvm)


# -------------------------------------------------------------------------------------------------------------- finding


def test_files_are_found_from_where_one_stands(card: Card) -> None:
    files = card.files
    mf, telecom, usim = files.mf, card.node(0x7F10), files.adfs[0]
    phonebook = card.node(0x7F10, 0x5F3A)
    assert files.by_fid(0x3F00, phonebook, usim) is mf
    assert files.by_fid(0x7FFF, mf, usim) is usim
    assert files.by_fid(0x7FFF, mf, None) is None
    assert files.by_fid(0x6F3A, telecom, None) is not None  # an EF below the current DF
    assert files.by_fid(0x7F10, telecom, None) is telecom  # the current DF itself
    assert files.by_fid(0x7F10, phonebook, None) is telecom  # the parent
    assert files.by_fid(0x7F10, usim, usim) is telecom  # a DF beside the current one
    assert files.by_fid(0x2FE2, telecom, None) is None  # an EF beside it is out of reach
    assert files.by_fid(0x7FD0, mf, None) is None  # an ADF's temporary identifier means nothing outside


def test_a_linked_directory_shows_the_files_of_the_other_with_its_own_path(card: Card) -> None:
    linked = card.node(0x7FFF, 0x5F3A, 0x4F30)
    assert card.files.read(linked) == b"pbr"
    assert linked.parent is card.node(0x7FFF, 0x5F3A)
    card.files.write(linked, 0, b"PBR")
    assert card.files.read(card.node(0x7F10, 0x5F3A, 0x4F30)) == b"PBR"


def test_without_a_profile_there_is_an_empty_mf(nvm: Nvm) -> None:
    files = FileSystem(nvm)
    files.mount(None)
    assert files.mf.children == []
    assert files.adfs == []
    assert files.by_fid(0x2FE2, files.mf, None) is None


def test_a_write_is_one_write_and_changes_only_its_bytes(nvm: Nvm, card: Card) -> None:
    before = nvm.writes
    card.files.write(card.node(0x2FE2), 2, b"\xaa\xbb")
    assert nvm.writes == before + 1
    assert card.files.read(card.node(0x2FE2)).hex() == "0001aabb040506070809"
    assert card.files.record(card.node(0x7F10, 0x6F3A), 2) == b"def"
    assert card.files.record(card.node(0x7F10, 0x6F3A), 4) is None


# -------------------------------------------------------------------------------------------------------------- headers


def test_fcp_of_an_ef_with_records() -> None:
    header = FileHeader("linear", 0x2F06, size=0x78, record_length=0x1E, sfi=6, arr=bytes.fromhex("2F0601"))
    answer = fcp(header)
    assert answer[:1] == b"\x62"
    members = {member.tag: member.value.hex() for member in tlv.parse(answer).children()}
    assert members[0x82] == "4221001e04"  # linear fixed, 4 records of 30
    assert members[0x83] == "2f06"
    assert members[0x8A] == "05"
    assert members[0x8B] == "2f0601"
    assert members[0x80] == "0078"
    assert members[0x88] == "30"  # SFI 6 in the five high bits


def test_fcp_of_an_adf_names_it_7fff_and_tells_its_pins() -> None:
    header = FileHeader("adf", 0x7FD0, aid=USIM, arr=bytes.fromhex("2F0601"), pins=b"\x01\x81")
    answer = fcp(header, pins=[PinState(0x01, False), PinState(0x81, True)], free_memory=4096)
    members = {member.tag: member.value.hex() for member in tlv.parse(answer).children()}
    assert members[0x83] == "7fff"
    assert members[0x84] == USIM.hex()
    assert members[0xC6] == "900140830101830181"
    assert members[0xA5] == "830400001000"
    assert 0x80 not in members


def test_fcp_of_a_file_without_short_identifier_says_so() -> None:
    members = {m.tag: m.value for m in tlv.parse(fcp(FileHeader("transparent", 0x6F3A, size=3))).children()}
    assert members[0x88] == b""


def test_pin_status_has_a_bit_for_each_reference() -> None:
    assert (
        pin_status([PinState(1, True), PinState(0x81, False), PinState(0x0A, True)]).hex() == "9001a083010183018183010a"
    )


@given(
    st.builds(
        FileHeader,
        kind=st.sampled_from(["transparent", "ber-tlv", "df"]),
        fid=st.integers(0, 0xFFFF),
        sfi=st.none() | st.integers(1, 30),
        arr=st.just(b"") | st.binary(min_size=3, max_size=3),
        life_cycle=st.integers(0, 255),
        pins=st.binary(max_size=12),
        link=st.lists(st.integers(0, 0xFFFF), max_size=4).map(tuple),
        special=st.integers(0, 255),
    ),
    st.binary(max_size=40),
)
def test_a_kept_file_is_read_as_it_was_written(header: FileHeader, content: bytes) -> None:
    assert FileHeader.parse(header.encode() + content) == (header, content)


# --------------------------------------------------------------------------------------------------------------- access


def test_rules_open_and_close_files(card: Card) -> None:
    iccid, imsi = card.node(0x2FE2), card.node(0x7FFF, 0x6F07)
    assert card.may(iccid) == (True, False)
    assert card.may(imsi) == (False, False)
    assert card.pins.verify(0x01, card.files.mf, PIN1) == 0x9000
    assert card.may(imsi) == (True, True)
    assert card.may(iccid) == (True, False)
    assert card.pins.verify(0x0A, card.files.mf, ADM1) == 0x9000
    assert card.may(iccid) == (True, True)


def test_a_disabled_pin_counts_as_verified(nvm: Nvm) -> None:
    nvm.put(pin_key(ISDP, (MF,), 0x01), Pin(PIN1, 0x06, 1, 3, 3).encode())
    card = Card(nvm)
    assert card.may(card.node(0x7FFF, 0x6F07)) == (True, True)


def test_a_broken_or_missing_rule_allows_nothing(nvm: Nvm, card: Card) -> None:
    assert card.may(card.node(0x2F05)) == (False, False)
    put(nvm, (MF, 0x6F01), FileHeader("transparent", 0x6F01, size=1, arr=arr(9)), b"x")
    put(nvm, (MF, 0x6F02), FileHeader("transparent", 0x6F02, size=1), b"x")
    put(nvm, (MF, 0x6F03), FileHeader("transparent", 0x6F03, size=1, arr=arr(1), life_cycle=4), b"x")
    card = Card(nvm)
    for fid in (0x6F01, 0x6F02, 0x6F03):
        assert card.may(card.node(fid)) == (False, False)


@pytest.mark.parametrize(
    ("record", "verified", "allowed"),
    [
        ("8001019000", [], True),
        ("8001029000", [], False),  # says nothing of READ
        ("8001039700", [1], False),
        ("800101A010A406830101950108A40683010A950108", [10], True),
        ("800101AF10A406830101950108A40683010A950108", [10], False),
        ("800101AF10A406830101950108A40683010A950108", [1, 10], True),
        ("840132A406830101950108 8001019000FFFFFF", [], True),  # INCREASE by its instruction, then READ
        ("800101A0008001029000", [], False),  # an empty OR
        ("800101A702 9000", [], False),  # NOT is not understood
        ("800101B406830101950108", [1], False),  # secure messaging
        ("9000", [], False),
        ("", [], False),
    ],
)
def test_access_rules_in_expanded_format(record: str, verified: list[int], allowed: bool) -> None:
    assert access.allows(bytes.fromhex(record.replace(" ", "")), access.READ, lambda key: key in verified) is allowed


@given(st.binary(max_size=40))
def test_any_bytes_are_a_rule_or_no_rule(record: bytes) -> None:
    if access.allows(record, access.READ, lambda key: False):
        assert b"\x90" in record
    try:
        access.parse_rules(record)
    except CodecError:
        assert not access.allows(record, access.READ, lambda key: True)


# ----------------------------------------------------------------------------------------------------------------- PINs


def test_attempts_are_counted_in_memory_that_lasts(nvm: Nvm, card: Card) -> None:
    mf = card.files.mf
    assert card.pins.verify(0x01, mf, b"") == 0x63C3
    assert card.pins.verify(0x01, mf, ADM1) == 0x63C2
    nvm.power_off()
    nvm.power_on()
    card = Card(nvm)
    assert card.pins.verify(0x01, mf, b"") == 0x63C2
    assert card.pins.verify(0x01, mf, PIN1) == 0x9000
    assert card.pins.verify(0x01, mf, b"") == 0x63C3
    for left in (2, 1, 0):
        assert card.pins.verify(0x01, mf, ADM1) == 0x63C0 | left
    assert card.pins.verify(0x01, mf, PIN1) == 0x6983
    assert not card.pins.satisfied(0x01, mf)


def test_a_power_cut_gives_no_attempt_for_free(nvm: Nvm, card: Card) -> None:
    nvm.cut_before = nvm.writes + 1
    with pytest.raises(PowerLost):
        card.pins.verify(0x01, card.files.mf, PIN1)
    nvm.power_on()
    assert Card(nvm).pins.verify(0x01, card.files.mf, b"") == 0x63C2


def test_a_blocked_pin_is_unblocked_by_its_puk(card: Card) -> None:
    mf = card.files.mf
    for _ in range(3):
        card.pins.verify(0x01, mf, ADM1)
    new = b"1234\xff\xff\xff\xff"
    assert card.pins.unblock(0x01, mf, ADM1 + new) == 0x63C9
    assert card.pins.unblock(0x01, mf, PUK1 + new) == 0x9000
    assert card.pins.verify(0x01, mf, new) == 0x9000
    assert card.pins.change(0x01, mf, new + PIN1) == 0x9000
    assert card.pins.set_enabled(0x01, mf, PIN1, False) == 0x9000
    assert card.pins.verify(0x01, mf, PIN1) == 0x6984
    assert card.pins.set_enabled(0x01, mf, PIN1, False) == 0x6985
    assert card.pins.set_enabled(0x01, mf, PIN1, True) == 0x9000


def test_local_pins_belong_to_a_directory_which_may_share_another_ones(card: Card) -> None:
    local = b"9999\xff\xff\xff\xff"
    assert card.pins.verify(0x81, card.files.mf, local) == 0x6A88
    assert card.pins.verify(0x81, card.files.adfs[0], local) == 0x9000
    assert card.pins.satisfied(0x81, card.node(0x7F10, 0x5F3A))
    assert card.pins.verify(0x82, card.files.adfs[0], local) == 0x6A88
    assert card.pins.verify(0x01, card.files.mf, b"0000") == 0x6700
