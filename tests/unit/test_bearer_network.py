"""The way to foreign servers: proxies, time-outs, repetitions, and why TLS was refused; all on loopback."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from esim_bench import clock
from esim_bench.errors import ConfigError, DeviceTimeout, TransportError
from esim_bench.events import ListSink
from esim_bench.ports import HttpResponse
from esim_bench.rack import bearer as bearer_module
from esim_bench.rack.bearer import HttpsBearer
from esim_bench.rack.model import NetworkTable
from esim_bench.rack.network import Network, shown_url

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
DAY = datetime.timedelta(days=1)
STRAIGHT = Network(proxy="none", retries=2)


class Authority:
    """A root of its own, which signs whatever a test needs."""

    def __init__(self, folder: Path, name: str = "Test Root") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = _builder(self.name, self.name, self.key, -1, 30).add_extension(constraints, critical=True)
        signed = builder.sign(self.key, hashes.SHA256())
        self.roots = folder / "root.pem"
        self.roots.write_bytes(signed.public_bytes(Encoding.PEM))

    def server(
        self, *, host: str = "localhost", begin: int = -1, end: int = 30, self_signed: bool = False
    ) -> ssl.SSLContext:
        """Return the TLS context of a server with a certificate for a host; days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names: list[x509.GeneralName] = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
        issuer, signer = (subject, key) if self_signed else (self.name, self.key)
        certificate = (
            _builder(subject, issuer, key, begin, end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(signer, hashes.SHA256())
        )
        path = self.folder / "server.pem"
        path.write_bytes(
            certificate.public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: int, end: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin * DAY)
        .not_valid_after(now + end * DAY)
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


Answers = Callable[[int], bytes | None]
"""The number of a connection (from 0) -> what its client gets; None: the connection is closed without a word."""


@asynccontextmanager
async def served(tls: ssl.SSLContext | None, answers: Answers) -> AsyncIterator[SimpleNamespace]:
    seen = SimpleNamespace(connections=0, requests=[], port=0)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, seen.connections = seen.connections, seen.connections + 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            # All of it: a server that closes with something unread resets the connection.
            stated = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(stated.partition(b":")[2]))
            seen.requests.append(head.split(b"\r\n")[0].decode())
            answer = answers(number)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=tls)
    async with server:
        seen.port = server.sockets[0].getsockname()[1]
        yield seen


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def silent(tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    """A server that takes connections and never says a word."""
    over = asyncio.Event()
    tasks: list[asyncio.Task[None] | None] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        await over.wait()
        await closed(writer)

    server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=tls)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            over.set()
            await asyncio.gather(*(task for task in tasks if task is not None))


def post(
    bearer: HttpsBearer,
    tls: ssl.SSLContext | None,
    answers: Answers,
    *,
    function: str = "getBoundProfilePackage",
    host: str = "localhost",
    timeout: float | None = None,
    seen: list[SimpleNamespace] | None = None,
) -> HttpResponse:
    async def main() -> HttpResponse:
        async with served(tls, answers) as state:
            if seen is not None:
                seen.append(state)
            return await bearer.post(f"https://{host}:{state.port}/x/{function}", {}, b"{}", timeout)

    return clock.run_real(main())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bearer_module, "BACK_OFF", 0.01)


# ------------------------------------------------------------------------------------------------ why TLS was refused


@pytest.mark.parametrize(
    ("certificate", "known", "said"),
    [
        ({"begin": -30, "end": -1}, True, "was refused: it has expired"),
        ({"begin": 2}, True, "was refused: it is not valid yet"),
        ({"self_signed": True}, True, "was refused: it is self-signed"),
        ({"host": "other.example.com"}, True, "was refused: it is for another host"),
        ({}, False, "was refused: its issuer is unknown"),
    ],
)
def test_each_bad_certificate_has_its_own_sentence(
    authority: Authority, tmp_path: Path, certificate: dict[str, object], known: bool, said: str
) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    roots = authority.roots if known else Authority(stranger, "Stranger").roots
    seen: list[SimpleNamespace] = []
    tls = authority.server(**certificate)  # type: ignore[arg-type]
    with pytest.raises(TransportError, match=said):
        post(HttpsBearer(ListSink(), roots=roots, network=STRAIGHT), tls, lambda number: OK, seen=seen)
    # A bad certificate stays bad: one try. And nothing was said to that server.
    assert seen[0].requests == []


def test_an_address_that_is_not_in_the_certificate_is_another_host(authority: Authority) -> None:
    with pytest.raises(TransportError, match="it is for another host"):
        post(
            HttpsBearer(ListSink(), roots=authority.roots, network=STRAIGHT),
            authority.server(),
            lambda number: OK,
            host="127.0.0.1",
        )


def test_a_server_without_tls_is_told_apart(authority: Authority) -> None:
    async def main() -> None:
        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await closed(writer)

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            bearer = HttpsBearer(ListSink(), roots=authority.roots, network=Network(proxy="none", retries=0))
            await bearer.post(f"https://localhost:{port}/x", {}, b"")

    with pytest.raises(TransportError, match=r"TLS could not be agreed: .*does it speak TLS at this port\?"):
        clock.run_real(main())


def test_a_folder_of_roots(authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "roots"
    folder.mkdir()
    with pytest.raises(ConfigError, match="no TLS roots in the folder"):
        post(HttpsBearer(ListSink(), roots=folder, network=STRAIGHT), authority.server(), lambda number: OK)
    (folder / "mine.pem").write_bytes(authority.roots.read_bytes())
    assert post(HttpsBearer(ListSink(), roots=folder), authority.server(), lambda number: OK).status == 200
    (folder / "bad.crt").write_text("nothing")
    with pytest.raises(ConfigError, match=r"bad\.crt"):
        post(HttpsBearer(ListSink(), roots=folder), authority.server(), lambda number: OK)


# ------------------------------------------------------------------------------------------------ what a server sends


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "closed the connection without an answer"),
        (b"garbage garbage\r\n\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the answer was cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", "is not HTTP"),
    ],
)
def test_a_broken_answer_is_told_and_not_asked_for_again(authority: Authority, answer: bytes | None, said: str) -> None:
    seen: list[SimpleNamespace] = []
    sink = ListSink()
    with pytest.raises(TransportError, match=said):
        post(
            HttpsBearer(sink, roots=authority.roots, network=STRAIGHT),
            authority.server(),
            lambda number: answer,
            seen=seen,
        )
    assert seen[0].connections == 1
    assert len(sink.events) == 1


def test_an_endless_answer_is_cut_off(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bearer_module, "MAX_ANSWER", 1000)
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100000)
    with pytest.raises(TransportError, match="answer too long: expected at most 1000 bytes"):
        post(HttpsBearer(ListSink(), roots=authority.roots), authority.server(), lambda number: long)


# ------------------------------------------------------------------------------------------------ repetitions


@pytest.mark.parametrize(
    ("function", "connections"),
    [
        ("handleNotification", 3),
        ("initiateAuthentication", 3),
        ("authenticateClient", 1),
        ("getBoundProfilePackage", 1),
    ],
)
def test_only_what_may_be_repeated_is_repeated(authority: Authority, function: str, connections: int) -> None:
    seen: list[SimpleNamespace] = []
    sink = ListSink()
    with pytest.raises(TransportError, match="without an answer"):
        post(
            HttpsBearer(sink, roots=authority.roots, network=STRAIGHT),
            authority.server(),
            lambda number: None,
            function=function,
            seen=seen,
        )
    assert seen[0].connections == connections
    # Each try is in the trace.
    assert len(sink.events) == connections


def test_a_server_that_comes_back_is_heard(authority: Authority) -> None:
    sink = ListSink()
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    done = b"HTTP/1.1 204 Done\r\n\r\n"
    answer = post(
        HttpsBearer(sink, roots=authority.roots, network=STRAIGHT),
        authority.server(),
        lambda number: (None, busy, done)[number],
        function="handleNotification",
    )
    assert answer.status == 204
    assert [event.status.partition(":")[0] for event in sink.events] == ["TransportError", "503", "204"]


def test_a_server_that_starts_late_is_reached(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listened: nothing was sent, so any function may be tried again."""
    monkeypatch.setattr(bearer_module, "BACK_OFF", 0.4)
    sink = ListSink()

    async def main() -> HttpResponse:
        async with served(authority.server(), lambda number: OK) as state:
            port = state.port
        bearer = HttpsBearer(sink, roots=authority.roots, network=STRAIGHT)
        request = asyncio.create_task(bearer.post(f"https://localhost:{port}/x/authenticateClient", {}, b"", 20))
        await asyncio.sleep(0.2)

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            writer.close()

        server = await asyncio.start_server(client, "127.0.0.1", port, ssl=authority.server())
        async with server:
            return await request

    assert clock.run_real(main()).status == 200
    assert len(sink.events) == 2


def test_a_name_that_does_not_exist_is_asked_for_once(authority: Authority) -> None:
    sink = ListSink()
    bearer = HttpsBearer(sink, roots=authority.roots, network=STRAIGHT)
    with pytest.raises(TransportError, match=r"no such host|no way to the server"):
        clock.run_real(bearer.post("https://no-such-host.invalid/x/authenticateClient", {}, b"", 20))


# ------------------------------------------------------------------------------------------------ time


def test_the_network_table_limits_the_time(authority: Authority) -> None:
    network = Network(proxy="none", timeout=0.3)

    async def main() -> None:
        async with silent(authority.server()) as port:
            bearer = HttpsBearer(ListSink(), roots=authority.roots, network=network)
            await bearer.post(f"https://localhost:{port}/x/handleNotification", {}, b"", 60)

    with pytest.raises(DeviceTimeout, match=r"an answer within 0\.3 s"):
        clock.run_real(main())


def test_a_server_that_takes_no_connection_is_a_timeout(authority: Authority) -> None:
    network = Network(proxy="none", connect_timeout=0.2, retries=1)
    sink = ListSink()

    async def main() -> None:
        # The connection stands, but nobody ever speaks TLS.
        async with silent(None) as port:
            bearer = HttpsBearer(sink, roots=authority.roots, network=network)
            await bearer.post(f"https://localhost:{port}/x/authenticateClient", {}, b"", 5)

    with pytest.raises(DeviceTimeout, match=r"cannot be reached in time.*a connection within 0\.2 s"):
        clock.run_real(main())
    assert len(sink.events) == 2


# ------------------------------------------------------------------------------------------------ proxies


@asynccontextmanager
async def proxy(answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> AsyncIterator[SimpleNamespace]:
    """A CONNECT proxy that remembers what it was asked for."""
    state = SimpleNamespace(heads=[], port=0)
    tasks: list[asyncio.Task[None] | None] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        await closed(writer)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        state.heads.append(head)
        writer.write(answer)
        if answer.startswith(b"HTTP/1.1 200"):
            port = int(head.split(" ")[1].rpartition(":")[2])
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
        await closed(writer)

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    async with server:
        state.port = server.sockets[0].getsockname()[1]
        try:
            yield state
        finally:
            await asyncio.wait_for(asyncio.gather(*(task for task in tasks if task is not None)), 5)


def through(
    authority: Authority,
    use: Callable[[HttpsBearer, SimpleNamespace, SimpleNamespace], Awaitable[HttpResponse]],
    answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n",
) -> tuple[HttpResponse, SimpleNamespace]:
    async def main() -> tuple[HttpResponse, SimpleNamespace]:
        async with served(authority.server(), lambda number: OK) as server, proxy(answer) as between:
            bearer = HttpsBearer(ListSink(), roots=authority.roots)
            return await use(bearer, server, between), between

    return clock.run_real(main())


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_used(authority: Authority, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    async def use(bearer: HttpsBearer, server: SimpleNamespace, between: SimpleNamespace) -> HttpResponse:
        monkeypatch.setenv(name, f"http://user:pass-word@127.0.0.1:{between.port}")
        return await bearer.post(f"https://localhost:{server.port}/x", {}, b"")

    answer, between = through(authority, use)
    assert answer.status == 200
    (head,) = between.heads
    assert head.startswith("CONNECT localhost:")
    assert "Proxy-Authorization: Basic " in head


def test_no_proxy_goes_straight(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(bearer: HttpsBearer, server: SimpleNamespace, between: SimpleNamespace) -> HttpResponse:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.port}")
        monkeypatch.setenv("NO_PROXY", "example.com, localhost")
        return await bearer.post(f"https://localhost:{server.port}/x", {}, b"")

    answer, between = through(authority, use)
    assert answer.status == 200
    assert between.heads == []


def test_a_proxy_that_refuses_is_named_without_its_password(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(bearer: HttpsBearer, server: SimpleNamespace, between: SimpleNamespace) -> HttpResponse:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass-word@127.0.0.1:{between.port}")
        return await bearer.post(f"https://localhost:{server.port}/x/handleNotification", {}, b"")

    with pytest.raises(TransportError, match=r"by proxy http://127\.0\.0\.1:\d+\): the proxy refused: 407") as caught:
        through(authority, use, b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    assert "pass-word" not in str(caught.value)


def test_a_proxy_that_is_not_there(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    bearer = HttpsBearer(ListSink(), roots=authority.roots)
    with pytest.raises(TransportError, match=r"by proxy http://127\.0\.0\.1:1\): no way to the server"):
        clock.run_real(bearer.post("https://dp.example.com/x", {}, b""))


@pytest.mark.parametrize("value", ["socks9://127.0.0.1:1", "http://127.0.0.1:port", "http://"])
def test_a_proxy_that_makes_no_sense_is_the_operators_mistake(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ConfigError, match="proxy"):
        clock.run_real(HttpsBearer(ListSink(), roots=authority.roots).post("https://dp.example.com/x", {}, b""))


@pytest.mark.parametrize(
    ("no_proxy", "straight"),
    [
        ("", False),
        ("*", True),
        ("dp.example.com", True),
        (".example.com", True),
        ("example.com", True),
        ("ample.com", False),
        ("dp.example.com:8443", True),
        ("dp.example.com:443", False),
        ("other.org, DP.Example.Com", True),
    ],
)
def test_no_proxy_names_hosts_and_domains(monkeypatch: pytest.MonkeyPatch, no_proxy: str, straight: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example.net:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    found = Network().proxy_of(urlsplit("https://dp.example.com:8443/x"))
    assert found == (None if straight else "http://proxy.example.net:3128")


def test_the_rack_file_may_name_its_own_proxy_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://elsewhere.example.net:3128")
    parts = urlsplit("https://dp.example.com/x")
    own = Network(**NetworkTable(proxy="http://lab.example.net:8080").model_dump())
    assert own.proxy_of(parts) == "http://lab.example.net:8080"
    assert Network(**NetworkTable(proxy="none").model_dump()).proxy_of(parts) is None


def test_urls_are_shown_without_user_and_password() -> None:
    assert shown_url("http://user:p@ss@proxy:3128") == "http://proxy:3128"
    assert shown_url("user:secret@proxy:3128") == "proxy:3128"
