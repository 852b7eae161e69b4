"""The screen in a browser: who is let in, and that processes end whatever the browser does."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from esim_bench.tui import web
from esim_bench.tui.web import BenchServer

# A page's process that says what it is told, and whose end can be made hard.
PROGRAM = """
import os, signal, sys
stubborn = sys.argv[2] == "stubborn"
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1] + "/" + str(os.getpid()), "w").close()
out = sys.stdout.buffer
out.write(b"__GANGLION__\\n")
def say(data):
    out.write(b"D" + len(data).to_bytes(4, "big") + data)
    out.flush()
say(b"hello " + os.environ["COLUMNS"].encode())
while True:
    head = sys.stdin.buffer.read(5)
    if len(head) < 5:
        if stubborn:
            signal.pause()
        break
    data = sys.stdin.buffer.read(int.from_bytes(head[1:], "big"))
    if head[:1] == b"D":
        say(b"got " + data)
    elif b"quit" in data and not stubborn:
        break
"""


Use = Callable[[str, BenchServer], Coroutine[Any, Any, None]]


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., None]:
    """Return what runs a server on a free port, and something with it."""

    def go(use: Use, *, token: str | None = None, manner: str = "polite") -> None:
        async def main() -> None:
            address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), manner]
            server = BenchServer(
                arguments, host="127.0.0.1", port=0, title="test", token=token, ready=address.set_result
            )
            task = asyncio.create_task(server.run())
            try:
                await use((await address).partition("?")[0], server)
            finally:
                task.cancel()
                await asyncio.wait([task])

        asyncio.run(asyncio.wait_for(main(), 60))

    return go


def processes(folder: Path) -> list[int]:
    """Return the page processes that live."""
    found = []
    for path in folder.iterdir():
        stat = Path("/proc", path.name, "stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            found.append(int(path.name))
    return found


async def gone(folder: Path, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while processes(folder) and time.monotonic() < end:  # noqa: ASYNC110 (other processes have no events for us)
        await asyncio.sleep(0.05)
    return not processes(folder)


def test_a_page_has_a_process_of_its_own_that_ends_with_it(serve: Callable[..., None], tmp_path: Path) -> None:
    async def use(address: str, server: BenchServer) -> None:
        async with aiohttp.ClientSession() as client:
            async with client.get(address) as page:
                text = await page.text()
                assert page.status == 200
                assert f'data-session-websocket-url="{address.replace("http", "ws")}ws"' in text
                assert "http://" not in text.replace(address, "")  # nothing is fetched from elsewhere
            async with client.ws_connect(f"{address}ws?width=100&height=30") as socket:
                assert (await socket.receive()).data == b"hello 100"
                await socket.send_json(["stdin", "x"])
                assert (await socket.receive()).data == b"got x"
                assert len(processes(tmp_path)) == 1
            assert await gone(tmp_path)

    serve(use)


def test_a_page_that_vanishes_or_talks_nonsense_leaves_nothing(serve: Callable[..., None], tmp_path: Path) -> None:
    async def use(address: str, server: BenchServer) -> None:
        async with aiohttp.ClientSession() as client:
            for nonsense in ("{", "[]", '["stdin"]', '["resize", 7]', '{"a": 1}'):
                socket = await client.ws_connect(f"{address}ws?width=-1&height=99999999999")
                await socket.receive()
                await socket.send_str(nonsense)
                assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
            socket = await client.ws_connect(f"{address}ws")
            await socket.receive()
            assert processes(tmp_path)
            transport = socket._response.connection.transport  # type: ignore[union-attr]
            transport.abort()  # type: ignore[union-attr]
            assert await gone(tmp_path)

    serve(use)


def test_a_process_that_will_not_end_is_ended(
    serve: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "QUIT_SECONDS", 0.3)
    monkeypatch.setattr(web, "TERM_SECONDS", 0.3)

    async def use(address: str, server: BenchServer) -> None:
        async with aiohttp.ClientSession() as client, client.ws_connect(f"{address}ws") as socket:
            await socket.receive()
        assert await gone(tmp_path)

    serve(use, manner="stubborn")


def test_the_server_ends_its_pages(serve: Callable[..., None], tmp_path: Path) -> None:
    async def use(address: str, server: BenchServer) -> None:
        client = aiohttp.ClientSession()
        sockets = [await client.ws_connect(f"{address}ws") for _ in range(3)]
        for socket in sockets:
            await socket.receive()
        os.kill(os.getpid(), 15)
        assert await gone(tmp_path)
        await client.close()

    serve(use)


def test_no_more_pages_than_the_machine_bears(serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SESSIONS", 1)

    async def use(address: str, server: BenchServer) -> None:
        async with aiohttp.ClientSession() as client, client.ws_connect(f"{address}ws") as socket:
            await socket.receive()
            async with client.get(f"{address}ws") as refused:
                assert refused.status == 503
                assert "close one of them" in await refused.text()

    serve(use)


def test_a_token_is_asked_for_and_becomes_a_cookie(serve: Callable[..., None], tmp_path: Path) -> None:
    async def use(address: str, server: BenchServer) -> None:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as client:
            for path in ("", "ws", "?token=wrong-one", "static/js/textual.js"):
                async with client.get(address + path) as refused:
                    assert refused.status == 403
                    assert "token" in await refused.text()
            async with client.get(f"{address}?token=right-one") as page:
                assert page.status == 200
                assert "token" not in str(page.url)
            async with client.ws_connect(f"{address}ws") as socket:
                assert (await socket.receive()).data.startswith(b"hello")
        assert await gone(tmp_path)

    serve(use, token="right-one")


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "evil.example:8420"}, {"Origin": "http://evil.example"}, {"Origin": "null"}],
)
def test_pages_of_other_sites_are_refused(serve: Callable[..., None], tmp_path: Path, headers: dict[str, str]) -> None:
    async def use(address: str, server: BenchServer) -> None:
        async with aiohttp.ClientSession() as client:
            for path in ("", "ws"):
                async with client.get(address + path, headers=headers) as refused:
                    assert refused.status == 403
        assert not processes(tmp_path)

    serve(use)
