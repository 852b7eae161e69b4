"""What an LPA must see for itself, since no signature that the eUICC checks says so: one change at a time on the way
from a real SM-DP+, through the LPA, to a simulated eUICC.

Whatever happens, the profiles stay as they are, and where a session had begun it is cancelled on both sides, for the
reason of SGP.22 5.7.14.
"""

import base64
import json

import pytest

from esim_bench import clock
from esim_bench.agents.lpa import Lpa
from esim_bench.card import Card
from esim_bench.codec import es10, tlv
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.apdu import Command
from esim_bench.errors import AgentError, ProtocolError, RspError
from esim_bench.events import NullSink
from esim_bench.ports import CardCapabilities, Exchange, HttpResponse
from esim_bench.servers import asgi

ADDRESS = "testsmdpplus1.example.com"
OID = "2.999.10"
METADATA_MISMATCH, LOAD_ERROR, UNDEFINED = 4, 5, 127


class Link:
    """The simulated card as a reader with sessions shows it; each request that reaches the eUICC is noted."""

    def __init__(self, terminal):
        self.terminal = terminal
        self.capabilities = CardCapabilities(raw_channels=False, sessions=True, terminal=True)
        self.requests = []
        self.chain = b""

    async def connect(self):
        return b""

    async def reset(self):
        return b""

    async def open_session(self, aid):
        assert aid == es10.ISD_R_AID
        return 1

    async def close_session(self, session):
        pass

    async def close(self):
        pass

    async def exchange(self, commands, stop, session=0):
        done = []
        for command in commands:
            data, sw = self.terminal.apdu(Command.parse(bytes((command[0] | session,)) + command[1:]))
            response = data + sw.to_bytes(2, "big")
            if command[1] == 0xE2:
                self.chain += command[5 : 5 + command[4]]
                if command[2] == 0x91:
                    self.requests.append(self.chain)
                    self.chain = b""
            done.append(Exchange(command, response, 0, 0))
            if stop(command, response) is not True:
                break
        return done


class Bearer:
    """The way to the SM-DP+, on which one field of one answer is changed."""

    def __init__(self, smdp, function=None, field=None, change=None):
        self.smdp = smdp
        self.target = function, field
        self.change = change
        self.calls = []
        self.cancelled = None

    async def post(self, url, headers, body, timeout=None):
        function = url.rsplit("/", 1)[1]
        answer = await asgi.call(self.smdp.app, "POST", url, dict(headers), body)
        self.calls.append(function)
        content = answer.body
        if function == "cancelSession":
            signed = tlv.parse(base64.b64decode(json.loads(body)["cancelSessionResponse"])).get(0xA0, 0x30)
            status = json.loads(content)["header"]["functionExecutionStatus"]["status"]
            self.cancelled = (signed.get(0x82).value[0], status)
        if function == self.target[0]:
            document = json.loads(content)
            document[self.target[1]] = self.change(document[self.target[1]])
            content = json.dumps(document).encode()
        return HttpResponse(answer.status, dict(answer.headers), content)


class Way:
    """A world, taken back to before its download for every change."""

    def __init__(self, world, tools):
        self.world = world
        self.start = tools.Snapshot(world.card)
        self.server = tools.Snapshot(world.smdp)
        self.database = world.database()
        self.contents = world.nvm.contents()

    def download(self, function=None, field=None, change=None):
        """Download once; return the error (None: it worked). ``sent`` and ``bearer`` tell what happened meanwhile."""
        world = self.world
        self.start.restore()
        world.smdp.store._db.deserialize(self.database)
        self.server.restore()
        link = Link(world.terminal)
        self.bearer = Bearer(world.smdp, function, field, change)

        async def run():
            card = Card(link, sink=NullSink(), protect=False)
            await card.start()
            lpa = Lpa(card, self.bearer, device=es10.device_info(bytes.fromhex("35290611")))
            return await lpa.download(ActivationCode(ADDRESS, "FLIP", OID))

        error = None
        try:
            clock.run_virtual(run())
        except (AgentError, ProtocolError, RspError) as exc:
            error = exc
        self.sent = [tlv.parse_header(request)[0] for request in link.requests]
        return error

    @property
    def unchanged(self):
        """Tell whether the card holds what it held, but for the session's number and the key made for it."""
        now = self.world.nvm.contents()
        own = ("euicc/session", "euicc/otpk/")
        return {key: value for key, value in now.items() if not key.startswith(own)} == {
            key: value for key, value in self.contents.items() if not key.startswith(own)
        }


@pytest.fixture(scope="module")
def way(make_world, tools):
    return Way(make_world(icon=bytes(20)), tools)


def in_base64(change):
    return lambda text: base64.b64encode(change(base64.b64decode(text))).decode()


def within(part, change):
    """Change the bytes of a part of a field."""

    def apply(data):
        start = data.index(part)
        return data[:start] + change(data[start : start + len(part)]) + data[start + len(part) :]

    return in_base64(apply)


def test_unchanged_it_works(way):
    assert way.download() is None
    assert way.bearer.cancelled is None
    assert not way.unchanged


# ------------------------------------------------------------------------------------------ before the eUICC is asked


def refused_before_the_euicc(way, complaint):
    """Nothing but questions reached the eUICC: there is no session on it to cancel."""
    assert way.sent == [0xBF20, 0xBF2E]
    assert way.bearer.calls == ["initiateAuthentication"]
    assert way.unchanged
    return complaint


def text_of(error):
    return f"{error} {error.expected} {error.found}"


def test_the_transaction_id_of_initiate_authentication(way, tools):
    for position in range(16):
        error = way.download("initiateAuthentication", "transactionId", flipped_hex(tools, position))
        assert "serverSigned1 of another session" in str(error)
        refused_before_the_euicc(way, error)


def flipped_hex(tools, position):
    return lambda text: tools.flip(bytes.fromhex(text), position).hex().upper()


@pytest.mark.parametrize(
    ("tag", "complaint"),
    [(0x80, "serverSigned1 of another session"), (0x81, "eUICC challenge"), (0x83, "server address")],
)
def test_each_byte_of_what_the_lpa_compares_in_server_signed1(way, tools, tag, complaint):
    assert way.download() is None
    way.world.download()
    size = len(tlv.parse(way.world.messages["serverSigned1"]).get(tag).value)
    for position in range(size):
        # The highest bit of a letter makes it no text, the fifth another spelling of the same host: not of these.
        bit = 1 if tag == 0x83 else position % 8

        def change(data, position=position, bit=bit):
            member = tlv.parse(data).get(tag)
            return data.replace(member.raw, tlv.encode(tag, tools.flip(member.value, position, bit)), 1)

        error = way.download("initiateAuthentication", "serverSigned1", in_base64(change))
        assert isinstance(error, ProtocolError)
        assert complaint in str(error)
        refused_before_the_euicc(way, error)


def test_the_address_in_another_spelling_is_for_the_euicc_to_refuse(way):
    error = way.download("initiateAuthentication", "serverSigned1", within(b"testsmdp", bytes.upper))
    assert (isinstance(error, AgentError), error.code) == (True, "invalidSignature")
    assert way.unchanged


def test_the_oid_of_the_activation_code(way, tools):
    oid = bytes.fromhex("88370A")
    for position in range(3):
        change = within(bytes.fromhex("8803") + oid, lambda part, at=position: tools.flip(part, 2 + at, 0))
        error = way.download("initiateAuthentication", "serverCertificate", change)
        assert isinstance(error, ProtocolError)
        assert "OID of the SM-DP+" in str(error)
        refused_before_the_euicc(way, error)


# ------------------------------------------------------------------------------------------ within a session


def cancelled(way, reason):
    return way.bearer.cancelled == (reason, "Executed-Success") and way.unchanged and 0xBF36 not in way.sent


@pytest.mark.parametrize("function", ["authenticateClient", "getBoundProfilePackage"])
def test_the_transaction_id_of_later_answers(way, tools, function):
    for position in range(16):
        error = way.download(function, "transactionId", flipped_hex(tools, position))
        assert isinstance(error, ProtocolError)
        assert f"transaction id in {function}" in str(error)
        assert cancelled(way, UNDEFINED)


def test_the_transaction_id_in_smdp_signed2(way, tools):
    for position in range(16):
        change = in_base64(lambda data, at=position: tools.flip(data, 4 + at))
        error = way.download("authenticateClient", "smdpSigned2", change)
        assert "smdpSigned2 of another session" in str(error)
        assert cancelled(way, UNDEFINED)


def test_what_was_announced_is_what_must_be_in_the_package(way, tools):
    """profileMetadata are signed by nobody; each byte of them that still reads as metadata shows in the package."""
    way.download()
    codes = set()
    way.world.download()
    for position in range(len(way.world.messages["profileMetadata"])):
        change = in_base64(lambda data, at=position: tools.flip(data, at))
        error = way.download("authenticateClient", "profileMetadata", change)
        assert error is not None, position
        if isinstance(error, AgentError):
            assert error.code in ("metadataMismatch", "pprNotAllowed"), position
            codes.add(error.code)
            reason = METADATA_MISMATCH if error.code == "metadataMismatch" else 3
        else:
            assert isinstance(error, ProtocolError)
            assert "malformed profileMetadata" in str(error) or "malformed answer" in str(error), position
            codes.add("malformed")
            reason = UNDEFINED
        assert cancelled(way, reason), (position, error)
    assert codes >= {"metadataMismatch", "malformed"}


def test_store_metadata_in_the_package(way, tools):
    """The other way round: the 88s are MACed, but the LPA looks before a MAC can be checked."""
    way.download()
    way.world.download()
    package = way.world.messages["boundProfilePackage"]
    start = package.index(b"Operator")
    for position in range(start, start + 8):
        change = in_base64(lambda data, at=position: tools.flip(data, at))
        error = way.download("getBoundProfilePackage", "boundProfilePackage", change)
        assert (type(error), error.code) == (AgentError, "metadataMismatch")
        assert cancelled(way, METADATA_MISMATCH)


def test_a_frame_of_the_package_that_is_wrong_never_reaches_the_euicc(way, tools):
    """BF36, A0, A1, A3 and the tags and lengths of all segments: every byte, cancelled as loadBppExecutionError."""
    way.download()
    way.world.download()
    positions = list(frame(way.world.messages["boundProfilePackage"]))
    assert len(positions) > 25
    for position in positions:
        change = in_base64(lambda data, at=position: tools.flip(data, at))
        error = way.download("getBoundProfilePackage", "boundProfilePackage", change)
        assert isinstance(error, ProtocolError), position
        assert "malformed bound profile package" in str(error), position
        assert cancelled(way, LOAD_ERROR), position


def frame(package):
    """Positions of the tags and lengths in a BPP, BF23's inside left out."""
    whole = tlv.parse(package)
    yield from range(whole.header_length)
    for part in whole.children():
        start = whole.header_length + part.offset
        yield from range(start, start + part.header_length)
        if part.tag != 0xBF23:
            for member in part.children():
                inner = start + part.header_length + member.offset
                yield from range(inner, inner + member.header_length)
