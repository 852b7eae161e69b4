"""A small IoT eUICC with its IPA for the eIM: it executes, signs, stores and answers as SGP.32 says."""

import asyncio
import base64
import json
from types import SimpleNamespace

import pytest

from esim_bench.clock import VIRTUAL_EPOCH_NS
from esim_bench.codec import esipa, euicc_package, tlv
from esim_bench.codec.eim_configuration import EimIdInfo
from esim_bench.codec.esipa_objects import PackageResult, acknowledged
from esim_bench.codec.euicc_operations import Delete, Disable, Enable, ListEim, ListProfileInfo, UpdateEim
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.ipa_data import IpaEuiccData, IpaEuiccDataRequest
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto import ecdsa
from esim_bench.crypto.certificates import Certificate
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import CryptoError, TransportError
from esim_bench.ports import HttpResponse
from esim_bench.servers import asgi
from esim_bench.servers.eim import Eim, EimCredentials, SqliteEimStore
from esim_bench.servers.pki import create_pki, make_eid

FIRST = bytes.fromhex("98001032547698103214")
SECOND = bytes.fromhex("98001032547698103224")
URL = "https://testeim1.example.com"
ASN1 = {"content-type": "application/x-gsma-rsp-asn1", "x-admin-protocol": "gsma/rsp/v2.1.0"}
JSON = {"content-type": "application/json;charset=UTF-8", "x-admin-protocol": "gsma/rsp/v2.1.0"}
NOTIFICATION_ADDRESS = "testsmdpplus1.example.com"


def t(tag, *values):
    return tlv.encode(tag, *values)


class Euicc:
    """An eUICC of the testeim1; ``profiles``: ICCID -> state, 1 is enabled."""

    def __init__(self, identity, credentials, version=Version.V1_2):
        self.identity = identity
        self.eid = identity.eid
        self.key = identity.signing[0].private_key
        self.certificates = (identity.signing[0].euicc_certificate, identity.signing[0].eum_certificate)
        self.eim_id = credentials.eim_id
        self.eim_key = credentials.signing_key.public_key()
        self.version = version
        self.token = 200
        self.counter = 1
        self.seq = 0
        self.profiles = {FIRST: 1, SECOND: 0}
        self.stored = {}
        self.executed = []
        self.before = None

    def sign(self, data):
        return ecdsa.sign(self.key, data, deterministic=True)

    def load(self, raw):
        """LoadEuiccPackage: BF51 in, BF51 out; the checks in the standard's order."""
        request = euicc_package.EuiccPackageRequest.parse(raw, self.version)
        try:
            signed = euicc_package.to_be_signed(request.signed_raw, self.token)
            if request.eim_id != self.eim_id:
                raise CryptoError("another eIM")
            ecdsa.verify(self.eim_key, request.signature, signed)
        except CryptoError:
            transaction = request.transaction_id if self.version >= Version.V1_2 else None
            return euicc_package.unsigned_error(self.eim_id, transaction, self.token, version=self.version)
        if request.eid != self.eid:
            return self.error(request, 3)
        if request.counter <= self.counter:
            return self.error(request, 4)
        self.counter = request.counter
        results = []
        for operation in request.operations:
            self.executed.append(operation)
            results.append(self.execute(operation))
            if not results[-1].done:
                break
        return self.result(request.counter, request.transaction_id, results)

    def result(self, counter, transaction, results, seq=None):
        self.seq = self.seq + 1 if seq is None else seq
        signed = euicc_package.result_signed(self.eim_id, counter, self.seq, results, transaction, self.version)
        raw = euicc_package.signed_result(signed, self.sign(euicc_package.to_be_signed(signed, self.token)))
        self.stored[self.seq] = raw
        return raw

    def error(self, request, code):
        signed = euicc_package.error_signed(self.eim_id, request.counter, code, request.transaction_id, self.version)
        return euicc_package.signed_error(signed, self.sign(euicc_package.to_be_signed(signed, self.token)))

    def execute(self, operation):
        match operation:
            case Enable():
                if operation.iccid not in self.profiles:
                    return OperationResult("enable", 1)
                if self.profiles[operation.iccid]:
                    return OperationResult("enable", 2)
                self.before = next((iccid for iccid, state in self.profiles.items() if state), None)
                self.profiles = dict.fromkeys(self.profiles, 0) | {operation.iccid: 1}
            case Disable():
                self.profiles[operation.iccid] = 0
            case Delete():
                if self.profiles.pop(operation.iccid, None) is None:
                    return OperationResult("delete", 1)
            case ListProfileInfo():
                entries = [t(0xE3, t(0x5A, i), t(0x9F70, bytes((s,)))) for i, s in self.profiles.items()]
                return OperationResult("listProfileInfo", content=b"".join(entries))
            case ListEim():
                return OperationResult("listEim", eims=(EimIdInfo(self.eim_id, 2),))
            case UpdateEim() if operation.configuration.public_key is not None:
                # The eUICC takes the key out of a SubjectPublicKeyInfo.
                from cryptography.hazmat.primitives.serialization import load_der_public_key

                self.eim_key = load_der_public_key(operation.configuration.public_key.der)
        return OperationResult(operation.NAME)

    def notification(self, bit, iccid, address=NOTIFICATION_ADDRESS):
        """An OtherSignedNotification; ``bit``: 0x40 enable, 0x20 disable, 0x10 delete."""
        self.seq += 1
        seq = self.seq.to_bytes(self.seq.bit_length() // 8 + 1, "big")
        data = t(0xBF2F, t(0x80, seq), t(0x81, b"\x04", bytes((bit,))), t(0x0C, address.encode()), t(0x5A, iccid))
        return t(0x30, data, t(0x5F37, self.sign(data)), *self.certificates)

    def installation(self, iccid, *, ok=True, transaction=b"\x01" * 16, key=None):
        """A ProfileInstallationResult."""
        self.seq += 1
        metadata = t(
            0xBF2F,
            t(0x80, bytes((self.seq,))),
            t(0x81, b"\x07\x80"),
            t(0x0C, NOTIFICATION_ADDRESS.encode()),
            t(0x5A, iccid),
        )
        good = t(0xA0, t(0x4F, bytes.fromhex("A0000005591010FFFFFFFF8900001000")), t(0x04, b"\x30\x00"))
        final = good if ok else t(0xA1, t(0x80, b"\x05"), t(0x81, b"\x0c"))
        data = t(0xBF27, t(0x80, transaction), metadata, t(0x06, bytes.fromhex("88370A")), t(0xA2, final))
        signature = ecdsa.sign(key or self.key, data, deterministic=True)
        return t(0xBF37, data, t(0x5F37, signature))

    def data(self, request):
        """IpaEuiccDataResponse."""
        wanted = IpaEuiccDataRequest.parse(request)
        old = self.version < Version.V1_2
        results = 0xA2 in wanted.tags or (wanted.notifications and wanted.notifications.package_results)
        return IpaEuiccData(
            eum_certificate=self.certificates[1] if 0xA5 in wanted.tags else None,
            euicc_certificate=self.certificates[0] if 0xA6 in wanted.tags else None,
            package_results=tuple(self.stored.values()) if results else None,
            default_smdp_address="dp.example.com" if 0x81 in wanted.tags else None,
            transaction_id=None if old else wanted.transaction_id,
        ).encode(self.version)


class Ipa:
    """Talks to an eIM by either binding: fields in, fields out."""

    def __init__(self, bench, euicc, binding="asn1"):
        self.bench = bench
        self.euicc = euicc
        self.binding = binding

    def call(self, function, **fields):
        return self.bench.call(function, fields, self.binding, self.euicc.version)

    def get(self, **more):
        return self.call("getEimPackage", eidValue=self.euicc.eid, **more)

    def provide(self, result, *, eid=True):
        named = {"eidValue": self.euicc.eid} if eid and self.euicc.version >= Version.V1_2 else {}
        return self.call("provideEimPackageResult", **named, eimPackageResult=result)

    def answer(self, fields):
        """Return the result of what the eIM gave; None for a trigger."""
        if "euiccPackageRequest" in fields:
            return self.euicc.load(fields["euiccPackageRequest"])
        if "ipaEuiccDataRequest" in fields:
            return self.euicc.data(fields["ipaEuiccDataRequest"])
        return None

    def poll(self, most=20):
        """Fetch, execute, answer, remove what is acknowledged, until there is nothing; the kinds that were fetched."""
        kinds = []
        for _ in range(most):
            fields = self.get()
            if "eimPackageError" in fields:
                assert fields["eimPackageError"] == 1
                return kinds
            kinds += fields
            taken = self.provide(self.answer(fields))
            for seq in acknowledged(taken.get("eimAcknowledgements", b"\xbf\x53\x00")):
                self.euicc.stored.pop(seq, None)
        raise AssertionError("the eIM never comes to an end")


class Servers:
    """The bearer of an eIM: keeps what arrives, or is down."""

    def __init__(self):
        self.arrived = []
        self.down = False

    async def post(self, url, headers, body, timeout=None):
        if self.down:
            raise TransportError("no way to the server")
        self.arrived.append((url, base64.b64decode(json.loads(body)["pendingNotification"])))
        return HttpResponse(204, {}, b"")


class Bench:
    """An eIM over a store that outlives it, and what is around it. Time stands until ``wait``."""

    def __init__(self, pki, path=":memory:", version=Version.V1_2, **options):
        self.pki = pki
        self.store = SqliteEimStore(path)
        self.path = path
        self.version = version
        self.now = VIRTUAL_EPOCH_NS
        self.servers = Servers()
        self.options = {"bearer": self.servers, "check_dates": False, **options}
        key = generate(Curve.P256, SeededRandomness("eim key"))
        self.credentials = EimCredentials("testeim1", "testeim1.example.com", key)
        self.restart()

    def restart(self):
        """A crash: nothing is left but the file."""
        if self.path != ":memory:":
            self.store.close()
            self.store = SqliteEimStore(self.path)
        self.eim = Eim(
            self.credentials,
            self.store,
            SeededRandomness("eim"),
            lambda: self.now,
            trusted_cis=[self.pki.ci_key],
            version=self.version,
            **self.options,
        )

    def wait(self, seconds):
        self.now += seconds * 1_000_000_000

    def post(self, path, headers, body):
        return asyncio.run(asgi.call(self.eim.app, "POST", URL + path, headers, body))

    def call(self, function, fields, binding="asn1", version=None):
        from esim_bench.codec import esipa_json

        version = version or self.version
        if binding == "asn1":
            response = self.post(esipa.PATH, ASN1, esipa.encode_request(function, fields, version))
            decode = esipa.decode_response
        else:
            body = esipa_json.encode_request(function, fields, version)
            response = self.post(esipa_json.path(function), JSON, body)
            decode = esipa_json.decode_response
        if function == "handleNotification":
            assert (response.status, response.body) == (204, b"")
            return {}
        assert response.status == 200, response.body
        return decode(function, response.body, version)

    def euicc(self, number=1, *, known=True, associated=True):
        """An eUICC in the inventory; ``known``: with its certificates."""
        identity = self.pki.issue_euicc(make_eid(number), SeededRandomness("euicc"))
        euicc = Euicc(identity, self.credentials, self.version)
        self.eim.add_device(euicc.eid, certificates=euicc.certificates if known else None)
        if associated:
            self.eim.configuration(euicc.eid)
            self.eim.associated(euicc.eid, euicc.token)
        return euicc

    def ipa(self, euicc=None, binding="asn1"):
        return Ipa(self, euicc or self.euicc(), binding)


@pytest.fixture(scope="session")
def eim_pki():
    return create_pki(SeededRandomness("eim pki"), now_ns=VIRTUAL_EPOCH_NS)


@pytest.fixture
def bench(eim_pki):
    return Bench(eim_pki)


@pytest.fixture
def bench_of(eim_pki):
    return lambda *args, **options: Bench(eim_pki, *args, **options)


@pytest.fixture
def on_disk(eim_pki, tmp_path):
    return Bench(eim_pki, tmp_path / "eim.db")


@pytest.fixture
def shapes():
    """What tests build objects from, since test files import nothing of each other."""
    return SimpleNamespace(
        t=t,
        FIRST=FIRST,
        SECOND=SECOND,
        ASN1=ASN1,
        JSON=JSON,
        ADDRESS=NOTIFICATION_ADDRESS,
        PackageResult=PackageResult,
        Certificate=Certificate,
    )
