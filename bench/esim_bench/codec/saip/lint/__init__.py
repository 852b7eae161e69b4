"""Finds what is wrong with a profile package before an eUICC does.

``lint`` checks a package by the rules of ``RULES``: the order of the elements, what they refer to, what the header
promises, the files, and some of what is in them; with an EUICCInfo2 also whether that eUICC can take it. What breaks
the frame of a package (lengths, unknown elements, identifications above 32767) is refused before, at parsing.
"""

from __future__ import annotations

from esim_bench.codec.es10_results import EuiccInfo2
from esim_bench.codec.saip.lint import (
    applications,
    authentication,
    codes,
    contents,
    eligibility,
    files,
    header,
    order,
)
from esim_bench.codec.saip.lint.report import Finding, Report
from esim_bench.codec.saip.lint.rules import RULES, Rule, Severity
from esim_bench.codec.saip.lint.view import View
from esim_bench.codec.saip.package import ProfilePackage
from esim_bench.errors import CodecError

__all__ = ["RULES", "Finding", "Rule", "Severity", "lint"]


def lint(package: ProfilePackage, euicc: EuiccInfo2 | None = None) -> list[Finding]:
    """Check a package, and whether an eUICC can take it; findings in the order of the elements.

    Takes packages of ``ProfilePackage.parse(..., ordered=False)`` as well. Never raises.
    """
    report = Report()
    order.check(package, report)
    if _decodable(package, report):
        view = View.of(package)
        if package.elements[0].kind == "header":
            header.check(view, report)
            applications.check(view, report)
            if euicc is not None:
                eligibility.check(package, euicc, report)
        scopes = codes.check(view, report)
        authentication.check(view, report)
        files.check(view, scopes, report)
        contents.check(view, report)
    return sorted(report.findings, key=lambda finding: finding.index)


def _decodable(package: ProfilePackage, report: Report) -> bool:
    """Decode all elements. Nothing more can be told of a package whose values can't be read."""
    fine = True
    for element in package.elements:
        try:
            element.value  # noqa: B018
        except CodecError as exc:
            report.add("element-decodes", element, f"cannot be decoded: {exc}")
            fine = False
    return fine
