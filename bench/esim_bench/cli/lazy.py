"""A group of commands whose modules are loaded when they are used: ``--help`` must not wait for ASN.1 and TLS."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping


class Lazy(NamedTuple):
    """One command: where it lives, and what the list of commands says of it."""

    module: str
    """Module with a ``cli`` (a group of commands) or a function of the command's name."""
    help: str
    settings: Mapping[str, Any] = {}
    """Context settings of a single command."""


COMMANDS: Final[dict[str, Lazy]] = {
    "demo": Lazy(
        "esim_bench.cli.demo", "Provision, switch and power-cycle a simulated rack of a 4FF, an MFF2 and an iSIM."
    ),
    "tui": Lazy("esim_bench.cli.tui", "Open the bench's screen: rack, slots, traces, scenarios, runs."),
    "run": Lazy("esim_bench.cli.run", "Run a scenario on slots of the rack, in parallel."),
    "apdu": Lazy("esim_bench.cli.apdu", "Send APDUs to a slot's card, by hand.", {"ignore_unknown_options": True}),
    "rack": Lazy("esim_bench.cli.rack", "The rack: its slots, its file."),
    "power": Lazy("esim_bench.cli.power", "One slot's power: on, off, cycle, each with its proof."),
    "modem": Lazy("esim_bench.cli.modem", "One slot's modem: AT lines by hand, its state, its manners."),
    "euicc": Lazy("esim_bench.cli.euicc", "One slot's eUICC: information, profiles, notifications."),
    "eim": Lazy("esim_bench.cli.eim", "One slot's eUICC, steered by an eIM: associations, orders, data."),
    "scenario": Lazy("esim_bench.cli.scenario", "Scenarios and their parameters."),
    "trace": Lazy("esim_bench.cli.trace", "Look into traces: every APDU of a slot, with its meaning."),
    "package": Lazy("esim_bench.cli.package", "eSIM profile packages (TCA interoperable format)."),
    "pki": Lazy("esim_bench.cli.pki", "Test PKIs: CI, EUM, eUICCs, SM-DP+, eIM."),
    "serve": Lazy("esim_bench.cli.serve", "The bench's servers on sockets."),
    "runs": Lazy("esim_bench.cli.runs", "Look back at runs."),
}


class LazyGroup(TyperGroup):
    """Lists ``COMMANDS``, and loads the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the list."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a command; None when there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else load(cmd_name, entry)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands, from the list alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def load(name: str, entry: Lazy) -> Any:
    """Import a command's module and return what the command line's library makes of it."""
    module = import_module(entry.module)
    application = getattr(module, "cli", None)
    if application is None:
        application = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        application.command(name, context_settings=dict(entry.settings))(getattr(module, name))
    command = typer.main.get_command(application)
    command.name = name
    return command
