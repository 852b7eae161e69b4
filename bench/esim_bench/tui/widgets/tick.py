"""A checkbox for everybody."""

from __future__ import annotations

from textual.widgets import Checkbox


class Tick(Checkbox):
    """A checkbox that says by a sign, not by a colour alone, whether it is on."""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override]
        """Return what stands between the brackets."""
        return "✓" if self.value else " "
