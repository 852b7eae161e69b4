"""Which RSP standards a simulated eUICC is built to, and which functions of SGP.22 an IoT eUICC does without."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from esim_bench.codec.es10 import Tag
from esim_bench.codec.es10_iot import IPAE_ACTIVATION, MEMORY_RESET_1_0, IotTag, supported
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import ConfigError

CONSUMER: Final = "sgp22"
_IOT: Final = {"sgp32-1.0.1": Version.V1_0_1, "sgp32-1.2": Version.V1_2}
NAMES: Final = (CONSUMER, *_IOT)
"""What the rack file's ``sim.rsp`` may list."""

_FOR_PEOPLE: Final = frozenset((Tag.ENABLE_PROFILE, Tag.DISABLE_PROFILE, Tag.DELETE_PROFILE, Tag.SET_NICKNAME))
"""ES10c functions that an end user asks for: on an IoT eUICC an eIM does, by packages."""


@dataclass(frozen=True)
class Standards:
    """The standards of one eUICC: SGP.22, one version of SGP.32, or both."""

    consumer: bool = True
    iot: Version | None = None

    @classmethod
    def of(cls, names: Iterable[str]) -> Standards:
        """Return the standards of the rack file's names. Raises ConfigError unless they are known and one per family.

        >>> Standards.of(["sgp22", "sgp32-1.2"]).consumer
        True
        """
        found = tuple(dict.fromkeys(names))
        wrong = next((name for name in found if name not in NAMES), None)
        if wrong is not None:
            raise ConfigError("unknown value of rsp", expected=f"a list of {', '.join(NAMES)}", found=repr(wrong))
        versions = [_IOT[name] for name in found if name in _IOT]
        if not found or len(versions) > 1:
            raise ConfigError("rsp", expected="sgp22, one version of sgp32, or both", found=", ".join(found) or "none")
        return cls(CONSUMER in found, versions[0] if versions else None)

    def has_consumer_function(self, tag: int) -> bool:
        """Tell whether a function that SGP.22 defines is there with SGP.22's meaning; others answer 6A88."""
        if self.consumer or self.iot is None:
            return self.consumer
        if tag in _FOR_PEOPLE or tag == MEMORY_RESET_1_0:
            return False
        if tag == IPAE_ACTIVATION:
            return False
        # SetDefaultDpAddress has a tag of its own from v1.1 on.
        return tag != Tag.SET_DEFAULT_DP_ADDRESS or not supported(IotTag.SET_DEFAULT_DP_ADDRESS, self.iot)


CONSUMER_ONLY: Final = Standards()
"""An eUICC of SGP.22 alone."""
