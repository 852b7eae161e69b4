"""What all commands share: options, output, exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from esim_bench.errors import (
    AgentError,
    BenchError,
    CardStatusError,
    CodecError,
    ConfigError,
    CryptoError,
    DeviceTimeout,
    NoAccessError,
    ProtocolError,
    RspError,
)

_COLOURS = {"PASS": 32, "FAIL": 31, "TIMEOUT": 33, "ERROR": 35, "ABORTED": 35, "SKIPPED": 2}
EXIT_PASS, EXIT_FAIL, EXIT_MISTAKE, EXIT_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, everything else on stderr.")
]
RackOption = Annotated[
    str | None,
    typer.Option(
        "--rack", help="Rack file, or a name in hw/racks. Default: $ESIM_BENCH_RACK, else the packaged simulated rack."
    ),
]
SlotArgument = Annotated[str, typer.Argument(metavar="SLOT", help="Name of the slot, as in the rack file.")]
AllowDestructiveOption = Annotated[
    bool, typer.Option("--allow-destructive", help="Lift the protection of a protected slot: delete, memory reset.")
]
LiveOption = Annotated[bool, typer.Option("--live", help="Print each trace record on stderr, once it is in its file.")]
TlsRootsOption = Annotated[
    Path | None,
    typer.Option("--tls-roots", help="PEM file of the roots that a foreign server's certificate is checked by."),
]


def app(help_text: str) -> typer.Typer:
    """Make a group of commands."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def exit_code_of(error: BenchError) -> int:
    """Tell which exit code an error that ended a command deserves."""
    match error:
        case ConfigError() | CodecError() | CryptoError():
            return EXIT_MISTAKE
        case RspError() | AgentError() | CardStatusError() | NoAccessError() | ProtocolError() | DeviceTimeout():
            return EXIT_FAIL
    return EXIT_ERROR


def print_json(document: Any) -> None:
    """Print the command's one JSON document."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def say(text: str = "") -> None:
    """Print a line of the command's result."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Print a line beside the result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: columns as wide as needed, nothing cut; outcomes in colour at a terminal."""
    # Names come from cards and files: nothing in them may steer the terminal.
    lines = [["".join(c if c.isprintable() else "?" for c in str(cell)) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(head), *lines]) for column in range(len(head))]
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in [list(head), ["-" * width for width in widths], *lines]:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        cells[-1] = line[-1]
        if colour:
            cells = [
                f"\x1b[{_COLOURS[cell]}m{text}\x1b[0m" if cell in _COLOURS else text
                for cell, text in zip(line, cells, strict=True)
            ]
        say("  ".join(cells).rstrip())
