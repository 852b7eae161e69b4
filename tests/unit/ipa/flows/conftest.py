"""eIMs of a queue each, an SM-DP+ that installs, and the device between them and the eUICC."""

import base64
import json
from types import SimpleNamespace

import pytest

from esim_bench import clock
from esim_bench.agents.ipa import Ipa, IpaSettings
from esim_bench.agents.lpa import Lpa
from esim_bench.codec import es10, esipa, esipa_json, euicc_package, tlv
from esim_bench.codec.download_trigger import ProfileDownloadTrigger
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.esipa_objects import PackageResult, acknowledgements, parse_package_result
from esim_bench.codec.euicc_package import SignedError, SignedResult, parse_result
from esim_bench.codec.ipa_data import IpaEuiccDataRequest
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.schema import RSP
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import DeviceTimeout, TransportError
from esim_bench.ports import HttpResponse

EID = bytes.fromhex("89049032123451234512345678901235")
NEW = bytes.fromhex("98001032547698103234")
DEVICE = es10.device_info(bytes.fromhex("35290611"), form_factor_type=0)
SMDP = "dp.example.com"
SIGNATURE = bytes(range(64))
CERTIFICATE = bytes.fromhex("300A" + "3003020101" + "3000" + "030100")
CI = bytes(range(20))


def t(tag, *values):
    return tlv.encode(tag, *values)


# ------------------------------------------------------------------------------------------------------- SM-DP+


METADATA = Metadata(NEW, "Bench", "Profile").encode()


def bound_package():
    mac = bytes(8)
    crt = t(0xA6, t(0x80, b"\x88"), t(0x81, b"\x10"), t(0x84, b"host"))
    channel = t(0xBF23, t(0x82, b"\x01"), t(0x80, b"\x01" * 16), crt, t(0x5F49, bytes(65)), t(0x5F37, SIGNATURE))
    return t(
        0xBF36,
        channel,
        t(0xA0, t(0x87, bytes(24))),
        t(0xA1, t(0x88, METADATA, mac)),
        t(0xA3, t(0x86, bytes(24)), t(0x86, bytes(24))),
    )


class Sessions:
    """What an SM-DP+ says, as fields of ES9+; an eIM that relays says the same."""

    def __init__(self, cc=False):
        self.number = 0
        self.cc = cc
        self.notified = []
        self.functions = []
        self.refuse = {}
        self.address = SMDP

    def answer(self, function, fields):
        self.functions.append(function)
        match function:
            case "initiateAuthentication":
                self.number += 1
                self.transaction = bytes((self.number,)) * 16
                signed = RSP.encode(
                    "ServerSigned1",
                    {
                        "transactionId": self.transaction,
                        "euiccChallenge": fields["euiccChallenge"],
                        "serverAddress": self.address,
                        "serverChallenge": bytes(16),
                    },
                )
                return {
                    "transactionId": self.transaction,
                    "serverSigned1": signed,
                    "serverSignature1": t(0x5F37, SIGNATURE),
                    "euiccCiPKIdToBeUsed": t(0x04, CI),
                    "serverCertificate": CERTIFICATE,
                }
            case "authenticateClient":
                flag = b"\xff" if self.cc else b"\x00"
                return {
                    "transactionId": self.transaction,
                    "profileMetadata": METADATA,
                    "smdpSigned2": t(0x30, t(0x80, self.transaction), t(0x01, flag)),
                    "smdpSignature2": t(0x5F37, SIGNATURE),
                    "smdpCertificate": CERTIFICATE,
                }
            case "getBoundProfilePackage":
                return {"transactionId": self.transaction, "boundProfilePackage": bound_package()}
        return {}


# ------------------------------------------------------------------------------------------------------- eIM


class Eim:
    """An eIM: orders go out one by one, each until its result is there; results by their first bytes on the wire."""

    def __init__(self, eim_id="testeim1.example.com", version=Version.V1_2, binding="asn1"):
        self.eim_id = self.host = eim_id
        self.version = version
        self.binding = binding
        self.orders = []
        self.counter = 1
        self.results = []
        self.received = []
        self.notified = []
        self.requests = []
        self.acknowledges = True
        self.acknowledge_too = ()
        self.malformed = {}
        self.statuses = {}
        self.codes = {}
        self.sessions = Sessions()
        self.relayed = []
        self.refuse_compact = False
        self.edit = lambda function, answer: None
        self.fields = []

    @property
    def configuration(self):
        return EimConfigurationData(self.eim_id, fqdn=self.eim_id, id_type=2, counter=0, association_token=-1)

    def package(self, *operations, eid=EID, counter=None, eim_id=None):
        self.counter = counter or self.counter + 1
        transaction = bytes((0xA0, self.counter))
        signed = euicc_package.package_signed(
            eim_id or self.eim_id, eid, self.counter, operations, transaction, self.version
        )
        self.orders.append(
            ("euiccPackageRequest", euicc_package.package_request(signed, SIGNATURE), transaction, self.counter)
        )
        return self.counter

    def data(self, *tags, **more):
        transaction = None if self.version < Version.V1_2 else bytes((0xD0, len(self.orders)))
        request = IpaEuiccDataRequest(tags, transaction_id=transaction, **more)
        self.orders.append(("ipaEuiccDataRequest", request.encode(self.version), transaction, None))

    def trigger(self, **data):
        transaction = bytes((0xB0, len(self.orders) + len(self.received)))
        trigger = ProfileDownloadTrigger(transaction_id=transaction, **data)
        self.orders.append(("profileDownloadTriggerRequest", trigger.encode(), transaction, None))

    def raw(self, kind, raw):
        self.orders.append((kind, raw, None, None))

    def answer(self, function, fields):
        self.requests.append(function)
        self.fields.append((function, fields))
        if function in self.codes:
            raise esipa.EsipaError(function, self.codes.pop(function))
        match function:
            case "getEimPackage":
                if not self.orders:
                    return {"eimPackageError": 1}
                return {self.orders[0][0]: self.orders[0][1]}
            case "provideEimPackageResult":
                return self._take(fields["eimPackageResult"])
            case "handleNotification":
                self.notified.append(fields["pendingNotification"])
                return {}
        if self.refuse_compact and any(
            isinstance(one, bytes) and one[:1] == b"\xbf" and tlv.parse(one).children()[0].tag == 0xA2
            for one in fields.values()
        ):
            raise esipa.EsipaError(function, 127)
        self.relayed.append((function, fields))
        answer = self.sessions.answer(function, fields)
        self.edit(function, answer)
        return answer

    def _take(self, raw):
        result = parse_package_result(raw, self.version)
        self.received.append(raw)
        seqs = []
        if isinstance(result, PackageResult):
            package = parse_result(result.result)
            transaction, counter = package.transaction_id, getattr(package, "counter", None)
            if isinstance(package, SignedResult):
                seqs.append(package.seq)
            for one in result.notifications or ():
                self.notified.append(one)
                seqs.append(es10.PendingNotification.parse(tlv.parse(one)).seq)
            replayed = isinstance(package, SignedError) and package.code == 4
        else:
            transaction, counter, replayed = result.transaction_id, None, False
        done = [
            order
            for order in self.orders
            if (transaction is not None and order[2] == transaction)
            or (counter is not None and order[3] == counter)
            or (transaction is None and counter is None)
        ][:1]
        if done and not replayed:
            self.orders.remove(done[0])
            self.results.append(raw)
        seqs += list(self.acknowledge_too)
        return {"eimAcknowledgements": acknowledgements(seqs)} if seqs and self.acknowledges else {}

    async def post(self, url, headers, body, timeout=None):
        self.url, self.headers = url, headers
        codec = esipa if self.binding == "asn1" else esipa_json
        if self.binding == "asn1":
            assert url == f"https://{self.host}/gsma/rsp2/asn1"
            function, fields = esipa.decode_request(body, self.version)
        else:
            function = esipa_json.function_of(url.removeprefix(f"https://{self.host}"))
            fields = esipa_json.decode_request(function, body, self.version)
        if function in self.statuses:
            return HttpResponse(self.statuses[function].pop(0), {}, b"busy")
        try:
            answer = self.answer(function, fields)
        except esipa.EsipaError as exc:
            if self.binding == "json":
                return HttpResponse(200, {}, esipa_json.encode_failure(exc))
            return HttpResponse(200, {}, esipa.encode_error(function, exc.number, self.version))
        if function in self.malformed:
            return HttpResponse(200, {}, self.malformed.pop(function))
        if function == "handleNotification":
            return HttpResponse(204, {}, b"")
        return HttpResponse(200, {}, codec.encode_response(function, answer, self.version))


# ------------------------------------------------------------------------------------------------------- device


class Device:
    """Everything together: eUICC, flash, network, eIMs by host name, and the IPA of the process that runs now."""

    card = None

    def __init__(self, *eims, euicc=None, **settings):
        self.power = self.card.Power()
        self.eims = {eim.eim_id: eim for eim in eims or (Eim(),)}
        self.eim = next(iter(self.eims.values()))
        self.euicc = euicc or self.card.Euicc(version=self.eim.version)
        self.euicc.power = self.power
        self.flash = self.card.Flash(self.power)
        self.smdp = Sessions()
        self.no_network = set()
        self.failures = []
        self.recoveries = 0
        self.bearers = []
        self.slept = 0.0
        self.settings = IpaSettings(version=self.eim.version, binding=self.eim.binding, **settings)
        for eim in self.eims.values():
            self.euicc._add(eim.configuration)
        self.start()

    def start(self):
        """A new process: nothing but the card and the flash is as before."""
        self.euicc.reset()
        lpa = Lpa(self.euicc, self, device=DEVICE)
        self.ipa = Ipa(
            lpa,
            bearer_for=self.bearer_for,
            settings=self.settings,
            state=self.flash,
            recover=self.recover,
            connected=self.connected,
        )

    def bearer_for(self, key):
        self.bearers.append(key)
        return self

    async def recover(self):
        self.power.step()
        self.recoveries += 1
        self.euicc.reset()

    async def connected(self):
        return self.euicc.shown is not None and self.euicc.shown not in self.no_network

    async def post(self, url, headers, body, timeout=None):
        self.power.step()
        if not await self.connected():
            raise TransportError("no network")
        host = url.split("/")[2]
        if self.failures:
            failure = self.failures.pop(0)
            if failure is not None:
                if failure == "lost":
                    await self._answer(host, url, headers, body)
                raise DeviceTimeout("no answer") if failure == "silent" else TransportError("connection broke")
        answer = await self._answer(host, url, headers, body)
        self.power.step()
        return answer

    async def _answer(self, host, url, headers, body):
        if host in self.eims:
            return await self.eims[host].post(url, headers, body)
        function = url.rpartition("/")[2]
        document = json.loads(body)
        if function == "handleNotification":
            self.smdp.notified.append(base64.b64decode(document["pendingNotification"]))
            return HttpResponse(204, {}, b"")
        if function in self.smdp.refuse:
            data = dict(zip(("subjectCode", "reasonCode"), self.smdp.refuse[function], strict=True))
            header = {"functionExecutionStatus": {"status": "Failed", "statusCodeData": data}}
            return HttpResponse(200, {}, json.dumps({"header": header}).encode())
        fields = {}
        for name, value in document.items():
            fields[name] = base64.b64decode(value) if name == "euiccChallenge" else value
        answer = self.smdp.answer(function, fields)
        header = {"functionExecutionStatus": {"status": "Executed-Success"}}
        shown = {
            name: value.hex().upper() if name == "transactionId" else base64.b64encode(value).decode()
            for name, value in answer.items()
        }
        return HttpResponse(200, {}, json.dumps({"header": header, **shown}).encode())

    def run(self, job):
        async def timed():
            before = clock.now()
            try:
                return await job
            finally:
                self.slept += clock.now() - before

        return clock.run_virtual(timed())

    def poll(self, *args, **options):
        return self.run(self.ipa.poll(*args, **options))

    @property
    def journal(self):
        return self.flash.values.get(f"ipa/journal/{EID.hex()}")

    def quiet(self):
        """Nothing is left to be done, on the card, in the flash, at the eIMs."""
        return not (
            self.euicc.results
            or self.euicc.notifications
            or self.journal
            or any(eim.orders for eim in self.eims.values())
        )


def outcomes(eim):
    """What an eIM was told of each of its orders, in names."""
    from esim_bench.agents.ipa.report import describe

    return [describe(raw, eim.version) for raw in eim.results]


@pytest.fixture
def ipa_parts(ipa_card):
    """The parts, since test files import nothing of each other."""
    Device.card = ipa_card
    own = {"Device": Device, "Eim": Eim, "Sessions": Sessions, "METADATA": METADATA, "DEVICE": DEVICE}
    return SimpleNamespace(**vars(ipa_card), **own, outcomes=outcomes)
