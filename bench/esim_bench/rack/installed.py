"""Which profiles this bench installed itself, by EID: protected slots let go of these, or each night would fill them.

One small file per EID in the bench's home, rewritten at once, so that several processes can use it.
"""

from __future__ import annotations

import json
from pathlib import Path

from esim_bench.errors import ConfigError
from esim_bench.store.files import write_whole
from esim_bench.store.home import home


def _path(eid: str) -> Path:
    return home() / "installed" / f"{eid}.json"


def installed(eid: str) -> list[str]:
    """Return the ICCIDs (digits) that this bench installed on an eUICC and did not delete. Raises ConfigError."""
    path = _path(eid)
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as exc:
        raise ConfigError("the record of installed profiles cannot be read", where=str(path)) from exc
    if not isinstance(found, list) or not all(isinstance(iccid, str) for iccid in found):
        raise ConfigError("the record of installed profiles", where=str(path), expected="a list of ICCIDs")
    return found


def remember(eid: str, iccid: str) -> None:
    """Note that this bench installed a profile."""
    _write(eid, sorted({*installed(eid), iccid}))


def forget(eid: str, iccid: str) -> None:
    """Note that a profile was deleted."""
    _write(eid, [known for known in installed(eid) if known != iccid])


def _write(eid: str, iccids: list[str]) -> None:
    path = _path(eid)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(iccids))
