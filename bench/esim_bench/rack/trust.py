"""Which certificate issuers (CI) an eUICC trusts, and which servers can therefore serve it.

An eUICC lists its CIs by key identifiers (EUICCInfo1, SGP.22 5.7.8). Names come from ``hw/ci.toml``; the CI of the
bench's own PKI is known besides. What a foreign server signs under is known to it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from esim_bench import data, tomlfile
from esim_bench.codec.es10 import EuiccInfo1
from esim_bench.errors import AgentError, BenchError, ConfigError, RspError

_NO_COMMON_CI = (("8.8.2", "3.1"), ("8.8.4", "3.7"))
"""An SM-DP+ refuses the CIs under which the eUICC signs, or those whose servers it accepts (SGP.22 5.6.1)."""
_HINT = "use a test eUICC of that CI, or give the rack the PKI of the eUICC's CI: [rack] pki = DIR"


class KnownCi(BaseModel):
    """One certificate issuer of ``hw/ci.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Annotated[str, Field(pattern=r"^[0-9A-F]{40}$")]
    """Subject key identifier of the CI's root key, hexadecimal."""
    name: Annotated[str, Field(min_length=1)]
    kind: Literal["live", "test"]
    source: Annotated[str, Field(min_length=1)]


class _CiFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    ci: list[KnownCi]


@cache
def known_cis() -> dict[bytes, KnownCi]:
    """Return the known CIs by key identifier (20 bytes). Raises ConfigError for a broken table."""
    path = data.root() / "hw" / "ci.toml"
    return {bytes.fromhex(one.key): one for one in tomlfile.validate(_CiFile, path, "table of CIs").ci}


def ci_name(key_id: bytes, own: bytes | None = None) -> str:
    """Say a CI for people: its name where it is known, and always its key identifier. ``own``: the bench's CI."""
    text = key_id.hex().upper()
    known = known_cis().get(key_id)
    if known is not None:
        name = f"{known.name} ({text})"
        return f"{name}, the CI of this bench" if key_id == own else name
    return f"the CI of this bench ({text})" if key_id == own else f"an unknown CI ({text})"


def short_ci_names(key_ids: Iterable[bytes], own: bytes | None = None) -> str:
    """Say several CIs in a few words: names, and key identifiers only of those that have none."""

    def short(key_id: bytes) -> str:
        known = known_cis().get(key_id)
        return "the CI of this bench" if key_id == own else known.name if known else f"CI {key_id.hex().upper()}"

    return " and ".join(map(short, key_ids)) or "no CI at all"


def ci_names(key_ids: Iterable[bytes], own: bytes | None = None) -> str:
    """Say several CIs for people."""
    return " and ".join(ci_name(key_id, own) for key_id in key_ids) or "no CI at all"


@dataclass(frozen=True, slots=True)
class Trust:
    """The CIs of one eUICC beside the CI of the bench (None: nobody asked for the bench's)."""

    verification: Sequence[bytes]
    signing: Sequence[bytes]
    own: bytes | None = None

    @classmethod
    def of(cls, info: EuiccInfo1, own: bytes | None = None) -> Trust:
        """Take the lists of an EUICCInfo1."""
        return cls(info.verification, info.signing, own)

    @property
    def served_by_bench(self) -> bool:
        """Tell whether the SM-DP+ of this bench can serve the eUICC: it trusts our CI, and has a certificate of it."""
        return self.own in self.verification and self.own in self.signing

    def require_bench(self) -> None:
        """Raise ConfigError, naming both sides, unless the SM-DP+ of this bench can serve the eUICC."""
        if self.served_by_bench:
            return
        own = "no CI"
        if self.own is not None:
            own = ci_name(self.own) if self.own in known_cis() else f"a test CI of its own ({self.own.hex().upper()})"
        if self.own in self.verification:
            text = f"this eUICC has certificates of {ci_names(self.signing)}"
        else:
            text = f"this eUICC trusts {ci_names(self.verification)}"
        raise ConfigError(f"{text}; the SM-DP+ of this bench signs under {own}", hint=_HINT)

    def of_server(self, host: str) -> str:
        """Say what is known beforehand of a server outside this bench."""
        return (
            f"the eUICC trusts {ci_names(self.verification, self.own)}; "
            f"{host} can serve it only with certificates of that CI, which it tells when it is asked"
        )

    def explain(self, error: BenchError, host: str) -> BenchError:
        """Return an error about certificates with what the eUICC lists; any other error as it is."""
        trusts, signs = ci_names(self.verification, self.own), ci_names(self.signing, self.own)
        listed = f"the eUICC trusts {trusts}"
        if self.signing != self.verification:
            listed += f" and has certificates of {signs}"
        if isinstance(error, RspError) and (error.subject, error.reason) in _NO_COMMON_CI:
            text = f"{error.message}: {listed}; {host} works with none of them"
            return RspError(error.subject, error.reason, text, identifier=error.identifier)
        if isinstance(error, AgentError) and error.code in ("ciPKUnknown", "invalidCertificate"):
            hint = f"{error.hint}; {listed}" if error.hint else listed
            return AgentError(error.what, code=error.code, hint=hint)
        return error

    def document(self) -> list[dict[str, Any]]:
        """Return the CIs as JSON values, in the eUICC's order."""
        rows = []
        for key_id in dict.fromkeys((*self.verification, *self.signing)):
            known = known_cis().get(key_id)
            rows.append(
                {
                    "key": key_id.hex().upper(),
                    "name": known.name if known else None,
                    "kind": known.kind if known else None,
                    "own": key_id == self.own,
                    "verification": key_id in self.verification,
                    "signing": key_id in self.signing,
                }
            )
        return rows
