"""The command palette: everything that can be done from here, by name."""

from __future__ import annotations

from typing import cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from esim_bench.tui.screen import BenchScreen, Command


class BenchCommands(Provider):
    """The commands of the screen, then those of the app."""

    def _commands(self) -> list[Command]:
        from esim_bench.tui.app import BenchApp

        commands: list[Command] = []
        if isinstance(self.screen, BenchScreen):
            commands += self.screen.commands()
        return [*commands, *cast(BenchApp, self.app).commands()]

    async def discover(self) -> Hits:
        """Show all of them while nothing is typed."""
        for title, text, call in self._commands():
            yield DiscoveryHit(title, call, help=text)

    async def search(self, query: str) -> Hits:
        """Find those that match what is typed."""
        matcher = self.matcher(query)
        for title, text, call in self._commands():
            score = matcher.match(title)
            if score > 0:
                yield Hit(score, matcher.highlight(title), call, help=text)
