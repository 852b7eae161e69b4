"""Workers and the taking down of their widgets."""

import asyncio

import pytest
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.css.query import NoMatches
from textual.widgets import Static

from esim_bench.tui.work import work


class Teller(Vertical):
    """Waits for something, and shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.come = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield Static(id="shown")

    async def tell(self, where: str) -> None:
        await self.come.wait()
        self.query_one(where, Static).update("it has come")


class Host(App[None]):
    def compose(self) -> ComposeResult:
        yield Teller()


async def test_a_worker_whose_widget_is_taken_down_ends_quietly() -> None:
    app = Host()
    async with app.run_test():
        teller = app.query_one(Teller)
        job = asyncio.create_task(work(teller.tell, "#shown")())
        await asyncio.sleep(0)
        await teller.remove()
        teller.come.set()
        await job


async def test_a_widget_that_never_was_is_a_mistake() -> None:
    app = Host()
    async with app.run_test():
        teller = app.query_one(Teller)
        teller.come.set()
        with pytest.raises(NoMatches):
            await work(teller.tell, "#none")()
