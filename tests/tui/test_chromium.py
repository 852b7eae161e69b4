"""The screen in a real browser: headless Chromium, driven through its DevTools protocol."""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PATIENCE = 60.0
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"),
    *("--window-size=1200,800", "--remote-allow-origins=*"),
)


class Browser:
    """One page of a browser: what its web socket was sent, and keys."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.shown = ""
        """Everything that the page was given to show so far, without escape sequences."""
        self._socket = socket
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            content = json.loads(message.data)
            if "id" in content and content["id"] in self._answers:
                self._answers.pop(content["id"]).set_result(content.get("result", {}))
            elif content.get("method") == "Network.webSocketFrameReceived":
                frame = content["params"]["response"]
                if frame["opcode"] == 2:
                    text = base64.b64decode(frame["payloadData"]).decode(errors="replace")
                    self.shown += re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)

    async def ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": self._number, "method": method, "params": params}))
        return await asyncio.wait_for(answer, PATIENCE)

    async def js(self, expression: str) -> Any:
        return (await self.ask("Runtime.evaluate", expression=expression))["result"].get("value")

    async def key(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            await self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text
            )

    async def until(self, there: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not there():
            if time.monotonic() > end:
                raise AssertionError(f"waited for {what}; shown: {self.shown[-2000:]}")
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def browser(chromium: str, address: str, folder: Path) -> AsyncIterator[Browser]:
    process = await asyncio.create_subprocess_exec(
        *(chromium, *FLAGS, f"--user-data-dir={folder}", "about:blank"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        port_file = folder / "DevToolsActivePort"
        end = time.monotonic() + PATIENCE
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert time.monotonic() < end, "Chromium did not start"
            assert process.returncode is None, "Chromium ended at its start"
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/json/list") as answer:
                page = next(one for one in await answer.json(content_type=None) if one["type"] == "page")
            async with client.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=1 << 26) as socket:
                one = Browser(socket, process)
                for domain in ("Page", "Network", "Runtime"):
                    await one.ask(f"{domain}.enable")
                await one.ask("Page.navigate", url=address)
                yield one
                one.reader.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@contextlib.asynccontextmanager
async def server(*options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("esim-bench"), "tui", "--web", "--port", "0", *options),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        line = (await asyncio.wait_for(process.stderr.readline(), PATIENCE)).decode()
        yield line.split()[-1], process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), 40)


def pages_of(parent: int) -> list[int]:
    """Return the processes of the pages, and theirs: everything that descends from the server's."""
    parents = {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(place.name)] = int(fields[1])
    found = [parent]
    for one in found:
        found += [child for child, its in parents.items() if its == one]
    return found[1:]


def lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def ended(pids: list[int], seconds: float = 45.0) -> bool:
    """Wait until processes are gone; tell whether they are."""
    end = time.monotonic() + seconds
    while any(map(lives, pids)) and time.monotonic() < end:  # noqa: ASYNC110 (other processes have no events for us)
        await asyncio.sleep(0.2)
    return not any(map(lives, pids))


@pytest.mark.slow
def test_the_screen_in_chromium(need_tool: Callable[[str], str], tmp_path: Path) -> None:
    """Shown, driven by keys, killed: and no process is left."""
    chromium = need_tool("chromium")

    async def main() -> None:
        async with server("--demo") as (address, process):
            assert address.startswith("http://127.0.0.1:")
            async with browser(chromium, address, tmp_path / "profile") as page:
                await page.until(lambda: "Scenarios" in page.shown and "nordic-nrf9160" in page.shown, "the rack")
                assert await page.js("document.body.classList.contains('-first-byte')")
                assert await page.js("document.querySelector('.textual-terminal canvas') !== null")
                page.shown = ""
                await page.key("F4", 115)
                await page.until(lambda: "With an LPA (SGP.22)" in page.shown, "the scenarios")
                page.shown = ""
                await page.key("F2", 113)
                await page.until(lambda: "profiles not read" in page.shown or "◆" in page.shown, "the rack again")
                at_work = pages_of(process.pid)
                assert at_work
            # The browser was killed, without a word to anybody.
            assert await ended(at_work)
            assert lives(process.pid)

    asyncio.run(asyncio.wait_for(main(), 200))


@pytest.mark.slow
def test_a_killed_server_takes_its_pages_with_it(tmp_path: Path) -> None:
    """As by kill -9: the pages notice that nobody looks any more."""

    async def main() -> None:
        async with server("--demo") as (address, process):
            async with aiohttp.ClientSession() as client, client.ws_connect(f"{address}ws") as socket:
                await asyncio.wait_for(socket.receive(), PATIENCE)
                at_work = pages_of(process.pid)
                assert at_work
                process.kill()
                await process.wait()
            assert await ended(at_work)

    asyncio.run(asyncio.wait_for(main(), 120))
