"""A small eUICC and LPA for the SM-DP+: JSON, TLVs and BSP are done here by hand, so that a mistake of the server's own
codecs cannot cancel itself out."""

import asyncio
import base64
import hashlib
import json
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from esim_bench.clock import VIRTUAL_EPOCH_NS
from esim_bench.codec import tlv
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.servers import asgi
from esim_bench.servers.pki import create_pki, make_eid
from esim_bench.servers.smdp import Smdp, SmdpCredentials, SqliteStore

ADDRESS = "testsmdpplus1.example.com"
ICCID_TEXT = "89000123456789012341"
ICCID = bytes.fromhex("98001032547698103214")
EXECUTED = "Executed-Success"
CAPABILITIES = bytes.fromhex("70820380")
"""USIM, ISIM, CSIM, USIM test algorithm, Java Card, GET IDENTITY, profiles A and B."""
SMDP_OID = bytes.fromhex("88370A")
"""2.999.10"""
FUNCTIONS = "/gsma/rsp2/es9plus/"


def t(tag, *values):
    return tlv.encode(tag, *values)


def sign(key, data):
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
    return t(0x5F37, r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def verify(public, signature, data):
    item = tlv.parse(signature)
    assert (item.tag, len(item.value)) == (0x5F37, 64)
    r, s = int.from_bytes(item.value[:32], "big"), int.from_bytes(item.value[32:], "big")
    public.verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))


def public_of(certificate):
    return x509.load_der_x509_certificate(certificate).public_key()


def make_package(size=3000, version=(2, 3), services=(1,), iccid=ICCID_TEXT, templates=()):
    """A profile package of about ``size`` bytes that says what the SM-DP+ looks at: a header, filling, an end."""
    header = t(
        0xA0,
        t(0x80, bytes((version[0],))),
        t(0x81, bytes((version[1],))),
        t(0x82, b"test"),
        t(0x83, bytes.fromhex(iccid)),
        t(0xA5, *(t(0x80 | service, b"") for service in services)),
        t(0xA6, *(t(0x06, bytes.fromhex("678F0102") + bytes(template)) for template in templates)),
    )
    filling = t(0xA9, t(0xA0, t(0x80, b""), t(0x81, b"\x01")), t(0xA1, t(0x06, b"\x2a\x03")), t(0x81, bytes(size)))
    return header + filling + t(0xAA, t(0xA0, t(0x80, b""), t(0x81, b"\x02")))


def make_metadata(iccid=ICCID, *more):
    notifications = t(0xB6, t(0x30, t(0x80, b"\x04\xf0"), t(0x81, ADDRESS.encode())))
    members = [t(0x5A, iccid), t(0x91, b"esim-bench"), t(0x92, b"Test"), notifications, *more]
    return t(0xBF25, *sorted(members, key=lambda item: item[0] & 0x1F if item[0] != 0x5A else 0))


class Euicc:
    """Signs what an eUICC signs, and checks what it checks."""

    def __init__(self, identity, *, capabilities=CAPABILITIES, free=None, forbidden=None, version=b"\x02\x03\x01"):
        self.identity = identity
        self.eid = identity.eid
        self.key = identity.signing[0].private_key
        self.certificates = [identity.signing[0].euicc_certificate, identity.signing[0].eum_certificate]
        self.challenge = hashlib.sha256(b"challenge" + identity.eid).digest()[:16]
        self.verification = [ci.key_id for ci in identity.trusted]
        self.signing = [branch.ci_key_id for branch in identity.signing]
        self.svn = b"\x02\x05\x00"
        resources = b"" if free is None else t(0x82, free.to_bytes(4, "big"))
        self.info2 = t(
            0xBF22,
            t(0x81, version),
            t(0x82, self.svn),
            t(0x83, b"\x01\x00\x00"),
            t(0x84, resources),
            t(0x85, b"\x00" + capabilities),
            t(0x88, b"\x03\x78"),
            t(0xA9),
            t(0xAA),
            *([t(0x99, forbidden)] if forbidden else []),
            t(0x04, b"\x01\x00\x00"),
            t(0x0C, b"x"),
        )
        self.otsk = None
        self.transaction_id = b""

    def info1(self):
        return t(
            0xBF20,
            t(0x82, self.svn),
            t(0xA9, *(t(0x04, key_id) for key_id in self.verification)),
            t(0xAA, *(t(0x04, key_id) for key_id in self.signing)),
        )

    def authenticate(self, answer, matching_id="TEST", **changes):
        """AuthenticateServer: check serverSigned1, answer with BF38. ``changes`` spoil what is signed."""
        signed1 = tlv.parse(answer["serverSigned1"])
        verify(public_of(answer["serverCertificate"]), answer["serverSignature1"], signed1.raw)
        assert signed1.get(0x81).value == self.challenge
        self.transaction_id = signed1.get(0x80).value
        device = t(0xA1, t(0x80, bytes.fromhex("35290611")), t(0xA1, t(0x80, b"\x05\x00\x00")))
        context = [t(0x80, matching_id.encode())] if matching_id is not None else []
        context.append(changes.get("device", device))
        signed = t(
            0x30,
            t(0x80, changes.get("transaction_id", self.transaction_id)),
            t(0x83, changes.get("address", signed1.get(0x83).value)),
            t(0x84, changes.get("challenge", signed1.get(0x84).value)),
            self.info2,
            t(0xA0, *context),
        )
        self.signature1 = sign(changes.get("key", self.key), signed)
        return t(0xBF38, t(0xA0, signed, self.signature1, *self.certificates))

    def prepare(self, answer, confirmation_code=None, **changes):
        """PrepareDownload: check smdpSigned2, answer with BF21."""
        signed2 = tlv.parse(answer["smdpSigned2"])
        self.pb = public_of(answer["smdpCertificate"])
        verify(self.pb, answer["smdpSignature2"], signed2.raw + self.signature1)
        offered = signed2.find(0x5F49)
        if self.otsk is None or offered is None or offered.value != self.otpk():
            self.otsk = ec.generate_private_key(self.pb.curve)
        hashed = b""
        if confirmation_code is not None:
            inner = hashlib.sha256(confirmation_code.encode()).digest()
            hashed = t(0x04, hashlib.sha256(inner + self.transaction_id).digest())
        otpk = changes.get("otpk", self.otpk())
        signed = t(0x30, t(0x80, changes.get("transaction_id", self.transaction_id)), t(0x5F49, otpk), hashed)
        signature = sign(changes.get("key", self.key), signed + answer["smdpSignature2"])
        return t(0xBF21, t(0xA0, signed, signature))

    def otpk(self):
        return self.otsk.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def unbind(self, bpp):
        """Take a bound profile package apart with nothing but AES, CMAC and SHA-256."""
        parts = tlv.parse(bpp).children()
        initialise, areas = parts[0], {part.tag: part.children() for part in parts[1:]}
        assert initialise.tag == 0xBF23
        members = initialise.children()
        assert [item.tag for item in members] == [0x82, 0x80, 0xA6, 0x5F49, 0x5F37]
        assert (members[0].value, members[1].value) == (b"\x01", self.transaction_id)
        signed = b"".join(item.raw for item in members[:4]) + t(0x5F49, self.otpk())
        verify(self.pb, members[4].raw, signed)
        crt = {item.tag: item.value for item in members[2].children()}
        assert (crt[0x80], crt[0x81]) == (b"\x88", b"\x10")
        secret = self.otsk.exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(self.pb.curve, members[3].value)
        )
        shared = b"\x88\x10" + bytes((len(crt[0x84]),)) + crt[0x84] + b"\x10" + self.eid
        stream = b"".join(hashlib.sha256(secret + n.to_bytes(4, "big") + shared).digest() for n in (1, 2))
        channel = [stream[:16], stream[16:32], stream[32:48], 0]
        out = {}
        for area in (0xA0, 0xA1, 0xA2, 0xA3):
            segments = areas.get(area, [])
            assert all(len(segment.raw) <= 1020 for segment in segments)
            out[area] = b"".join(self._open(channel, segment) for segment in segments)
            if area == 0xA2 and segments:
                keys = {item.tag: item.value for item in tlv.parse(out[area]).children()}
                channel = [keys[0x80], keys[0x81], keys[0x82], 0]
        self.host_id = crt[0x84]
        return SimpleNamespace(
            configure=out[0xA0], metadata=out[0xA1], keys=out[0xA2], upp=out[0xA3], areas=areas, host_id=crt[0x84]
        )

    @staticmethod
    def _open(channel, segment):
        mcv, enc, mac, counter = channel
        counter += 1
        cmac = CMAC(algorithms.AES(mac))
        cmac.update(mcv + segment.raw[:-8])
        full = cmac.finalize()
        assert full[:8] == segment.raw[-8:]
        channel[0], channel[3] = full, counter
        body = segment.value[:-8]
        if segment.tag == 0x88:
            return body
        icv = Cipher(algorithms.AES(enc), modes.ECB()).encryptor().update(counter.to_bytes(16, "big"))
        plain = Cipher(algorithms.AES(enc), modes.CBC(icv)).decryptor().update(body)
        return plain[: plain.rindex(b"\x80")]

    def result(self, seq=1, error=None, iccid=ICCID, oid=None, key=None, transaction_id=None):
        """ProfileInstallationResult, BF37."""
        if error is None:
            final = t(0xA0, t(0x4F, bytes(16)), t(0x04, bytes.fromhex("3007A005300380 0100")))
        else:
            final = t(0xA1, t(0x80, b"\x05"), t(0x81, bytes((error,))))
        data = t(
            0xBF27,
            t(0x80, transaction_id or self.transaction_id),
            self._notification(seq, b"\x07\x80", iccid),
            t(0x06, oid or SMDP_OID),
            t(0xA2, final),
        )
        return t(0xBF37, data, sign(key or self.key, data))

    def notification(self, event, seq, iccid=ICCID, key=None):
        """OtherSignedNotification, 30."""
        bits = {"enable": b"\x06\x40", "disable": b"\x05\x20", "delete": b"\x04\x10", "both": b"\x04\x30"}[event]
        data = self._notification(seq, bits, iccid)
        return t(0x30, data, sign(key or self.key, data), *self.certificates)

    @staticmethod
    def _notification(seq, bits, iccid):
        return t(0xBF2F, t(0x80, seq.to_bytes(2, "big")), t(0x81, bits), t(0x0C, ADDRESS.encode()), t(0x5A, iccid))

    def cancel(self, reason=0, oid=None, key=None, transaction_id=None):
        """CancelSession, BF41."""
        signed = t(
            0x30,
            t(0x80, transaction_id or self.transaction_id),
            t(0x81, oid or SMDP_OID),
            t(0x82, bytes((reason,))),
        )
        return t(0xBF41, t(0xA0, signed, sign(key or self.key, signed)))


class Answer(dict):
    """The fields of an answer, decoded; ``status`` is the functionExecutionStatus, ``code`` "subject/reason"."""

    def __init__(self, response):
        self.http = response
        document = json.loads(response.body) if response.body else {"header": {"functionExecutionStatus": {}}}
        execution = document["header"]["functionExecutionStatus"]
        self.status = execution.get("status")
        data = execution.get("statusCodeData", {})
        self.code = f"{data['subjectCode']}/{data['reasonCode']}" if data else None
        self.text = response.body.decode()
        fields = {name: value for name, value in document.items() if name != "header"}
        super().__init__(
            {name: value if name == "transactionId" else base64.b64decode(value) for name, value in fields.items()}
        )


ASN1_MEMBERS = {
    0xBF39: ["transactionId", "serverSigned1", "serverSignature1", "euiccCiPKIdToBeUsed", "serverCertificate"],
    0xBF3B: ["transactionId", "profileMetadata", "smdpSigned2", "smdpSignature2", "smdpCertificate"],
    0xBF3A: ["transactionId", "boundProfilePackage"],
    0xBF41: [],
}


class Asn1Answer(dict):
    """The same fields from the ASN.1 binding; ``number`` is the value of the error choice."""

    def __init__(self, function, response):
        super().__init__()
        self.http = response
        self.number = self.code = self.status = None
        if not response.body:
            return
        assert response.headers["content-type"] == "application/x-gsma-rsp-asn1"
        outer = tlv.parse(response.body)
        (inner,) = outer.children()
        assert (outer.tag, inner.tag) == (0xA2, ASN1_TAGS[function])
        (choice,) = inner.children()
        if choice.tag == 0x81:
            self.number, self.status = int.from_bytes(choice.value, "big"), "Failed"
            self.code = f"{function} {self.number}"
            return
        assert choice.tag == 0xA0
        self.status = EXECUTED
        members = choice.children()
        names = ASN1_MEMBERS[inner.tag]
        assert len(members) == len(names)
        for name, member in zip(names, members, strict=True):
            if name == "transactionId":
                assert member.tag == 0x80
            self[name] = member.value.hex().upper() if name == "transactionId" else member.raw


ASN1_TAGS = {
    "initiateAuthentication": 0xBF39,
    "authenticateClient": 0xBF3B,
    "getBoundProfilePackage": 0xBF3A,
    "cancelSession": 0xBF41,
    "handleNotification": 0xBF3D,
}


def asn1_request(function, fields):
    """A request of the ASN.1 binding, laid out by hand."""
    if function == "initiateAuthentication":
        members = [t(0x81, fields["euiccChallenge"]), t(0x83, fields["smdpAddress"].encode()), fields["euiccInfo1"]]
    elif function == "handleNotification":
        members = [t(0xA0, fields["pendingNotification"])]
    else:
        payload = next(value for name, value in fields.items() if name != "transactionId")
        if function == "cancelSession":
            payload = t(0xA1, tlv.parse(payload).value)
        members = [t(0x80, bytes.fromhex(fields["transactionId"])), payload]
    return t(0xA2, t(ASN1_TAGS[function], *members))


class Bench:
    """An SM-DP+ with a test PKI, and the LPA's half of ES9+, in JSON or (``binding="asn1"``) in ASN.1."""

    def __init__(self, pki, seed="smdp", binding="json", **options):
        self.pki = pki
        self.binding = binding
        self.protocol = "gsma/rsp/v2.2.2"
        self.now_ns = VIRTUAL_EPOCH_NS
        self.store = SqliteStore(options.pop("path", ":memory:"))
        pkis = options.pop("pkis", (pki,))
        credentials = SmdpCredentials.from_pki(*pkis)
        self.smdp = Smdp(credentials, self.store, SeededRandomness(seed), [ADDRESS], lambda: self.now_ns, **options)

    def euicc(self, number=1, pki=None, **options):
        identity = (pki or self.pki).issue_euicc(make_eid(number), SeededRandomness(f"euicc {number}"))
        return Euicc(identity, **options)

    def release(self, matching_id="TEST", upp=None, metadata=None, **options):
        return self.smdp.release(upp or make_package(), metadata or make_metadata(), matching_id, **options)

    def post(self, function, body, headers=None, method="POST"):
        names = {"Content-Type": "application/json", "X-Admin-Protocol": self.protocol}
        names = {key: value for key, value in {**names, **(headers or {})}.items() if value is not None}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"https://{ADDRESS}{FUNCTIONS}{function}" if "/" not in function else f"https://{ADDRESS}{function}"
        return asyncio.run(asgi.call(self.smdp.app, method, url, names, data))

    def call(self, function, **fields):
        if self.binding == "asn1":
            headers = {"Content-Type": "application/x-gsma-rsp-asn1"}
            response = self.post("/gsma/rsp2/asn1", asn1_request(function, fields), headers)
            assert response.status in (200, 204), response.body
            return Asn1Answer(function, response)
        body = {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in fields.items()}
        response = self.post(function, body)
        assert response.status in (200, 204), response.body
        return Answer(response)

    def initiate(self, euicc, address=ADDRESS, **changes):
        return self.call(
            "initiateAuthentication",
            euiccChallenge=changes.get("challenge", euicc.challenge),
            euiccInfo1=changes.get("info1") or euicc.info1(),
            smdpAddress=address,
        )

    def authenticate(self, euicc, matching_id="TEST", **changes):
        opened = self.initiate(euicc)
        response = euicc.authenticate(opened, matching_id, **changes)
        return self.call(
            "authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=response
        )

    def bind(self, euicc, authenticated, confirmation_code=None, **changes):
        response = euicc.prepare(authenticated, confirmation_code, **changes)
        return self.call(
            "getBoundProfilePackage", transactionId=authenticated["transactionId"], prepareDownloadResponse=response
        )

    def download(self, euicc, matching_id="TEST", confirmation_code=None):
        authenticated = self.authenticate(euicc, matching_id)
        assert authenticated.status == EXECUTED, authenticated.text
        return self.bind(euicc, authenticated, confirmation_code)

    def cancel(self, euicc, session, **changes):
        return self.call("cancelSession", transactionId=session, cancelSessionResponse=euicc.cancel(**changes))

    def notify(self, notification):
        answer = self.call("handleNotification", pendingNotification=notification)
        assert (answer.http.status, answer.http.body) == (204, b"")
        return self.store.notifications()[-1]

    def state(self, matching_id="TEST"):
        return self.store.find_order(matching_id).state.value


@pytest.fixture(scope="session")
def pkis():
    """Test PKIs by name: two of P-256, one of brainpool."""
    kinds = {"own": Curve.P256, "foreign": Curve.P256, "brainpool": Curve.BRAINPOOL}
    return {
        name: create_pki(SeededRandomness(f"smdp {name}"), curve=curve, hosts=[ADDRESS], now_ns=VIRTUAL_EPOCH_NS)
        for name, curve in kinds.items()
    }


@pytest.fixture
def make_bench(pkis):
    """Make a bench: ``make_bench("own", **options of Smdp)``."""
    made = []

    def make(name="own", **options):
        if "trusted" in options:
            options["pkis"] = [pkis[other] for other in options.pop("trusted")]
        made.append(Bench(pkis[name], **options))
        return made[-1]

    yield make
    for bench in made:
        bench.store.close()


@pytest.fixture
def bench(make_bench):
    """A bench with one test package, released once as TEST."""
    bench = make_bench()
    bench.release()
    return bench


@pytest.fixture
def tools():
    """The makers of TLVs and packages, and the constants."""
    return SimpleNamespace(
        t=t,
        sign=sign,
        package=make_package,
        metadata=make_metadata,
        answer=Answer,
        other_key=generate(Curve.P256, SeededRandomness("somebody else")),
        ADDRESS=ADDRESS,
        ICCID=ICCID,
        EXECUTED=EXECUTED,
    )
