"""``esim-bench rack check --self-test``: the parts of each slot, tried with a card that is known to be good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import typer

from esim_bench.cli.common import EXIT_ERROR, EXIT_FAIL, EXIT_PASS, note, print_json, say, table

if TYPE_CHECKING:
    from esim_bench.rack.model import Rack


def self_test(rack: Rack, patterns: Sequence[str], cycles: int, *, json: bool) -> NoReturn:
    """Test slots, print what was found, and exit: 3 where the rig is broken, 1 where a device is suspect."""
    from esim_bench.cli.signals import terminated_as_interrupted
    from esim_bench.rack import self_test as testing
    from esim_bench.rack.self_test import Verdict
    from esim_bench.scenario.engine import in_time

    specs = rack.select(patterns)
    job = testing.self_test(rack, specs, cycles=cycles, tell=lambda text: note(f"note: {text}"))
    with terminated_as_interrupted():
        results = in_time(rack, False, job)
    verdicts = [result.verdict for result in results]
    code = EXIT_ERROR if Verdict.BROKEN in verdicts else EXIT_FAIL if Verdict.SUSPECT in verdicts else EXIT_PASS
    if json:
        print_json({"rack": rack.name, "ok": code == EXIT_PASS, "slots": [result.document() for result in results]})
        raise typer.Exit(code)
    table(
        ["slot", "form", "part", "verdict", "time", "what"],
        [
            [
                result.slot if index == 0 else "",
                result.form_factor if index == 0 else "",
                part.name,
                part.verdict.value,
                f"{part.seconds:.2f} s",
                part.detail,
            ]
            for result in results
            for index, part in enumerate(result.parts)
        ],
    )
    say()
    for result in results:
        worst = next((part for part in result.parts if part.verdict is result.verdict), None)
        where = f": {worst.name}" if worst is not None and result.verdict in (Verdict.BROKEN, Verdict.SUSPECT) else ""
        say(f"{result.slot}: {result.verdict.value}{where}")
    raise typer.Exit(code)
