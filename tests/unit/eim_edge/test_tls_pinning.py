"""trustedPublicKeyDataTls: a server with another key or certificate than the pinned one gets no byte of a request."""

import asyncio
import datetime
import ipaddress
import ssl
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from esim_bench.codec.eim_configuration import KeyData
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import ConfigError, TransportError
from esim_bench.events import NullSink
from esim_bench.rack.bearer import HttpsBearer
from esim_bench.rack.network import Network
from esim_bench.rack.pinning import PinError, check_pin, pinned_context

NETWORK = Network(proxy="none", retries=0)
DAY = datetime.timedelta(days=1)


def public(key):
    return KeyData(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def issued(key, host, issuer=None, *, ca=False, days=30):
    """A certificate for a host, under an issuer (certificate and key) or self-signed, and its key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    try:
        alternative = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer[0].subject if issuer else name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - 60 * DAY).not_valid_after(now + days * DAY)
    builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def new_key(number):
    return generate(Curve.P256, SeededRandomness(f"tls {number}"))


def pinned(pair):
    return KeyData(pair[0].public_bytes(Encoding.DER), certificate=True)


ROOT = issued(new_key("root"), "Root", ca=True)
OTHER_ROOT = issued(new_key("other root"), "Root", ca=True)
SUB = issued(new_key("sub"), "Sub", ROOT, ca=True)
SERVER = issued(new_key("server"), "localhost", ROOT)
UNDER_SUB = issued(new_key("under sub"), "localhost", SUB)
ELSEWHERE = issued(new_key("elsewhere"), "eim.example.com", ROOT)
SELF_SIGNED = issued(new_key("self"), "eim.example.com")
EXPIRED = issued(new_key("expired"), "localhost", ROOT, days=-1)


def exchange(pair, pin, *chain, roots=None):
    """Speak once to a server with a certificate; return the status and all that the server got of the request."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "server.pem")
        key = pair[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(b"".join(one[0].public_bytes(Encoding.PEM) for one in (pair, *chain)) + key)
        context.load_cert_chain(path)

    async def talk():
        got = bytearray()

        async def serve(reader, writer):
            got.extend(await reader.read(100_000))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            bearer = HttpsBearer(NullSink(), roots=roots, timeout=5, network=NETWORK, pin=pin)
            try:
                answer = await bearer.post(f"https://localhost:{port}/gsma", {"x": "y"}, b"secret request")
                return answer.status, bytes(got)
            except TransportError as exc:
                # Time for anything that would still be on the way.
                await asyncio.sleep(0.05)
                return str(exc), bytes(got)

    return asyncio.run(talk())


TAKEN = {
    "its key": (SERVER, public(SERVER[1])),
    "its key, whatever the certificate says": (ELSEWHERE, public(ELSEWHERE[1])),
    "its key, with a date gone by": (EXPIRED, public(EXPIRED[1])),
    "its certificate": (SERVER, pinned(SERVER)),
    "its certificate, under another name": (ELSEWHERE, pinned(ELSEWHERE)),
    "its certificate, self-signed": (SELF_SIGNED, pinned(SELF_SIGNED)),
    "its CA": (SERVER, pinned(ROOT)),
    "its CA, over another": (UNDER_SUB, pinned(ROOT), SUB),
    "its CA, which is no root": (UNDER_SUB, pinned(SUB), SUB),
}


@pytest.mark.parametrize("case", TAKEN)
def test_the_pinned_server_is_spoken_to(case):
    status, got = exchange(*TAKEN[case])
    assert status == 200
    assert got.startswith(b"POST /gsma")


REFUSED = {
    "another key": (SERVER, public(ROOT[1]), "another key"),
    "another certificate": (SERVER, pinned(ELSEWHERE), "issuer is unknown"),
    "another certificate of its own key": (
        SERVER,
        pinned(issued(SERVER[1], "localhost", OTHER_ROOT)),
        "issuer is unknown",
    ),
    "another CA of the same name": (SERVER, pinned(OTHER_ROOT), "refused"),
    "its CA, for another host": (ELSEWHERE, pinned(ROOT), "for another host"),
    "its CA, with a date gone by": (EXPIRED, pinned(ROOT), "expired"),
    "no way up to the CA": (UNDER_SUB, pinned(ROOT), "issuer is unknown"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_server_gets_nothing(case):
    pair, pin, text = REFUSED[case]
    told, got = exchange(pair, pin)
    assert (text in told, "certificate was refused" in told) == (True, True), told
    assert "--tls-roots" not in told
    assert got == b""


def test_without_a_pin_the_roots_decide(tmp_path):
    path = tmp_path / "root.pem"
    path.write_bytes(ROOT[0].public_bytes(Encoding.PEM))
    assert exchange(SERVER, None, roots=path)[0] == 200
    told, got = exchange(SELF_SIGNED, None, roots=path)
    assert ("self-signed" in told, got) == (True, b"")


def test_a_pin_stands_in_place_of_the_roots(tmp_path):
    path = tmp_path / "root.pem"
    path.write_bytes(ROOT[0].public_bytes(Encoding.PEM))
    assert exchange(SERVER, public(OTHER_ROOT[1]), roots=path)[1] == b""


def test_what_is_no_certificate_cannot_be_pinned():
    with pytest.raises(ConfigError, match="pinned certificate"):
        pinned_context(KeyData(b"\x30\x00", certificate=True))


def test_wildcards_stand_for_one_label():
    def fits(name, host):
        shown = issued(new_key("wild"), name, ROOT)[0].public_bytes(Encoding.DER)
        try:
            check_pin(pinned(ROOT), shown, host)
        except PinError:
            return False
        return True

    assert fits("*.example.com", "eim.example.com")
    assert fits("EIM.example.com", "eim.EXAMPLE.com")
    assert fits("127.0.0.1", "127.0.0.1")
    assert not fits("*.example.com", "a.eim.example.com")
    assert not fits("*.example.com", "example.com")
    assert not fits("eim.example.com", "")
    assert not fits("*.0.0.1", "127.0.0.1")
