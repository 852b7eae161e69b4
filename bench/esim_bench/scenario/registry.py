"""Scenarios by name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from esim_bench.errors import ConfigError
from esim_bench.scenario import (
    attacks,
    eim_rotation,
    emergency,
    fallback,
    hot_swap,
    indirect_download,
    power_cycle,
    provision,
    psmo_switch,
    rollback,
    switch,
    zero_touch,
)
from esim_bench.scenario.context import Bench


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to do on a slot: a coroutine with steps, and the model of its parameters."""

    name: str
    summary: str
    description: str
    params: type[BaseModel]
    run: Callable[[Bench, Any], Coroutine[Any, Any, None]]

    def parse(self, given: Mapping[str, str]) -> BaseModel:
        """Check parameters. Raises ConfigError that names each wrong one."""
        known = self.params.model_fields
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"scenario {self.name} has no such parameter",
                    expected=f"one of {', '.join(known)}",
                    found=repr(name),
                )
        try:
            return self.params.model_validate(dict(given))
        except ValidationError as exc:
            problems = [
                f"{'.'.join(map(str, item['loc'])) or 'parameters'}: {item['msg'].removeprefix('Value error, ')}"
                for item in exc.errors(include_url=False)
            ]
            raise ConfigError(f"parameters of {self.name}: " + "; ".join(problems)) from exc

    def parameters(self) -> list[dict[str, str]]:
        """Return the parameters for people: name, default, meaning."""
        return [
            {
                "name": name,
                "default": "" if field.default is None else str(field.default),
                "description": field.description or "",
            }
            for name, field in self.params.model_fields.items()
        ]


def _scenario(module: Any) -> Scenario:
    text = (module.__doc__ or "").strip()
    summary, _, rest = text.partition("\n")
    return Scenario(module.NAME, summary.strip(), rest.strip(), module.Params, module.run)


CONSUMER = (provision, switch, power_cycle, hot_swap)
"""With an LPA (SGP.22)."""
IOT = (zero_touch, psmo_switch, indirect_download, rollback, fallback, emergency, eim_rotation, attacks)
"""With an IPA and an eIM (SGP.32)."""
SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in map(_scenario, (*CONSUMER, *IOT))}


def scenario(name: str) -> Scenario:
    """Return a scenario. Raises ConfigError when there is none of that name."""
    if name not in SCENARIOS:
        raise ConfigError("no scenario of this name", expected=f"one of {', '.join(SCENARIOS)}", found=repr(name))
    return SCENARIOS[name]


def parse_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Turn ``KEY=VALUE`` words into a mapping. Raises ConfigError."""
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError("not a parameter", expected="KEY=VALUE", found=repr(pair))
        values[key.strip()] = value
    return values
