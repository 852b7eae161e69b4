"""The LPA against a scripted eUICC and a scripted SM-DP+: both fail on whatever they do not expect."""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from esim_bench import clock
from esim_bench.agents.download import Progress
from esim_bench.agents.lpa import Lpa
from esim_bench.agents.user import Answer, User
from esim_bench.card import Card
from esim_bench.codec import bpp, es9, es10, tlv
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.schema import RSP
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import AgentError, CardStatusError, ProtectedError, ProtocolError, RspError, TransportError
from esim_bench.events import NullSink
from esim_bench.ports import CardCapabilities, Exchange, HttpResponse, StopRule
from esim_bench.servers.pki import create_pki

T = TypeVar("T")

ICCID = bytes.fromhex("98001032547698103214")
OTHER = bytes.fromhex("98001032547698103224")
AID = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
ADDRESS = "dp.example.com"
CODE = ActivationCode(ADDRESS, "MATCH")
TRANSACTION = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
CHALLENGE = bytes(range(16))
SIGNATURE = tlv.encode(0x5F37, bytes(64))
DEVICE = es10.device_info(bytes.fromhex("35290611"), form_factor_type=0)
METADATA = Metadata(ICCID, "Bench", "Profile")

Step = tuple[bytes, str]
"""What a request must start with, and the answer: response data and status word, or "dead"."""


class ScriptedEuicc:
    """A card behind a modem with sessions, which sees whole ES10 requests; everything else is refused."""

    def __init__(self, script: Sequence[Step]) -> None:
        self.capabilities = CardCapabilities(raw_channels=False, sessions=True, terminal=True)
        self.script = list(script)
        self.requests: list[bytes] = []
        self._chain = b""

    async def connect(self) -> bytes:
        return b""

    async def reset(self) -> bytes:
        return b""

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        assert session == 7
        done = []
        for command in commands:
            assert command[:2] == b"\x80\xe2"
            self._chain += command[5 : 5 + command[4]]
            answer = "9000"
            if command[2] == 0x91:
                request, self._chain = self._chain, b""
                self.requests.append(request)
                assert self.script, f"unexpected request {request.hex().upper()}"
                expected, answer = self.script.pop(0)
                assert request.startswith(expected), f"expected {expected.hex()}, got {request.hex()}"
                if answer == "dead":
                    raise TransportError("the card vanished")
            done.append(Exchange(command, bytes.fromhex(answer), 0, 0))
            if stop(command, done[-1].response) is not True:
                break
        return done

    async def open_session(self, aid: bytes) -> int:
        assert aid == es10.ISD_R_AID
        return 7

    async def close_session(self, session: int) -> None:
        pass

    async def close(self) -> None:
        pass


class ScriptedServer:
    """A bearer with an SM-DP+ at its end: (function, answer) in order."""

    def __init__(self, script: Sequence[tuple[str, HttpResponse]]) -> None:
        self.script = list(script)
        self.bodies: list[dict[str, Any]] = []

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        assert self.script, f"unexpected request to {url}"
        function, answer = self.script.pop(0)
        assert url == f"https://{ADDRESS}/gsma/rsp2/es9plus/{function}"
        assert headers["content-type"] == "application/json;charset=UTF-8"
        assert headers["x-admin-protocol"].startswith("gsma/rsp/v2")
        assert headers["user-agent"] == "gsma-rsp-lpad"
        self.bodies.append(json.loads(body))
        return answer


def ok(function: str, **fields: bytes | str) -> tuple[str, HttpResponse]:
    return function, HttpResponse(200, {}, es9.encode_response(function, fields))


def failed(function: str, subject: str, reason: str) -> tuple[str, HttpResponse]:
    return function, HttpResponse(200, {}, es9.encode_failure(RspError(subject, reason)))


def acknowledged(status: int = 204) -> tuple[str, HttpResponse]:
    return "handleNotification", HttpResponse(status, {}, b"")


def tag(value: int) -> bytes:
    return tlv.tag_bytes(value)


def answer_of(data: bytes, sw: str = "9000") -> str:
    return data.hex() + sw


def signed1(
    *, address: str = ADDRESS, transaction: bytes = TRANSACTION, challenge: bytes = CHALLENGE, certificate: bytes = b""
) -> tuple[str, HttpResponse]:
    value = {
        "transactionId": transaction,
        "euiccChallenge": challenge,
        "serverAddress": address,
        "serverChallenge": bytes(16),
    }
    return ok(
        "initiateAuthentication",
        transactionId=TRANSACTION,
        serverSigned1=RSP.encode("ServerSigned1", value),
        serverSignature1=SIGNATURE,
        euiccCiPKIdToBeUsed=tlv.encode(0x04, bytes(20)),
        serverCertificate=certificate or b"\x30\x00",
    )


def signed2(metadata: Metadata = METADATA, *, cc: bool = False, **other: bytes) -> tuple[str, HttpResponse]:
    signed = RSP.encode(
        "SmdpSigned2", {"transactionId": other.get("signed_transaction", TRANSACTION), "ccRequiredFlag": cc}
    )
    return ok(
        "authenticateClient",
        transactionId=other.get("transaction", TRANSACTION),
        profileMetadata=metadata.encode(),
        smdpSigned2=signed,
        smdpSignature2=SIGNATURE,
        smdpCertificate=b"\x30\x00",
    )


def package(metadata: Metadata = METADATA) -> bytes:
    raw = metadata.encode()
    # MAC-only segments: plain text and 8 bytes of MAC.
    eights = [tlv.encode(0x88, raw[:10] + bytes(8)), tlv.encode(0x88, raw[10:] + bytes(8))]
    return bpp.build(
        tlv.encode(0xBF23, b"\x82\x01\x01"),
        [tlv.encode(0x87, bytes(24))],
        eights,
        [tlv.encode(0x86, bytes(24)), tlv.encode(0x86, bytes(40))],
    )


def bound(metadata: Metadata = METADATA, raw: bytes | None = None) -> tuple[str, HttpResponse]:
    return ok("getBoundProfilePackage", transactionId=TRANSACTION, boundProfilePackage=raw or package(metadata))


def install_result(final: str, transaction: bytes = TRANSACTION, seq: int = 1) -> bytes:
    metadata = tlv.encode(
        0xBF2F,
        tlv.encode(0x80, bytes((seq,))),
        bytes.fromhex("81020780"),
        tlv.encode(0x0C, ADDRESS.encode()),
        tlv.encode(0x5A, ICCID),
    )
    data = tlv.encode(
        0xBF27,
        tlv.encode(0x80, transaction),
        metadata,
        bytes.fromhex("060388370A"),
        tlv.encode(0xA2, bytes.fromhex(final)),
    )
    return tlv.encode(0xBF37, data, SIGNATURE)


SUCCESS = install_result("A01D4F10" + AID.hex() + "04093007A0053003800100")
PE_ERROR = install_result("A10680010581010C")

AUTHENTICATED: list[Step] = [
    (es10.get_euicc_info1(), answer_of(bytes.fromhex("BF2009820302050 0A900AA00".replace(" ", "")))),
    (es10.get_euicc_challenge(), answer_of(tlv.encode(0xBF2E, tlv.encode(0x80, CHALLENGE)))),
    (tag(0xBF38), answer_of(tlv.encode(0xBF38, tlv.encode(0xA0, b"\x30\x00", SIGNATURE, b"\x30\x00", b"\x30\x00")))),
]
PREPARED: list[Step] = [(tag(0xBF21), answer_of(tlv.encode(0xBF21, tlv.encode(0xA0, b"\x30\x00", SIGNATURE))))]
TAKEN: list[Step] = [(segment, "9000") for segment in bpp.segments(package())[:-1]]
LAST = bpp.segments(package())[-1]
NO_NOTIFICATIONS: list[Step] = [(es10.list_notifications(), "BF2802A0009000")]


def cancelled(reason: int) -> list[Step]:
    answer = tlv.encode(0xBF41, tlv.encode(0xA0, b"\x30\x00", SIGNATURE))
    return [(es10.cancel_session(TRANSACTION, reason), answer_of(answer))]


def use(
    card_script: Sequence[Step],
    server_script: Sequence[tuple[str, HttpResponse]],
    job: Callable[[Lpa], Awaitable[T]],
    *,
    protect: bool = False,
) -> tuple[T, ScriptedEuicc, ScriptedServer]:
    link, server = ScriptedEuicc(card_script), ScriptedServer(server_script)

    async def run() -> T:
        card = Card(link, sink=NullSink(), protect=protect)
        await card.start()
        return await job(Lpa(card, server, device=DEVICE))

    try:
        result = clock.run_virtual(run())
    finally:
        # Also where the flow ends with an error, nothing that was expected may have been left out.
        assert link.script == [], "the eUICC was not asked all it expects"
        assert server.script == [], "the SM-DP+ was not asked all it expects"
    return result, link, server


# ----------------------------------------------------------------------------------------------------------- download


def test_a_download_from_authentication_to_the_result() -> None:
    seen: list[Progress] = []

    async def note(progress: Progress) -> None:
        seen.append(progress)

    result, link, server = use(
        [*AUTHENTICATED, *PREPARED, *TAKEN, (LAST, answer_of(SUCCESS))],
        [signed1(), signed2(), bound()],
        lambda lpa: lpa.download(CODE, progress=note),
    )
    assert result.result.success
    assert result.result.isdp_aid == AID
    assert result.metadata == METADATA
    total = len(TAKEN) + 1
    assert [p.done for p in seen if p.stage == "install"] == list(range(total + 1))
    assert [p.stage for p in seen[:2]] == ["authenticate", "prepare"]

    initiate, authenticate, get = server.bodies
    assert initiate == {
        "euiccChallenge": base64.b64encode(CHALLENGE).decode(),
        "euiccInfo1": base64.b64encode(bytes.fromhex("BF20098203020500A900AA00")).decode(),
        "smdpAddress": ADDRESS,
    }
    assert authenticate["transactionId"] == TRANSACTION.hex().upper()
    # What the eUICC answered goes to the SM-DP+ byte for byte, tag and all.
    assert base64.b64decode(authenticate["authenticateServerResponse"])[:2] == b"\xbf\x38"
    assert base64.b64decode(get["prepareDownloadResponse"])[:2] == b"\xbf\x21"
    name, context = RSP.decode("CtxParams1", tlv.parse(link.requests[2]).children()[-1].raw)
    assert name == "ctxParamsForCommonAuthentication"
    assert context["matchingId"] == "MATCH"


def test_a_confirmation_code_is_hashed_twice_with_the_transaction_id() -> None:
    _, link, _ = use(
        [*AUTHENTICATED, *PREPARED, *TAKEN, (LAST, answer_of(SUCCESS))],
        [signed1(), signed2(cc=True), bound()],
        lambda lpa: lpa.download(CODE, confirmation_code="1234"),
    )
    expected = hashlib.sha256(hashlib.sha256(b"1234").digest() + TRANSACTION).digest()
    assert tlv.parse(link.requests[3]).get(0x04).value == expected


def test_a_missing_confirmation_code_postpones_so_that_the_order_stays_good() -> None:
    with pytest.raises(AgentError, match="confirmation code") as caught:
        use(
            [*AUTHENTICATED, *cancelled(1)],
            [signed1(), signed2(cc=True), ok("cancelSession")],
            lambda lpa: lpa.download(CODE),
        )
    assert caught.value.code == "confirmationCodeMissing"


async def _no(metadata: Metadata) -> Answer:
    assert metadata == METADATA
    return Answer.NO


def test_the_user_says_no_on_both_sides() -> None:
    with pytest.raises(AgentError) as caught:
        use(
            [*AUTHENTICATED, *cancelled(0)],
            [signed1(), signed2(), ok("cancelSession")],
            lambda lpa: lpa.download(CODE, user=User(confirm=_no)),
        )
    assert caught.value.code == "endUserRejection"


def test_a_server_that_does_not_take_the_cancellation_hides_nothing() -> None:
    with pytest.raises(AgentError, match=r"not wanted.*the SM-DP\+ does not know of it: 8\.10\.1/3\.9") as caught:
        use(
            [*AUTHENTICATED, *cancelled(0)],
            [signed1(), signed2(), failed("cancelSession", "8.10.1", "3.9")],
            lambda lpa: lpa.download(CODE, user=User(confirm=_no)),
        )
    assert caught.value.code == "endUserRejection"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (signed1(address="evil.example.com"), "expected dp.example.com, found evil.example.com"),
        (signed1(transaction=b"\x01"), "serverSigned1 of another session"),
        (signed1(challenge=bytes(16)), "eUICC challenge"),
    ],
)
def test_what_the_server_signed_must_be_about_this_session(answer: tuple[str, HttpResponse], complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        use(AUTHENTICATED[:2], [answer], lambda lpa: lpa.download(CODE))


def test_the_address_is_compared_without_case() -> None:
    use(
        [*AUTHENTICATED, *PREPARED, *TAKEN, (LAST, answer_of(SUCCESS))],
        [signed1(address="DP.Example.COM"), signed2(), bound()],
        lambda lpa: lpa.download(CODE),
    )


def test_the_oid_of_the_activation_code_must_be_the_certificates() -> None:
    pki = create_pki(SeededRandomness("lpa"), hosts=[ADDRESS], now_ns=clock.VIRTUAL_EPOCH_NS)
    certificate = pki.smdp_auth.certificate
    code = ActivationCode(ADDRESS, "MATCH", "2.999.77")
    with pytest.raises(
        ProtocolError, match=r"OID of the SM-DP\+: expected 2\.999\.77 \(activation code\), found 2\.999\.10"
    ):
        use(AUTHENTICATED[:2], [signed1(certificate=certificate)], lambda lpa: lpa.download(code))


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [(signed2(transaction=b"\x01"), "in authenticateClient"), (signed2(signed_transaction=b"\x01"), "smdpSigned2 of")],
)
def test_transaction_ids_must_be_equal(answer: tuple[str, HttpResponse], complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        use(
            [*AUTHENTICATED, *cancelled(127)],
            [signed1(), answer, ok("cancelSession")],
            lambda lpa: lpa.download(CODE),
        )


def test_a_refusal_of_the_server_keeps_subject_and_reason() -> None:
    with pytest.raises(RspError, match=r"8\.2\.6/3\.8"):
        use(AUTHENTICATED, [signed1(), failed("authenticateClient", "8.2.6", "3.8")], lambda lpa: lpa.download(CODE))


def test_nothing_in_a_servers_refusal_steers_the_terminal() -> None:
    answer = ("authenticateClient", HttpResponse(200, {}, es9.encode_failure(RspError("8.2", "1.2", "a\x1b[2Jb\nc"))))
    with pytest.raises(RspError) as caught:
        use(AUTHENTICATED, [signed1(), answer], lambda lpa: lpa.download(CODE))
    assert str(caught.value) == "8.2/1.2 authenticateClient: Failed, a?[2Jb c"
    assert caught.value.message.isprintable()


def test_an_address_from_a_card_is_a_host_and_nothing_more() -> None:
    async def job(lpa: Lpa) -> None:
        with pytest.raises(ProtocolError, match="expected a host name"):
            await lpa.es9.notify("dp.example.com/elsewhere?", b"\x30\x00")

    use([], [], job)


def test_a_refusal_of_the_euicc_has_the_standards_name() -> None:
    refusal = tlv.encode(0xBF38, tlv.encode(0xA1, tlv.encode(0x80, TRANSACTION), b"\x02\x01\x07"))
    with pytest.raises(AgentError, match="refused AuthenticateServer") as caught:
        use([*AUTHENTICATED[:2], (tag(0xBF38), answer_of(refusal))], [signed1()], lambda lpa: lpa.download(CODE))
    assert caught.value.code == "ciPKUnknown"


@pytest.mark.parametrize(
    ("response", "found"),
    [
        (HttpResponse(500, {}, b"oops\n\x1b[31m"), r"500 oops \?\[31m$"),
        (HttpResponse(302, {}, b""), "302 to nowhere"),
        (HttpResponse(308, {"location": "https://elsewhere.example.com/"}, b""), "308 to https://elsewhere.example"),
    ],
)
def test_another_http_status_is_a_broken_way_to_the_server(response: HttpResponse, found: str) -> None:
    with pytest.raises(TransportError, match=f"expected HTTP 200, found {found}"):
        use(AUTHENTICATED[:2], [("initiateAuthentication", response)], lambda lpa: lpa.download(CODE))


def test_loading_stops_at_the_first_answer() -> None:
    with pytest.raises(AgentError, match="loadProfileElements") as caught:
        use(
            [*AUTHENTICATED, *PREPARED, *TAKEN[:5], (TAKEN[5][0], answer_of(PE_ERROR))],
            [signed1(), signed2(), bound()],
            lambda lpa: lpa.download(CODE),
        )
    assert caught.value.code == "installFailedDueToPEProcessingError"


def test_a_card_that_dies_in_mid_download_is_a_broken_transport() -> None:
    dead = [(TAKEN[4][0], "dead"), (es10.list_notifications(), "dead")]
    with pytest.raises(TransportError, match="the card vanished"):
        use(
            [*AUTHENTICATED, *PREPARED, *TAKEN[:4], *dead],
            [signed1(), signed2(), bound()],
            lambda lpa: lpa.download(CODE),
        )


def listed(*numbers: int) -> str:
    items = [
        tlv.encode(0xBF2F, tlv.encode(0x80, bytes((n,))), bytes.fromhex("81020780"), tlv.encode(0x0C, ADDRESS.encode()))
        for n in numbers
    ]
    return answer_of(tlv.encode(0xBF28, tlv.encode(0xA0, *items)))


def retrieved(*items: bytes) -> str:
    return answer_of(tlv.encode(0xBF2B, tlv.encode(0xA0, *items)))


@pytest.mark.parametrize("sw", ["6F00", "dead", "9000"])
def test_an_error_on_the_last_block_is_looked_into_before_it_is_believed(sw: str) -> None:
    older = install_result("A10680010581010C", transaction=b"\x01")
    result, _, _ = use(
        [
            *AUTHENTICATED,
            *PREPARED,
            *TAKEN,
            (LAST, sw),
            (es10.list_notifications(), listed(2, 1)),
            (es10.retrieve_notifications(1), retrieved(older)),
            (es10.retrieve_notifications(2), retrieved(SUCCESS)),
        ],
        [signed1(), signed2(), bound()],
        lambda lpa: lpa.download(CODE),
    )
    assert result.result.success


def test_an_error_without_a_result_cancels_the_session() -> None:
    with pytest.raises(CardStatusError, match="expected 9000, found 6581"):
        use(
            [*AUTHENTICATED, *PREPARED, *TAKEN[:3], (TAKEN[3][0], "6581"), *NO_NOTIFICATIONS, *cancelled(5)],
            [signed1(), signed2(), bound(), ok("cancelSession")],
            lambda lpa: lpa.download(CODE),
        )


def test_other_metadata_in_the_package_than_announced_is_refused() -> None:
    with pytest.raises(AgentError) as caught:
        use(
            [*AUTHENTICATED, *PREPARED, *cancelled(4)],
            [signed1(), signed2(), bound(Metadata(ICCID, "Bench", "Another")), ok("cancelSession")],
            lambda lpa: lpa.download(CODE),
        )
    assert caught.value.code == "metadataMismatch"


def test_a_malformed_package_never_reaches_the_euicc() -> None:
    with pytest.raises(ProtocolError, match="malformed bound profile package"):
        use(
            [*AUTHENTICATED, *PREPARED, *cancelled(5)],
            [signed1(), signed2(), bound(raw=package()[:-1]), ok("cancelSession")],
            lambda lpa: lpa.download(CODE),
        )


# ------------------------------------------------------------------------------------------------------- policy rules

OWNER = bytes.fromhex("00F110")
LOCKED = Metadata(ICCID, "Bench", "Locked", owner=(OWNER, None, None), policy_rules=("ppr1",))


def rat(operator: str) -> Step:
    entry = tlv.encode(
        0x30,
        bytes.fromhex("80020560"),
        tlv.encode(0xA1, tlv.encode(0x30, tlv.encode(0x80, bytes.fromhex(operator)))),
        bytes.fromhex("82020780"),
    )
    return es10.get_rat(), answer_of(tlv.encode(0xBF43, tlv.encode(0xA0, entry)))


def profile_list(*profiles: tuple[bytes, int]) -> str:
    items = [
        tlv.encode(0xE3, tlv.encode(0x5A, iccid), tlv.encode(0x9F70, bytes((state,))), b"\x95\x01\x02")
        for iccid, state in profiles
    ]
    return answer_of(tlv.encode(0xBF2D, tlv.encode(0xA0, *items)))


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ([rat("62F210")], "does not allow ppr1"),
        ([(es10.get_rat(), "BF4302A0009000")], "does not allow ppr1"),
        ([rat("EEEEEE"), (tag(0xBF2D), profile_list((OTHER, 0)))], "first operational profile"),
    ],
)
def test_policy_rules_that_the_table_does_not_authorise_end_the_session(steps: list[Step], complaint: str) -> None:
    with pytest.raises(AgentError, match=complaint) as caught:
        use(
            [*AUTHENTICATED, *steps, *cancelled(3)],
            [signed1(), signed2(LOCKED), ok("cancelSession")],
            lambda lpa: lpa.download(CODE),
        )
    assert caught.value.code == "pprNotAllowed"


def test_policy_rules_of_an_authorised_owner_are_fine() -> None:
    segments = bpp.segments(package(LOCKED))
    loading = [*((segment, "9000") for segment in segments[:-1]), (segments[-1], answer_of(SUCCESS))]
    result, _, _ = use(
        [*AUTHENTICATED, rat("0EF1E0"), (tag(0xBF2D), profile_list()), *PREPARED, *loading],
        [signed1(), signed2(LOCKED), bound(LOCKED)],
        lambda lpa: lpa.download(CODE),
    )
    assert result.metadata.policy_rules == ("ppr1",)


# ------------------------------------------------------------------------------------------------------ profile states


@pytest.mark.parametrize(
    ("job", "function", "code", "name"),
    [
        (lambda lpa: lpa.enable(ICCID), 0xBF31, 2, "profileNotInDisabledState"),
        (lambda lpa: lpa.enable(ICCID), 0xBF31, 5, "catBusy"),
        (lambda lpa: lpa.disable(ICCID), 0xBF32, 3, "disallowedByPolicy"),
        (lambda lpa: lpa.delete(ICCID), 0xBF33, 1, "iccidOrAidNotFound"),
        (lambda lpa: lpa.nickname(ICCID, "x"), 0xBF29, 1, "iccidNotFound"),
        (lambda lpa: lpa.memory_reset(operational=True), 0xBF34, 1, "nothingToDelete"),
        (lambda lpa: lpa.set_default_address("a.b"), 0xBF3F, 127, "undefinedError"),
        (lambda lpa: lpa.delete(ICCID), 0xBF33, 99, "unknown result 99"),
    ],
)
def test_result_codes_have_names(job: Callable[[Lpa], Awaitable[None]], function: int, code: int, name: str) -> None:
    answer = tlv.encode(function, tlv.encode(0x80, bytes((code,))))
    with pytest.raises(AgentError) as caught:
        use([(tag(function), answer_of(answer))], [], job)
    assert caught.value.code == name


CRL = bytes.fromhex("3003020101")


def test_a_crl_goes_to_the_euicc_as_it_is_and_missing_parts_come_back() -> None:
    missing = tlv.encode(0xBF35, tlv.encode(0xA0, tlv.encode(0xA0, b"\x02\x01\x02", b"\x02\x02\x01\x00")))
    for answer, parts in ((bytes.fromhex("BF3502A000"), ()), (missing, (2, 256))):
        found, link, _ = use([(tag(0xBF35), answer_of(answer))], [], lambda lpa: lpa.load_crl(CRL))
        assert found == parts
        assert link.requests == [tlv.encode(0xBF35, CRL)]


@pytest.mark.parametrize(("code", "name"), es10.FUNCTIONS[0xBF35].results.items())
def test_each_result_of_load_crl_has_its_name(code: int, name: str) -> None:
    with pytest.raises(AgentError) as caught:
        use([(tag(0xBF35), f"BF35038101{code:02X}9000")], [], lambda lpa: lpa.load_crl(CRL))
    assert caught.value.code == name


def test_a_deletion_that_failed_is_looked_into() -> None:
    use([(tag(0xBF33), "6F00"), (tag(0xBF2D), profile_list((OTHER, 1)))], [], lambda lpa: lpa.delete(ICCID))
    with pytest.raises(CardStatusError):
        use([(tag(0xBF33), "6F00"), (tag(0xBF2D), profile_list((ICCID, 0)))], [], lambda lpa: lpa.delete(ICCID))


def test_a_protected_slot_deletes_what_it_downloaded_and_nothing_else() -> None:
    async def job(lpa: Lpa) -> None:
        with pytest.raises(ProtectedError):
            await lpa.delete(ICCID)
        await lpa.download(CODE)
        await lpa.delete(ICCID)
        for refused in (lpa.delete(OTHER), lpa.delete(AID), lpa.memory_reset(operational=True)):
            with pytest.raises(ProtectedError):
                await refused

    use(
        [*AUTHENTICATED, *PREPARED, *TAKEN, (LAST, answer_of(SUCCESS)), (tag(0xBF33), "BF33038001009000")],
        [signed1(), signed2(), bound()],
        job,
        protect=True,
    )


def test_malformed_answers_are_the_cards_fault() -> None:
    for job in (Lpa.eid, Lpa.info, Lpa.profiles, Lpa.addresses, Lpa.authorisation_table):
        with pytest.raises(ProtocolError, match="malformed answer of the eUICC"):
            use([(b"\xbf", "BF2D03A0059000")], [], job)


# -------------------------------------------------------------------------------------------------------- notifications


def notification(seq: int, address: str = ADDRESS, event: str = "0640") -> bytes:
    metadata = tlv.encode(
        0xBF2F,
        tlv.encode(0x80, bytes((seq,))),
        tlv.encode(0x81, bytes.fromhex(event)),
        tlv.encode(0x0C, address.encode()),
    )
    return tlv.encode(0x30, metadata, SIGNATURE, b"\x30\x00", b"\x30\x00")


def test_notifications_are_delivered_in_order_and_removed_when_acknowledged() -> None:
    result, _, server = use(
        [
            (es10.list_notifications(), listed(7, 3)),
            (es10.retrieve_notifications(3), retrieved(notification(3))),
            (es10.remove_notification(3), "BF30038001009000"),
            (es10.retrieve_notifications(7), retrieved(SUCCESS)),
            (es10.remove_notification(1), "BF30038001019000"),
        ],
        [acknowledged(), acknowledged(200)],
        lambda lpa: lpa.deliver_notifications(),
    )
    assert [one.operation for one in result] == ["enable", "install"]
    assert base64.b64decode(server.bodies[0]["pendingNotification"]) == notification(3)
    assert base64.b64decode(server.bodies[1]["pendingNotification"]) == SUCCESS


def test_what_is_not_acknowledged_stays_and_so_does_all_that_follows_it() -> None:
    with pytest.raises(TransportError, match="expected HTTP 204, found 503"):
        use(
            [(es10.list_notifications(), listed(3, 4)), (es10.retrieve_notifications(3), retrieved(notification(3)))],
            [acknowledged(503)],
            lambda lpa: lpa.deliver_notifications(),
        )


def test_a_card_that_refuses_the_list_still_gives_the_notifications() -> None:
    result, _, _ = use(
        [(es10.list_notifications(), "6A88"), (es10.retrieve_notifications(), retrieved(notification(9), SUCCESS))],
        [],
        lambda lpa: lpa.notifications(),
    )
    assert [one.seq for one in result] == [1, 9]
