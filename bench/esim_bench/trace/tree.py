"""A decoded value as a tree, beside the bytes that it was decoded from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Node(BaseModel):
    """One decoded value, with what it consists of. Where it stands in its bytes, if that is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    value: str = ""
    note: str = ""
    start: int | None = None
    """First byte in the bytes that were decoded, tag and length included."""
    end: int | None = None
    """The byte after its last."""
    children: list[Node] = Field(default_factory=list)
