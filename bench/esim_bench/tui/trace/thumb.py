"""The thumb of a bar beside rows: where it stands, and which row is the first where it is dragged to."""

from __future__ import annotations


def thumb(height: int, total: int, top: int) -> tuple[int, int]:
    """Return where the thumb begins, and its size, in rows; ``height`` rows of ``total`` are shown from ``top``."""
    if total <= height:
        return 0, height
    size = max(1, round(height * height / total))
    return round((height - size) * top / (total - height)), size


def top_for(place: int, grab: int, height: int, total: int) -> int:
    """Return the first row where the thumb, held ``grab`` rows below its beginning, is at a place."""
    _, size = thumb(height, total, 0)
    part = (place - grab) / max(1, height - size)
    return round(max(0.0, min(1.0, part)) * max(0, total - height))
