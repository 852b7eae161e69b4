"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass

from esim_bench.codec.saip.lint.rules import RULES, Severity
from esim_bench.codec.saip.package import Element
from esim_bench.errors import shown


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or looks wrong."""

    rule: str
    """The rule that is broken, of ``RULES``."""
    index: int
    """The element's place in the package, from 0."""
    kind: str
    """What kind of element it is."""
    identification: int | None
    """What an eUICC names the element by; the header has none."""
    what: str
    expected: str | None = None
    found: str | None = None
    where: str | None = None
    """The file or member, if not the whole element."""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return RULES[self.rule].severity

    @property
    def message(self) -> str:
        """All of it in one line."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.expected is not None:
            text += f": expected {self.expected}"
        if self.found is not None:
            text += f"{',' if self.expected is not None else ':'} found {self.found}"
        return text


class Report:
    """Collects findings."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(
        self,
        rule: str,
        element: Element,
        what: str,
        *,
        expected: object = None,
        found: object = None,
        where: str | None = None,
    ) -> None:
        """Note that an element breaks a rule."""
        self.findings.append(
            Finding(
                rule,
                element.index,
                element.kind,
                element.identification,
                what,
                None if expected is None else str(shown(expected)),
                None if found is None else str(shown(found)),
                where,
            )
        )

    def broken(self, rule: str, element: Element) -> bool:
        """Tell whether an element was found to break a rule."""
        return any(finding.rule == rule and finding.index == element.index for finding in self.findings)
