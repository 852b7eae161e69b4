"""The eIM's relay between an IPA and an SM-DP+: a real download of a simulated eUICC passes through it."""

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from esim_bench.codec import bpp, compact, es10, tlv
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.apdu import Command
from esim_bench.codec.download_trigger import ProfileDownloadTrigger, ProfileDownloadTriggerResult
from esim_bench.codec.esipa import EsipaError
from esim_bench.codec.ipa_data import IpaCapabilities, IpaEuiccData, IpaEuiccDataRequest
from esim_bench.codec.metadata import Metadata
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import CodecError, TransportError
from esim_bench.events import NullSink
from esim_bench.ports import HttpResponse
from esim_bench.profile_file import read_package
from esim_bench.rack.bearer import InProcessBearer
from esim_bench.servers import eim as eim_module
from esim_bench.servers.eim.orders import DownloadOrder
from esim_bench.servers.eim.relay import Relay, RelayLimits
from esim_bench.servers.eim.store import Device, EimOrder
from esim_bench.servers.eim.view import View
from esim_bench.servers.pki import create_pki, make_eid
from esim_bench.servers.smdp import Smdp, SmdpCredentials, SqliteStore
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.personality import STANDARD

ADDRESS = "testsmdpplus1.example.com"
NOW_NS = 1_750_000_000 * 10**9
CODE = ActivationCode(ADDRESS, "RELAY")
TAC = es10.device_info(bytes.fromhex("35290611"))
GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "operational-a.der"
PKI = create_pki(SeededRandomness("relay"), now_ns=NOW_NS)


class Ipa:
    """A card and the half of an IPA that stands before the relay; it keeps all that it was answered."""

    def __init__(self, relay, order, number=1):
        self.relay, self.order = relay, order
        self.eid = make_eid(number)
        self.card = SimCard(PKI.issue_euicc(self.eid, SeededRandomness("e")), STANDARD, SeededRandomness("card"))
        self.card.power_on()
        for command in (Command(0x00, 0x70, 0, 1), Command(0x01, 0xA4, 4, 0, es10.ISD_R_AID, 256)):
            self.apdu(command)

    def apdu(self, command):
        answer, _ = self.card.transmit(bytes(command))
        data, sw = answer[:-2], answer[-2:]
        while sw[0] == 0x61:
            answer, _ = self.card.transmit(bytes(Command(command.cla & 0x0F, 0xC0, 0, 0, le=sw[1] or 256)))
            data, sw = data + answer[:-2], answer[-2:]
        assert sw[0] in (0x90, 0x91), (command, sw.hex())
        return data

    def es10(self, request):
        for number, at in enumerate(range(0, len(request), 255)):
            last = at + 255 >= len(request)
            data = self.apdu(
                Command(0x81, 0xE2, 0x91 if last else 0x11, number, request[at : at + 255], 256 if last else None)
            )
        return data

    def ask(self, function, **fields):
        first = function == "initiateAuthentication"
        eid, order = (self.eid, self.order) if first else (None, None)
        return asyncio.run(self.relay.handle(function, fields, eid=eid, session=order))

    def initiate(self, **more):
        challenge = es10.challenge(self.es10(es10.get_euicc_challenge()))
        fields = {"euiccChallenge": challenge, "euiccInfo1": self.es10(es10.get_euicc_info1()), **more}
        return self.ask("initiateAuthentication", **{name: one for name, one in fields.items() if one is not None})

    def authenticate(self, first, matching_id=CODE.matching_id):
        names = ("serverSigned1", "serverSignature1", "euiccCiPKIdToBeUsed", "serverCertificate")
        context = first.get("ctxParams1") or es10.ctx_params1(first.get("matchingId", matching_id), TAC)
        self.transaction = tlv.parse(first["serverSigned1"]).get(0x80).value
        return self.es10(es10.authenticate_server(*(first[name] for name in names), context))

    def second(self, response):
        return self.ask("authenticateClient", transactionId=self.transaction, authenticateServerResponse=response)

    def prepare(self, second):
        return self.es10(
            es10.prepare_download(*(second[n] for n in ("smdpSigned2", "smdpSignature2", "smdpCertificate")))
        )

    def third(self, response):
        return self.ask("getBoundProfilePackage", transactionId=self.transaction, prepareDownloadResponse=response)

    def install(self, third):
        for segment in bpp.segments(third["boundProfilePackage"]):
            result = self.es10(segment)
        return result

    def download(self, **more):
        first = self.initiate(**more)
        second = self.second(self.authenticate(first))
        third = self.third(self.prepare(second))
        return (first, second, third), self.install(third)

    def notify(self, notification):
        return self.ask("handleNotification", pendingNotification=notification)


class Setting:
    """An SM-DP+, the relay before it, and a clock to turn."""

    def __init__(self, **options):
        self.now_ns = NOW_NS
        self.devices = {}
        self.smdp = Smdp(
            SmdpCredentials.from_pki(PKI),
            SqliteStore(":memory:"),
            SeededRandomness("s"),
            [ADDRESS],
            lambda: self.now_ns,
        )
        package = read_package(GOLDEN, deep=True)
        metadata = Metadata(iccid=package.iccid, service_provider="a", profile_name="b", profile_class="operational")
        self.smdp.release(package.raw, metadata.encode(), CODE.matching_id, test_order=True)
        bearer = InProcessBearer({ADDRESS: self.smdp.app}, NullSink(), latency=0)
        binding = options.pop("binding", "json")
        self.relay = Relay(bearer, binding, device=self.devices.get, now_ns=lambda: self.now_ns, **options)

    def order(self, held=False, activation_code=str(CODE), number=1, **source):
        wanted = DownloadOrder(None if source else activation_code, held=held, **source)
        return EimOrder(1, make_eid(number), "download", wanted.encode(0x010200))

    def ipa(self, *features, number=1, order=None, **known):
        ipa = Ipa(self.relay, order or self.order(number=number), number)
        view = View(features=features, **known)
        self.devices[ipa.eid] = replace(Device(ipa.eid), view=view)
        return ipa


@pytest.fixture
def setting():
    return Setting()


def refusal(function, *arguments, **fields):
    with pytest.raises(EsipaError) as caught:
        function(*arguments, **fields)
    return caught.value.number


# --------------------------------------------------------------------------------------------------------- downloads


@pytest.mark.parametrize("binding", ["json", "asn1"])
def test_a_download_by_the_address_that_the_ipa_names(binding):
    setting = Setting(binding=binding)
    ipa = setting.ipa()
    (first, second, third), result = ipa.download(smdpAddress=ADDRESS)
    assert set(first) == {
        "transactionId", "serverSigned1", "serverSignature1", "euiccCiPKIdToBeUsed", "serverCertificate",
    }  # fmt: skip
    assert set(second) >= {"transactionId", "profileMetadata"}
    assert set(third) == {"transactionId", "boundProfilePackage"}
    # The result belongs to a session: it is the eIM's to forward, as the eUICC signed it.
    assert ipa.notify(result) == {"pendingNotification": result, "eidValue": ipa.eid}
    # Once more, because the IPA did not hear the answer.
    assert ipa.notify(result)["pendingNotification"] == result


def test_the_eim_holds_the_activation_code(setting):
    ipa = setting.ipa("eimDownloadDataHandling", order=setting.order(held=True))
    first = ipa.initiate()
    assert first["matchingId"] == CODE.matching_id
    assert "ctxParams1" not in first
    assert ipa.second(ipa.authenticate(first, matching_id=None))["smdpSigned2"]


def test_the_eim_makes_ctx_params1_where_the_ipa_cannot(setting):
    order = setting.order(held=True)
    ipa = setting.ipa("eimDownloadDataHandling", "eimCtxParams1Generation", order=order, device_info=TAC)
    first = ipa.initiate()
    assert first["ctxParams1"] == es10.ctx_params1(CODE.matching_id, TAC)
    assert "matchingId" not in first
    assert ipa.second(ipa.authenticate(first))["smdpSigned2"]


def test_an_ipa_that_has_the_code_is_not_told_again(setting):
    first = setting.ipa("directRsp", "indirectRsp").initiate(smdpAddress=ADDRESS)
    assert not {"matchingId", "ctxParams1"} & set(first)


def test_the_address_comes_from_the_ipa_where_the_order_has_none(setting):
    ipa = setting.ipa(order=setting.order(default_smdp=True))
    assert refusal(ipa.initiate) == 1
    assert refusal(ipa.initiate, smdpAddress="a b/../c") == 1
    assert ipa.initiate(smdpAddress=ADDRESS)["serverSigned1"]


def compacted(ipa, response):
    """The shortest form of an answer of the eUICC."""
    ok = tlv.parse(response).get(0xA0)
    signed, signature = ok.children()[0], ok.get(0x5F37).value
    if response.startswith(b"\xbf\x38"):
        resource = signed.get(0xBF22, 0x84).value
        return compact.AuthenticateResponse(signature, ext_card_resource=resource).encode()
    if response.startswith(b"\xbf\x21"):
        return compact.DownloadResponse(signature, signed.get(0x5F49).value).encode()
    return compact.CancelResponse(signature, signed.get(0x82).integer()).encode()


def test_short_forms_become_what_the_eUICC_signed(setting):
    features = ("eimDownloadDataHandling", "eimCtxParams1Generation", "minimizeEsipaBytes")
    ipa = setting.ipa(*features, "eimProfileMetadataVerification", order=setting.order(held=True))
    identity = ipa.card.identity.signing[0]
    known = setting.devices[ipa.eid]
    view = replace(
        known.view,
        device_info=TAC,
        euicc_info1=ipa.es10(es10.get_euicc_info1()),
        euicc_info2=ipa.es10(es10.get_euicc_info2()),
    )
    certificates = {"euicc_certificate": identity.euicc_certificate, "eum_certificate": identity.eum_certificate}
    setting.devices[ipa.eid] = replace(known, view=view, **certificates)

    first = ipa.initiate(euiccInfo1=None)
    assert "transactionId" not in first
    second = ipa.second(compacted(ipa, ipa.authenticate(first)))
    assert not {"transactionId", "profileMetadata"} & set(second)
    third = ipa.third(compacted(ipa, ipa.prepare(second)))
    assert set(third) == {"boundProfilePackage"}
    result = ipa.install(third)
    data = tlv.parse(result).get(0xBF27)
    aid = data.get(0xA2, 0xA0, 0x4F).value
    sima = data.get(0xA2, 0xA0, 0x04).value
    short = compact.InstallResult(
        tlv.parse(result).get(0x5F37).value,
        ipa.transaction,
        data.get(0xBF2F, 0x80).integer(),
        compact_aid=aid[13:15],
        sima_response=None if sima == compact.SIMA_SUCCESS else sima,
    )
    assert ipa.notify(short.encode())["pendingNotification"] == result


def test_what_the_eim_does_not_know_it_cannot_fill_in(setting):
    ipa = setting.ipa("minimizeEsipaBytes")
    first = ipa.initiate(smdpAddress=ADDRESS)
    assert refusal(ipa.second, compacted(ipa, ipa.authenticate(first))) == 127
    assert refusal(ipa.initiate, smdpAddress=ADDRESS, euiccInfo1=None) == 127


@pytest.mark.parametrize("short", [False, True])
def test_a_session_is_cancelled_at_the_smdp_and_over_here(setting, short):
    ipa = setting.ipa()
    second = ipa.second(ipa.authenticate(ipa.initiate(smdpAddress=ADDRESS)))
    answer = ipa.es10(es10.cancel_session(ipa.transaction, 1))
    answer = compacted(ipa, answer) if short else answer
    assert ipa.ask("cancelSession", transactionId=ipa.transaction, cancelSessionResponse=answer) == {}
    assert len(setting.relay) == 0
    assert second["smdpSigned2"]
    with pytest.raises(EsipaError) as caught:
        ipa.ask("cancelSession", transactionId=ipa.transaction, cancelSessionResponse=answer)
    assert caught.value.name == "invalidTransactionId"


# ---------------------------------------------------------------------------------------------------------- refusals


def test_the_eim_speaks_to_nobody_without_an_order(setting):
    ipa = setting.ipa()
    ipa.order = None
    assert refusal(ipa.initiate, smdpAddress=ADDRESS) == 1
    assert refusal(ipa.initiate, smdpAddress=ADDRESS, eimTransactionId=b"\x01") == 52


def test_another_address_than_ordered(setting):
    assert refusal(setting.ipa().initiate, smdpAddress="elsewhere.example.com") == 50


def test_another_oid_than_ordered(setting):
    code = str(replace(CODE, smdp_oid="2.999.11"))
    assert refusal(setting.ipa(order=setting.order(activation_code=code)).initiate) == 51
    code = str(replace(CODE, smdp_oid="2.999.10"))
    assert setting.ipa(order=setting.order(activation_code=code)).initiate()["serverSigned1"]


def test_another_euicc_than_ordered(setting):
    ipa = setting.ipa(order=setting.order(number=2))
    ipa.eid = make_eid(2)
    assert refusal(ipa.second, ipa.authenticate(ipa.initiate())) == 7


@pytest.mark.parametrize("binding", ["json", "asn1"])
def test_what_the_smdp_refuses_has_its_number_in_esipa(binding):
    setting = Setting(binding=binding)
    ipa = setting.ipa()
    with pytest.raises(EsipaError) as caught:
        ipa.second(ipa.authenticate(ipa.initiate(), matching_id="WRONG"))
    error = caught.value
    assert (error.number, error.subject, error.reason) == (6, "8.2.6", "3.8")


def test_unknown_transactions(setting):
    ipa = setting.ipa()
    ipa.transaction = b"\x01"
    assert refusal(ipa.second, b"") == 10
    assert refusal(ipa.third, b"") == 95
    assert refusal(ipa.ask, "cancelSession", transactionId=b"\x01", cancelSessionResponse=b"") == 1


def test_a_result_of_no_session_is_not_forwarded(setting):
    ipa, other = setting.ipa(), Setting()
    _, result = ipa.download()
    assert Ipa(other.relay, None).notify(result) == {}
    # Nor one whose package the eIM has not passed on.
    ipa = setting.ipa(number=2)
    ipa.authenticate(ipa.initiate())
    forged = result.replace(tlv.parse(result).get(0xBF27, 0x80).value, ipa.transaction)
    assert ipa.notify(forged) == {}
    with pytest.raises(CodecError):
        ipa.notify(b"\x30\x00")


def test_sessions_end(setting):
    limits = RelayLimits()
    ipa = setting.ipa()
    response = ipa.authenticate(ipa.initiate())
    setting.now_ns += limits.lifetime_ns
    assert refusal(ipa.second, response) == 10
    # A result may take longer, but not for ever.
    _, result = ipa.download()
    setting.now_ns += limits.lifetime_ns
    assert ipa.notify(result)
    setting.now_ns += limits.result_ns
    assert ipa.notify(result) == {}


def test_no_more_sessions_than_the_limit():
    setting = Setting(limits=RelayLimits(sessions=2))
    first = setting.ipa(number=1)
    _, result = first.download()
    second, third = setting.ipa(number=2), setting.ipa(number=3)
    response = second.authenticate(second.initiate())
    third.initiate()
    assert len(setting.relay) == 2
    assert refusal(second.second, response) == 10
    # One with a package stays longest, and a new try of an eUICC takes the place of its last one.
    third.initiate()
    assert first.notify(result)
    assert len(setting.relay) == 2


class Broken:
    """A bearer without a server behind it, or with a mad one."""

    def __init__(self, answer=None):
        self.answer = answer

    async def post(self, url, headers, body, timeout=None):
        if self.answer is None:
            raise TransportError("no way")
        return HttpResponse(200, {}, self.answer)


@pytest.mark.parametrize("answer", [None, b"", b"{}", b"no json", b'{"transactionId": "01"}'])
def test_a_server_that_is_away_or_mad_is_an_error_of_the_function(setting, answer):
    ipa = setting.ipa()
    ipa.relay = Relay(Broken(answer))
    assert refusal(ipa.initiate) == 127
    assert len(ipa.relay) == 0


def test_a_server_cannot_take_over_anothers_session(setting):
    answers = []

    class Replaying:
        async def post(self, url, headers, body, timeout=None):
            if not answers:
                bearer = InProcessBearer({ADDRESS: setting.smdp.app}, NullSink(), latency=0)
                answers.append(await bearer.post(url, headers, body, timeout))
            return answers[0]

    ipa = setting.ipa()
    ipa.relay = Relay(Replaying())
    challenge = hashlib.sha256(b"c").digest()[:16]
    assert ipa.initiate(euiccChallenge=challenge)["serverSigned1"]
    assert refusal(ipa.initiate, euiccChallenge=challenge) == 127
    # Nor answer with what it signed for another challenge.
    assert refusal(ipa.initiate) == 127


# ---------------------------------------------------------------------------------------------------- with a whole eIM


def test_an_order_of_the_eim_becomes_a_profile_and_its_result_gets_to_the_smdp(setting):
    bearer = InProcessBearer({ADDRESS: setting.smdp.app}, NullSink(), latency=0)
    store = eim_module.SqliteEimStore(":memory:")
    credentials = eim_module.EimCredentials("testeim1.example.com", "testeim1.example.com", PKI.eim.key)
    relay = Relay(bearer, device=store.find_device, now_ns=lambda: NOW_NS)
    options = {"trusted_cis": [PKI.ci_key], "relay": relay, "bearer": bearer}
    eim = eim_module.Eim(credentials, store, SeededRandomness("eim"), lambda: NOW_NS, **options)

    def ask(function, **fields):
        return asyncio.run(eim.handle(function, fields))

    ipa = Ipa(relay, None)
    ipa.ask = ask
    eim.add_device(ipa.eid, indirect=True)
    order = eim.order(ipa.eid, DownloadOrder(str(CODE), held=True))

    asked = IpaEuiccDataRequest.parse(ask("getEimPackage", eidValue=ipa.eid)["ipaEuiccDataRequest"])
    identity = ipa.card.identity.signing[0]
    data = IpaEuiccData(
        euicc_info1=ipa.es10(es10.get_euicc_info1()),
        euicc_info2=ipa.es10(es10.get_euicc_info2()),
        euicc_certificate=identity.euicc_certificate,
        eum_certificate=identity.eum_certificate,
        transaction_id=asked.transaction_id,
        capabilities=IpaCapabilities(("indirectRspServerCommunication", "eimDownloadDataHandling")),
        device_info=TAC,
    )
    ask("provideEimPackageResult", eidValue=ipa.eid, eimPackageResult=data.encode())
    trigger = ProfileDownloadTrigger.parse(ask("getEimPackage", eidValue=ipa.eid)["profileDownloadTriggerRequest"])
    assert trigger.activation_code is None

    _, result = ipa.download(eimTransactionId=trigger.transaction_id)
    told = ProfileDownloadTriggerResult(trigger.transaction_id, install_result=result)
    ask("provideEimPackageResult", eidValue=ipa.eid, eimPackageResult=told.encode())
    assert (eim.find_order(order.id).state.value, eim.find_order(order.id).outcome) == ("done", "ok")
    assert [profile.state for profile in eim.view(ipa.eid).profiles] == ["disabled"]
    assert asyncio.run(eim.deliver()) == 1
    assert [one.raw for one in setting.smdp.store.notifications()] == [result]
