"""Where a profile comes from: a package file, a profile of profiles/, or an activation code of somebody's SM-DP+."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from esim_bench.codec.activation_code import ActivationCode
from esim_bench.errors import CodecError
from esim_bench.rack.qr import activation_code_of


class ProfileSource(BaseModel):
    """Parameters that name the profile to install; exactly one of the three, or none for the scenario's default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    package: Path | None = Field(None, description="profile package file (concatenated profile elements, DER)")
    profile: str | None = Field(None, description="name of a profile in profiles/")
    activation_code: str | None = Field(
        None,
        description="LPA:1$HOST$MATCHINGID[$OID[$1]] of a running SM-DP+, or @FILE: an image of its QR code",
        repr=False,
    )
    confirmation_code: str | None = Field(
        None, description="confirmation code, where the SM-DP+ asks for one", repr=False
    )
    accept_rules: bool = Field(
        default=False,
        description="agree to policy rules that ask for consent (protected slots; simulated ones always do)",
    )

    @field_validator("activation_code")
    @classmethod
    def _text_of_image(cls, value: str | None) -> str | None:
        return None if value is None else activation_code_of(value)

    @model_validator(mode="after")
    def _one_source(self) -> ProfileSource:
        given = [name for name in ("package", "profile", "activation_code") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one of package, profile, activation_code, found {' and '.join(given)}")
        return self

    def document(self) -> dict[str, Any]:
        """Return the parameters that were given as JSON values, without secrets."""
        values = self.model_dump(mode="json", exclude_none=True)
        if not self.accept_rules:
            del values["accept_rules"]
        if values.get("confirmation_code"):
            values["confirmation_code"] = "***"
        if self.activation_code is not None:
            try:
                values["activation_code"] = ActivationCode.parse(self.activation_code).masked
            except CodecError:
                values["activation_code"] = "***"
        return values


@dataclass(frozen=True, slots=True)
class ProfileOrder:
    """A profile that waits at an SM-DP+, and what is known of it beforehand."""

    activation_code: ActivationCode
    iccid: bytes | None
    """As in EF.ICCID, 10 bytes; None for a foreign SM-DP+."""
    imsi: str | None
    """Digits; None for a foreign SM-DP+ or a profile without USIM."""
    name: str
