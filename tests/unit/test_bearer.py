"""A slot's way to the servers: in-process, over HTTPS, chosen by host name."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from esim_bench import clock
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import BenchError, ConfigError, DeviceTimeout, TransportError
from esim_bench.events import ListSink, RspEvent
from esim_bench.ports import HttpResponse
from esim_bench.rack.bearer import HttpsBearer, InProcessBearer, RoutingBearer
from esim_bench.rack.network import Network
from esim_bench.servers import asgi
from esim_bench.servers.pki import create_pki, tls_context

DP = "testsmdpplus1.example.com"
URL = f"https://{DP}/gsma/rsp2/es9plus/initiateAuthentication"


async def echo(scope, receive, send):
    body = await asgi.read_body(receive, 1000)
    seen = f"{scope['method']} {scope['path']} {asgi.request_headers(scope)['x-test']} ".encode()
    await asgi.respond(send, 200, {"Content-Type": "text/plain"}, seen + body)


# --------------------------------------------------------------------------------------------------------- in process


def test_a_request_reaches_the_application_of_its_host_in_virtual_time():
    sink = ListSink()

    async def main():
        bearer = InProcessBearer({DP: echo}, sink, latency=0.5)
        answer = await bearer.post(URL, {"X-Test": "1"}, b"{}")
        return answer, clock.now()

    answer, seconds = clock.run_virtual(main())
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain"
    assert answer.body == b"POST /gsma/rsp2/es9plus/initiateAuthentication 1 {}"
    assert seconds == 0.5
    assert sink.events == [RspEvent(clock.VIRTUAL_EPOCH_NS, URL, b"{}", answer.body, "200", 500_000_000)]


@pytest.mark.parametrize("url", [URL.replace(DP, DP.upper()), URL.replace(DP, DP + ":8443")])
def test_host_names_compare_without_case_and_port(url):
    bearer = InProcessBearer({DP: echo}, ListSink())
    assert clock.run_virtual(bearer.post(url, {"x-test": "1"}, b"")).status == 200


def test_an_unknown_host_is_a_broken_way_and_is_recorded():
    sink = ListSink()
    bearer = InProcessBearer({DP: echo}, sink)
    with pytest.raises(TransportError, match=r"expected testsmdpplus1.example.com, found nowhere.example.com"):
        clock.run_virtual(bearer.post("https://nowhere.example.com/x", {}, b"q"))
    (event,) = sink.events
    assert event.status.startswith("TransportError")
    assert event.request == b"q"


@pytest.mark.parametrize("url", ["http://testsmdpplus1.example.com/x", "not a url", "https://", "https://[::1/x"])
def test_only_https_urls_are_taken(url):
    for bearer in (InProcessBearer({DP: echo}, ListSink()), HttpsBearer(ListSink())):
        with pytest.raises(ConfigError, match="expected https://host"):
            clock.run_virtual(RoutingBearer({}, bearer).post(url, {}, b""))


def test_a_server_that_stays_silent_is_a_timeout():
    async def silent(scope, receive, send):
        await asyncio.sleep(3600)

    sink = ListSink()
    with pytest.raises(DeviceTimeout, match="within 5 s"):
        clock.run_virtual(InProcessBearer({DP: silent}, sink).post(URL, {}, b"", timeout=5))
    assert sink.events[0].duration_ns == 5_000_000_000


@pytest.mark.parametrize(
    "messages", [[], [{"type": "http.response.body"}], [{"type": "http.response.start", "status": 200}]]
)
def test_an_application_that_breaks_asgi_is_an_error(messages):
    async def broken(scope, receive, send):
        for message in messages:
            await send(message)

    with pytest.raises(BenchError):
        clock.run_virtual(asgi.call(broken, "POST", URL, {}, b""))


def test_a_body_over_the_limit_is_refused_by_its_declared_and_by_its_real_length():
    async def receive():
        return {"type": "http.request", "body": b"x" * 600, "more_body": True}

    with pytest.raises(asgi.BodyTooLargeError):
        asyncio.run(asgi.read_body(receive, 1000, "1001"))
    with pytest.raises(asgi.BodyTooLargeError):
        asyncio.run(asgi.read_body(receive, 1000))


def test_a_client_that_leaves_is_not_waited_for():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(asgi.ClientGoneError):
        asyncio.run(asgi.read_body(receive, 1000))


# -------------------------------------------------------------------------------------------------------------- routing


def test_routes_by_host():
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        async def post(self, url, headers, body, timeout=None):
            return HttpResponse(200, {}, self.name.encode())

    bearer = RoutingBearer({DP: Named("ours")}, Named("foreign"))
    assert asyncio.run(bearer.post(URL.replace(DP, DP.title() + ":443"), {}, b"")).body == b"ours"
    assert asyncio.run(bearer.post("https://other.example.com/", {}, b"")).body == b"foreign"


# ---------------------------------------------------------------------------------------------------------------- https


@pytest.fixture(scope="module")
def pki():
    return create_pki(SeededRandomness("bearer"), curve=Curve.P256, hosts=["localhost"], now_ns=clock.VIRTUAL_EPOCH_NS)


@pytest.fixture
def roots(pki, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "root.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(pki.tls_root))
    return path


@asynccontextmanager
async def served(pki, answer: bytes):
    """A TLS server that gives every client the same answer."""

    async def client(reader, writer):
        try:
            if answer:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
            else:
                await asyncio.sleep(10)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=tls_context(pki))
    async with server:
        yield server.sockets[0].getsockname()[1]


def post_to(pki, answer: bytes, bearer: HttpsBearer, timeout: float | None = None):
    async def main():
        async with served(pki, answer) as port:
            return await bearer.post(f"https://localhost:{port}/x", {"x-test": "1"}, b"body", timeout)

    return clock.run_real(main())


NO_CONTENT = b"HTTP/1.1 204 No Content\r\nX-Admin-Protocol: gsma/rsp/v2.1.0\r\n\r\n"


def test_https_with_the_right_root(pki, roots):
    sink = ListSink()
    answer = post_to(pki, NO_CONTENT, HttpsBearer(sink, roots=roots))
    assert (answer.status, answer.headers["x-admin-protocol"], answer.body) == (204, "gsma/rsp/v2.1.0", b"")
    assert sink.events[0].status == "204"


@pytest.mark.parametrize(("keep", "connections"), [(True, 2), (False, 3)])
def test_connections_are_kept_through_a_procedure_until_the_device_hangs_up(pki, roots, keep, connections):
    seen = []
    empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n"

    async def client(reader, writer):
        seen.append([])
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(4)
                seen[-1].append(head)
                writer.write(empty)
                await writer.drain()
        writer.close()

    async def main():
        bearer = HttpsBearer(ListSink(), roots=roots, keep=keep)
        server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=tls_context(pki))
        async with server:
            url = f"https://localhost:{server.sockets[0].getsockname()[1]}/x"
            for hang_up in (False, True, False):
                assert (await bearer.post(url, {}, b"body")).status == 200
                if hang_up:
                    await bearer.hang_up()
            await bearer.hang_up()

    clock.run_real(main())
    assert len(seen) == connections
    # A device keeps no cookies.
    assert not any(b"Cookie" in head or b"cookie" in head for heads in seen for head in heads)


def test_a_kept_connection_that_the_server_closed_meanwhile_is_made_anew(pki, roots):
    async def main():
        bearer = HttpsBearer(ListSink(), roots=roots, keep=True)
        async with served(pki, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as port:
            for _ in range(3):
                assert (await bearer.post(f"https://localhost:{port}/x", {}, b"body")).status == 200
                await asyncio.sleep(0.05)
        await bearer.hang_up()

    clock.run_real(main())


def test_redirects_are_not_followed(pki, roots):
    redirect = b"HTTP/1.1 307 Moved\r\nLocation: https://elsewhere.example.com/\r\nContent-Length: 0\r\n\r\n"
    assert post_to(pki, redirect, HttpsBearer(ListSink(), roots=roots)).status == 307


def test_an_untrusted_certificate_is_refused_and_says_why(pki):
    with pytest.raises(TransportError, match=r"certificate was refused: .*--tls-roots"):
        post_to(pki, b"HTTP/1.1 200 OK\r\n\r\n", HttpsBearer(ListSink()))


def test_a_silent_server_is_a_timeout(pki, roots):
    with pytest.raises(DeviceTimeout):
        post_to(pki, b"", HttpsBearer(ListSink(), roots=roots), timeout=0.3)


def test_no_server_is_a_broken_way(roots):
    bearer = HttpsBearer(ListSink(), roots=roots, network=Network(retries=0))
    with pytest.raises(TransportError, match="no way to the server"):
        clock.run_real(bearer.post("https://127.0.0.1:1/x", {}, b""))


def test_unusable_roots_are_the_operators_mistake(tmp_path):
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for path in (text, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match="TLS roots"):
            clock.run_real(HttpsBearer(ListSink(), roots=path).post("https://127.0.0.1:1/x", {}, b""))


def test_there_is_no_network_in_virtual_time(roots):
    with pytest.raises(ConfigError, match="virtual time"):
        clock.run_virtual(HttpsBearer(ListSink(), roots=roots).post("https://127.0.0.1:1/x", {}, b""))
