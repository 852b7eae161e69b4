"""Where a profile comes from: a package file, a profile of profiles/, or an activation code of somebody's SM-DP+."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from esim_bench.codec.activation_code import ActivationCode


class ProfileSource(BaseModel):
    """Parameters that name the profile to install; exactly one of the three, or none for the scenario's default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: Path | None = Field(None, description="profile package file (concatenated profile elements, DER)")
    profile: str | None = Field(None, description="name of a profile in profiles/")
    activation_code: str | None = Field(None, description="LPA:1$HOST$MATCHINGID of a running SM-DP+")
    confirmation_code: str | None = Field(None, description="confirmation code, where the SM-DP+ asks for one")

    @model_validator(mode="after")
    def _one_source(self) -> ProfileSource:
        given = [name for name in ("package", "profile", "activation_code") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one of package, profile, activation_code, found {' and '.join(given)}")
        return self


@dataclass(frozen=True, slots=True)
class ProfileOrder:
    """A profile that waits at an SM-DP+, and what is known of it beforehand."""

    activation_code: ActivationCode
    iccid: bytes | None
    """As in EF.ICCID, 10 bytes; None for a foreign SM-DP+."""
    imsi: str | None
    """Digits; None for a foreign SM-DP+ or a profile without USIM."""
    name: str
