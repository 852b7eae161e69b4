"""``esim-bench tui``: the bench's screen, in this terminal or in a browser."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from esim_bench.cli.common import EXIT_MISTAKE, RackOption

DEMO_RACK = "demo"
DEMO_RATE = 3.0
"""Seconds of simulated devices in a real one: lively, and slow enough to be watched."""


def tui(
    demo: Annotated[bool, typer.Option("--demo", help="A lively simulated rack, for trying.")] = False,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.01, max=1000.0, help="How fast simulated devices live; 1 is as real ones do."),
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="Serve the screen to a browser.")] = False,
    host: Annotated[str, typer.Option("--host", help="With --web: where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="With --web: 0 takes a free one.")] = 8420,
    token: Annotated[
        str | None, typer.Option("--token", help="With --web: asked for in the address; one is made where needed.")
    ] = None,
    rack: RackOption = None,
) -> None:
    """Open the bench's screen: rack, slots, traces, scenarios, runs."""
    from esim_bench.errors import ConfigError
    from esim_bench.rack.model import load_rack
    from esim_bench.scenario.interrupted import settle
    from esim_bench.store.home import HOME_VARIABLE, home

    if demo and rack is None:
        rack = DEMO_RACK
    bench_rack = load_rack(rack)
    if demo and not bench_rack.simulated:
        raise ConfigError(
            "the demo is for simulated racks", where=str(bench_rack.path), expected="sim tables in all slots"
        )
    if demo:
        rate = DEMO_RATE if rate is None else rate
        # What is tried here must not stand in the history of real runs.
        os.environ[HOME_VARIABLE] = str(home() / "demo")
    if web:
        from esim_bench.tui.web import serve

        serve(bench_rack, demo=demo, rate=rate, host=host, port=port, token=token)
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            "the screen needs a terminal",
            expected="a terminal on stdin and stdout",
            hint="without one: esim-bench run, or esim-bench tui --web",
        )
    settle()
    from esim_bench.tui.start import run_here

    code = run_here(bench_rack, demo=demo, rate=rate)
    if code:
        raise typer.Exit(EXIT_MISTAKE)
