"""docs/quirks.md names a test for every quirk: each of them exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| (?!quirk|---)(.+?) \|(.*)\|(.*)\|$")
_TEST = re.compile(r"`(tests/[\w/]+\.py)`::(\w+)")


def rows() -> list[tuple[str, str, str]]:
    lines = (ROOT / "docs" / "quirks.md").read_text().splitlines()
    return [(found[1], found[2], found[3]) for line in lines if (found := _ROW.match(line))]


def test_every_quirk_has_a_test_that_exists() -> None:
    assert len(rows()) > 60
    for quirk, behaviour, tests in rows():
        assert behaviour.strip(), quirk
        named = _TEST.findall(tests)
        # What cannot be reproduced says why.
        assert named or "not reproduced:" in tests, quirk
        for path, function in named:
            source = (ROOT / path).read_text()
            assert re.search(rf"^(?:async )?def {function}\b", source, re.MULTILINE), f"{path}::{function} ({quirk})"
