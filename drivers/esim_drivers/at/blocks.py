"""The longest block that a modem takes, as it turns out: halved when a long one is refused."""

from __future__ import annotations


class BlockLength:
    """Sans-IO. A refusal of a long block is taken for one of its length, until a shorter one is refused as well."""

    def __init__(self, longest: int, least: int) -> None:
        """``longest``: what is believed at first; ``least``: shorter blocks than this are never the remedy."""
        self.longest = longest
        """The most command data bytes of a block."""
        self._least = min(least, longest)
        self._before: int | None = None
        """What was believed before the last halving, until a block of the new length has passed."""

    def refused(self, length: int) -> None:
        """Take a refusal of ``length`` bytes of data."""
        if length <= self._least or length <= self.longest // 2:
            # So short a block is refused for another reason; then that was the reason before too.
            if self._before is not None:
                self.longest, self._before = self._before, None
            return
        if self._before is not None and length <= self.longest:
            # Halved already, to no avail: once more, but never forget where it began.
            self.longest = max(self._least, length // 2)
            return
        self._before = self.longest
        self.longest = max(self._least, min(self.longest, length // 2))

    def passed(self, length: int) -> None:
        """Take it that a block of ``length`` bytes of data went through."""
        if self._before is not None and self.longest // 2 < length <= self.longest:
            self._before = None
