"""``esim-bench package lint`` and ``diff``: what is wrong with a package, and what two of them do not share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esim_bench.cli.common import EXIT_FAIL, JsonOption, RackOption, print_json, say, table

if TYPE_CHECKING:
    from esim_bench.codec.es10 import EuiccInfo2
    from esim_bench.codec.saip import ProfilePackage
    from esim_bench.codec.saip.lint import Finding
    from esim_bench.rack.slot import Slot

_Package = typer.Argument(metavar="FILE|NAME", help="A profile package (DER), a profile of profiles/, or a TOML file.")
_MAX_INFO = 64 * 1024


def lint(
    package: Annotated[str | None, _Package] = None,
    json: JsonOption = False,
    euicc: Annotated[
        Path | None,
        typer.Option("--euicc", help="EUICCInfo2 of an eUICC that is to take it: BF22..., as bytes or hexadecimal."),
    ] = None,
    slot: Annotated[str | None, typer.Option("--slot", help="Slot whose eUICC is to take it.")] = None,
    rack: RackOption = None,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules, and do nothing else.")] = False,
) -> None:
    """Check a profile package: order, references, promises of its header, files. Exit code 1 when there are errors."""
    from esim_bench.codec.saip.lint import lint as find

    if rules:
        _rules(json)
        return
    if package is None:
        raise typer.BadParameter("a package is missing")
    if euicc is not None and slot is not None:
        raise typer.BadParameter("--euicc and --slot can't be used together")
    info = _read_info(euicc) if euicc is not None else _ask(rack, slot) if slot is not None else None
    findings = find(_open(package, ordered=False), info)
    counts = {name: sum(f.severity == name for f in findings) for name in ("error", "warning", "note")}
    if json:
        totals = {f"{name}s": count for name, count in counts.items()}
        print_json({"file": package, **totals, "findings": [_document(finding) for finding in findings]})
    else:
        for finding in findings:
            number = "" if finding.identification is None else f", id {finding.identification}"
            place = f"element {finding.index} ({finding.kind}{number})"
            say(_plain(f"{package}: {finding.severity}: {place}: {finding.message} [{finding.rule}]"))
        say(f"{package}: " + ", ".join(f"{count} {name}s" for name, count in counts.items()))
    if counts["error"]:
        raise typer.Exit(EXIT_FAIL)


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "element": finding.index,
        "kind": finding.kind,
        "identification": finding.identification,
        "where": finding.where,
        "what": finding.what,
        "expected": finding.expected,
        "found": finding.found,
        "message": finding.message,
    }


def _rules(json: bool) -> None:
    from esim_bench.codec.saip.lint import RULES

    if json:
        print_json([{"rule": name, "severity": rule.severity, "text": rule.text} for name, rule in RULES.items()])
    else:
        table(["rule", "severity", "asks for"], [[name, rule.severity, rule.text] for name, rule in RULES.items()])


def _open(name: str, *, ordered: bool = True) -> ProfilePackage:
    """Take a package from a file, or build it from a readable profile. Raises ConfigError, CodecError."""
    from esim_bench import data
    from esim_bench.codec.saip import ProfilePackage
    from esim_bench.profile_file import load_profile, read_package

    path = Path(name)
    if name.endswith(".toml"):
        return ProfilePackage.parse(load_profile(path).upp)
    if name in data.profile_names() and not path.is_file():
        return ProfilePackage.parse(load_profile(data.profile_file(name)).upp)
    return read_package(path, ordered=ordered)


def _read_info(path: Path) -> EuiccInfo2:
    """Read an EUICCInfo2 from a file. Raises ConfigError, CodecError."""
    from esim_bench.codec.es10 import EuiccInfo2
    from esim_bench.errors import CodecError, ConfigError

    try:
        with path.open("rb") as file:
            data = file.read(_MAX_INFO)
    except OSError as exc:
        raise ConfigError(f"cannot read the EUICCInfo2: {exc.strerror}", where=str(path)) from exc
    if not data.startswith(b"\xbf\x22"):
        try:
            data = bytes.fromhex(data.decode("ascii"))
        except ValueError as exc:
            raise CodecError("not an EUICCInfo2", where=str(path), expected="BF22..., bytes or hexadecimal") from exc
    try:
        return EuiccInfo2.parse(data)
    except CodecError as exc:
        raise CodecError(str(exc), where=str(path)) from exc


def _ask(rack: str | None, name: str) -> EuiccInfo2:
    """Ask the eUICC of a slot."""
    from esim_bench.cli.session import on_slot

    async def job(opened: Slot) -> EuiccInfo2:
        return await opened.lpa.info()

    return on_slot(rack, name, job)


def _plain(text: str) -> str:
    # Texts come from packages: nothing in them may steer the terminal.
    return "".join(sign if sign.isprintable() else "?" for sign in text)


# ------------------------------------------------------------------------------------------------- diff


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=str(_Package.help))],
    second: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    secrets: Annotated[bool, typer.Option("--secrets", help="Show keys, PINs and PUKs that differ.")] = False,
    json: JsonOption = False,
) -> None:
    """Compare two profile packages: header, elements, files, codes, keys. Exit code 1 when they differ."""
    from esim_bench.codec.saip.diff import diff as compare

    changes = compare(_open(first), _open(second), secrets=secrets)
    if json:
        rows = [
            {"where": c.where, "what": c.what, "change": c.change, "a": c.before, "b": c.after, "secret": c.secret}
            for c in changes
        ]
        print_json({"a": first, "b": second, "same": not changes, "changes": rows})
    elif changes:
        table(
            ["where", "what", "change", "A", "B"],
            [[c.where, c.what, c.change, _cell(c.before, c.secret), _cell(c.after, c.secret)] for c in changes],
        )
        say(f"{len(changes)} differences")
    else:
        say("no differences")
    if changes:
        raise typer.Exit(EXIT_FAIL)


def _cell(value: str | None, secret: bool) -> str:
    if secret:
        return "(secret)"
    if value is None:
        return "-"
    return value if len(value) <= 60 else f"{value[:57]}..."
