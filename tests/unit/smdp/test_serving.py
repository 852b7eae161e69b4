"""A listening server and clients that are slow, many, or silent."""

import asyncio
import signal
import ssl
import time

import pytest

from esim_bench.cli.serve import listen
from esim_bench.servers.pki import tls_context
from esim_bench.servers.serving import ServingLimits, serve
from esim_bench.servers.smdp.http import es9_app

PATH = b"/gsma/rsp2/es9plus/initiateAuthentication"
LIMITS = ServingLimits(connections=4, head_seconds=0.3, idle_seconds=1)


@pytest.fixture
def serving(pkis):
    """Run a test against a server on loopback: ``serving(test)``, where ``test`` gets a way to connect."""

    async def handle(function, fields):
        return {}

    def run(test, body_seconds=0.3):
        listener = listen("127.0.0.1", 0)
        client = ssl.create_default_context()
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE

        async def connect():
            return await asyncio.open_connection("127.0.0.1", listener.getsockname()[1], ssl=client)

        async def main():
            ready = asyncio.Event()
            application = es9_app(handle, body_seconds=body_seconds)
            server = asyncio.create_task(serve(application, listener, tls_context(pkis["own"]), ready.set, LIMITS))
            await ready.wait()
            try:
                async with asyncio.timeout(20):
                    await test(connect)
            finally:
                signal.raise_signal(signal.SIGTERM)
                await server

        asyncio.run(main())
        listener.close()

    return run


async def ended(reader):
    """Read until the server closes; returns what came."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize("sent", [b"", b"POST ", b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_does_not_finish_its_headers_is_cut(serving, sent):
    async def test(connect):
        reader, writer = await connect()
        start = time.monotonic()
        writer.write(sent)
        assert await ended(reader) == b""
        assert 0.2 < time.monotonic() - start < 5
        writer.close()

    serving(test)


def test_dripping_headers_do_not_hold_a_connection(serving):
    async def test(connect):
        reader, writer = await connect()
        start = time.monotonic()
        closed = asyncio.create_task(ended(reader))
        writer.write(b"POST " + PATH + b" HTTP/1.1\r\n")
        while not closed.done() and time.monotonic() - start < 5:
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.05)
        assert closed.done()
        assert time.monotonic() - start < 2
        writer.close()

    serving(test)


def test_dripping_bodies_do_not_either(serving):
    async def test(connect):
        reader, writer = await connect()
        writer.write(b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 1000\r\n\r\n")
        for _ in range(10):
            writer.write(b"{")
            await asyncio.sleep(0.05)
        assert (await ended(reader)).startswith(b"HTTP/1.1 408 ")
        writer.close()

    serving(test)


def test_long_headers_are_refused(serving):
    async def test(connect):
        reader, writer = await connect()
        writer.write(b"POST " + PATH + b" HTTP/1.1\r\nX: " + b"y" * 40000)
        assert (await ended(reader)).startswith(b"HTTP/1.1 400 ")
        writer.close()

    serving(test)


def test_more_connections_than_allowed_are_told_to_come_later(serving):
    async def test(connect):
        request = b"POST /elsewhere HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        opened = [await connect() for _ in range(4)]
        reader, writer = opened[-1]
        writer.write(request)
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        for _, other in opened:
            other.close()
        await asyncio.sleep(0.2)
        reader, writer = await connect()
        writer.write(request)
        assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
        writer.close()

    serving(test)


def test_an_idle_connection_is_closed(serving):
    async def test(connect):
        reader, writer = await connect()
        writer.write(b"POST /elsewhere HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        start = time.monotonic()
        assert (await ended(reader)).startswith(b"HTTP/1.1 404 ")
        assert time.monotonic() - start < 5
        writer.close()

    serving(test)
