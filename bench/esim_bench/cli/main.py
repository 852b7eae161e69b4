"""``esim-bench``: the commands, and what their errors become."""

from __future__ import annotations

import json
import os
import sys

import typer

import esim_bench
from esim_bench.cli.common import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_MISTAKE, EXIT_PASS, exit_code_of
from esim_bench.cli.lazy import LazyGroup
from esim_bench.errors import BenchError

DEBUG_VARIABLE = "ESIM_BENCH_DEBUG"
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]
"""What Typer raises for any mistake on the command line; it has no public name in all of its versions."""

cli = typer.Typer(
    name="esim-bench",
    cls=LazyGroup,
    help="Hardware-in-the-loop bench controller for eSIM form factors.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"esim-bench {esim_bench.__version__}\n")
        raise typer.Exit


@cli.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line and exit with the code of the design: 0, 1, 2, 3 or 130."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: list[str]) -> int:
    """Run one command line and return its exit code; never raises."""
    wants_json = "--json" in arguments
    try:
        result = cli(arguments, prog_name="esim-bench", standalone_mode=False)
        return result if isinstance(result, int) else EXIT_PASS
    except typer.Exit as exc:
        return int(exc.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    except _UsageError as exc:
        return _report(type(exc).__name__, _usage(exc), EXIT_MISTAKE, wants_json)
    except BenchError as exc:
        return _report(type(exc).__name__, str(exc), exit_code_of(exc), wants_json)
    except BrokenPipeError:
        # The reader of our output went away (head, less): no reason to complain, and nobody to complain to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PASS
    except OSError as exc:
        # A file or folder that the operator named, or the bench's home.
        where = f"{exc.filename}: " if exc.filename else ""
        return _report("ConfigError", f"{where}{exc.strerror or exc}", EXIT_MISTAKE, wants_json)
    except Exception as exc:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        text = f"internal error: {type(exc).__name__}: {exc} (set {DEBUG_VARIABLE}=1 to see where)"
        return _report(type(exc).__name__, text, EXIT_ERROR, wants_json)


def _usage(error: Exception) -> str:
    """Say a mistake on the command line with the option it is about."""
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    return f"{text} (see: {context.command_path} --help)" if context is not None else str(text)


def _report(kind: str, text: str, code: int, wants_json: bool) -> int:
    sys.stderr.write(f"error: {text}\n")
    if wants_json:
        sys.stdout.write(json.dumps({"error": {"type": kind, "message": text}}) + "\n")
    return code or EXIT_ERROR
