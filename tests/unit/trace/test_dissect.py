"""Records taken apart: names, values, and where each stands in the bytes."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.events import ApduEvent, AtEvent, MarkEvent, RspEvent
from esim_bench.trace.asn1_tree import trees
from esim_bench.trace.dissect import Chain, chain, dissect
from esim_bench.trace.reader import Record
from esim_bench.trace.tree import Node


def walk(nodes: list[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from walk(node.children)


def apdu(command: str, response: str = "9000") -> ApduEvent:
    return ApduEvent(0, bytes.fromhex(command), bytes.fromhex(response), 0)


def test_a_profile_list_has_the_names_of_its_members() -> None:
    answer = bytes.fromhex(
        "BF2D36A034E3325A0A988812010000000000304F10A0000005591010FFFFFFFF89000010009F7001019109457869656E73694D4E92034F7041"
    )
    nodes = {node.name: node for node in walk(trees(answer, request=False))}
    assert "BF2D ProfileInfoListResponse" in nodes
    assert nodes["5A iccid"].note == "ICCID 89882110000000000003"
    assert (nodes["9F70 profileState"].value, nodes["9F70 profileState"].note) == ("1", "enabled")
    assert nodes["91 serviceProviderName"].value == "ExiensiMN"
    assert nodes["92 profileName"].value == "OpA"
    assert answer[nodes["5A iccid"].start : nodes["5A iccid"].end].hex() == "5a0a98881201000000000030"


def test_a_request_and_an_answer_of_the_same_tag_are_told_apart() -> None:
    request = trees(bytes.fromhex("BF3111A00C5A0A988812010000000000308101FF"), request=True)
    answer = trees(bytes.fromhex("BF3103800100"), request=False)
    assert request[0].name == "BF31 EnableProfileRequest"
    assert answer[0].name == "BF31 EnableProfileResponse"
    assert [node.name for node in answer[0].children] == ["80 enableResult"]


def test_what_is_kept_as_it_was_signed_has_names_too() -> None:
    signed = "301E8004AABBCCDD830B74657374732E6C6F63616C8401EEBF22058103020500"
    certificates = "30030201013003020102"
    inner = signed + "5F370101" + certificates
    data = bytes.fromhex(f"BF38{len(inner) // 2 + 2:02X}A0{len(inner) // 2:02X}{inner}")
    (found,) = trees(data, request=False)
    (ok,) = found.children
    assert ok.name == "A0 authenticateResponseOk"
    names = [node.name for node in ok.children]
    assert names == ["30 EuiccSigned1", "5F37 euiccSignature1", "30 euiccCertificate", "30 eumCertificate"]
    members = [node.name for node in ok.children[0].children]
    assert members == ["80 transactionId", "83 serverAddress", "84 serverChallenge", "BF22 euiccInfo2"]
    assert ok.children[0].children[1].value == "tests.local"
    (version,) = ok.children[0].children[3].children
    assert (version.name, version.note) == ("81 profileVersion", "2.5.0")


def test_a_command_is_its_header_its_data_and_its_answer() -> None:
    command, answer = dissect(apdu("00A4040C10A0000005591010FFFFFFFF8900000100", "6A82"))
    assert [node.name for node in command.nodes] == ["CLA", "INS", "P1", "P2", "Lc", "data"]
    assert command.nodes[1].note == "SELECT"
    assert command.nodes[-1].note == "ISD-R"
    assert answer.nodes[-1].value == "6A82"
    assert "not found" in answer.nodes[-1].note


def test_lost_bytes_are_said() -> None:
    command, _ = dissect(apdu("80E2910010BF2D0E"))
    assert "13 bytes are missing" in command.nodes[-1].note


def records(*events: object) -> list[Record]:
    return [Record(number, 0, event, "") for number, event in enumerate(events)]  # type: ignore[arg-type]


def test_a_function_is_put_together_from_its_chain_and_its_answers() -> None:
    found = records(
        apdu("81E2910003BF2E00", "9000"),
        apdu("81E2110004BF2D0401"),
        MarkEvent(0, "step"),
        apdu("80F2000000", "6F00"),
        apdu("81E29101020203", "6102"),
        AtEvent(0, "<", "OK"),
        apdu("81C0000002", "BF2D6101"),
        apdu("81C0000001", "009000"),
        apdu("81E2910003BF2E00", "9000"),
    )
    for number in (1, 4, 6, 7):
        assert chain(found[number], lambda n: found[n] if 0 <= n < len(found) else None) == Chain(
            bytes.fromhex("BF2D04010203"), bytes.fromhex("BF2D00"), True
        )
    assert chain(found[3], lambda n: found[n]) is None


def test_a_chain_without_its_beginning_says_that_it_is_a_part() -> None:
    found = records(apdu("81E29101020203", "6102"), apdu("81C0000002", "BF2D9000"))
    part = chain(found[1], lambda n: found[n] if 0 <= n < len(found) else None)
    assert part is not None
    assert not part.whole


def test_a_block_that_was_sent_again_counts_once() -> None:
    found = records(apdu("80E2910003BF2E00", "6C12"), apdu("80E2910003BF2E0012", "BF2E9000"))
    whole = chain(found[0], lambda n: found[n] if 0 <= n < len(found) else None)
    assert whole is not None
    assert whole.request == bytes.fromhex("BF2E00")


def test_json_of_a_server_is_a_tree() -> None:
    event = RspEvent(0, "https://x/y", b'{"a":{"b":[1,"two"]}}', b"", "200", 0)
    request, answer = dissect(event)
    assert [(node.name, node.value) for node in walk(request.nodes)][1:] == [
        ("a", ""),
        ("b", ""),
        ("[0]", "1"),
        ("[1]", "two"),
    ]
    assert answer.nodes == []


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_make_a_tree_whose_spans_lie_in_their_parents(data: bytes, request: bool) -> None:
    check(trees(data, request=request), 0, len(data))


@given(st.sampled_from(("BF2D", "BF22", "BF21", "BF38", "BF2B", "BF51", "E3")), st.binary(max_size=120))
def test_any_content_of_a_known_tag_makes_a_tree(tag: str, content: bytes) -> None:
    data = bytes.fromhex(tag) + bytes((len(content),)) + content if len(content) < 128 else b""
    check(trees(data, request=False), 0, len(data))


def check(nodes: list[Node], low: int, high: int) -> None:
    for node in nodes:
        assert node.start is not None
        assert node.end is not None
        assert low <= node.start <= node.end <= high
        check(node.children, node.start, node.end)
        low = node.end


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_exchange_is_taken_apart(command: bytes, response: bytes) -> None:
    for pane in dissect(ApduEvent(0, command, response, 0), Chain(response, command, False)):
        for node in walk(pane.nodes):
            assert node.name != "not decoded"
            if node.start is not None and node.end is not None:
                assert 0 <= node.start <= node.end <= len(pane.data)


@pytest.mark.parametrize("depth", [50, 2000])
def test_deep_nesting_ends(depth: int) -> None:
    data = b""
    for _ in range(depth):
        data = b"\x30\x82" + len(data).to_bytes(2, "big") + data
    assert trees(data, request=False)
