"""``esim-bench package``: eSIM profile packages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esim_bench.cli import package_check
from esim_bench.cli.common import JsonOption, app, print_json, say, table

if TYPE_CHECKING:
    from esim_bench.codec.saip import Element, ProfilePackage

cli = app("eSIM profile packages (TCA interoperable format).")
cli.command("lint")(package_check.lint)
cli.command("diff")(package_check.diff)

PackageArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="Profile package: concatenated profile elements, DER.")
]
_ALGORITHMS = {1: "milenage", 2: "tuak", 3: "usim-test-algorithm"}


@cli.command("build")
def build(
    profile: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A profile of profiles/, or a TOML file.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to. Default: NAME.der here.")] = None,
    json: JsonOption = False,
) -> None:
    """Build a profile package from a readable profile (see profiles/README.md)."""
    from esim_bench import data
    from esim_bench.codec.saip import ProfilePackage
    from esim_bench.errors import ConfigError
    from esim_bench.profile_file import load_profile

    path = Path(profile) if profile.endswith(".toml") else data.profile_file(profile)
    built = load_profile(path)
    target = output if output is not None else Path(f"{path.stem}.der")
    try:
        target.write_bytes(built.upp)
    except OSError as exc:
        raise ConfigError(f"cannot write the package: {exc.strerror}", where=str(target)) from exc
    package = ProfilePackage.parse(built.upp)
    document = {
        "package": str(target),
        "bytes": len(built.upp),
        "elements": len(package.elements),
        "iccid": package.iccid_text,
        "metadata": built.metadata.hex().upper(),
    }
    if json:
        print_json(document)
    else:
        say(f"{target}: {len(built.upp)} bytes, {len(package.elements)} elements, ICCID {package.iccid_text}")


@cli.command("inspect")
def inspect(file: PackageArgument, json: JsonOption = False) -> None:
    """Show what is in a profile package, element by element."""
    from esim_bench.errors import CodecError
    from esim_bench.profile_file import read_package

    package = read_package(file, deep=True)
    try:
        document = describe(package)
    except CodecError as exc:
        raise CodecError(str(exc), where=str(file)) from exc
    if json:
        print_json({"file": str(file), **document})
        return
    for key in ("type", "version", "iccid", "imsi", "bytes"):
        # The type is free text: nothing in it may reach the terminal as control characters.
        text = "".join(sign if sign.isprintable() else "?" for sign in str(document[key] or "-"))
        say(f"{key:<10} {text}")
    say(f"{'services':<10} {', '.join(document['services']) or '-'}")
    say(f"{'templates':<10} {', '.join(document['templates']) or '-'}\n")
    table(
        ["#", "offset", "element", "id", "mandated", "bytes", "contents"],
        [
            [
                e["index"],
                e["offset"],
                e["kind"],
                "-" if e["identification"] is None else e["identification"],
                "yes" if e["mandated"] else "no",
                e["bytes"],
                e["contents"] or "-",
            ]
            for e in document["elements"]
        ],
    )


def describe(package: ProfilePackage) -> dict[str, Any]:
    """Return what is in a package as JSON values. Raises CodecError."""
    from esim_bench.codec.saip import ResolveContext, resolve_files

    context = ResolveContext()
    elements = []
    for element in package.elements:
        files = resolve_files(element, context)
        makes_files = element.has_files or element.kind == "genericFileManagement"
        elements.append(
            {
                "index": element.index,
                "offset": element.offset,
                "kind": element.kind,
                "identification": element.identification,
                "mandated": element.mandated,
                "bytes": len(element.raw),
                "files": len(files) if makes_files else None,
                "contents": f"{len(files)} files" if makes_files else contents(element),
            }
        )
    return {
        "type": package.profile_type,
        "version": ".".join(map(str, package.version)),
        "iccid": package.iccid_text,
        "imsi": package.imsi,
        "bytes": len(package.raw),
        "services": list(package.services),
        "templates": list(package.templates),
        "elements": elements,
    }


def contents(element: Element) -> str | None:
    """Say in a few words what an element without files is about; secrets are not shown. Raises CodecError."""
    value = element.value
    match element.kind:
        case "pukCodes":
            return "PUK " + _references(value["pukCodes"])
        case "pinCodes":
            choice, pins = value["pinCodes"]
            return "PIN " + _references(pins) if choice == "pinconfig" else f"PINs shared with {pins.hex().upper()}"
        case "akaParameter":
            choice, algorithm = value["algoConfiguration"]
            if choice == "mappingParameter":
                return f"as {algorithm['mappingSource'].hex().upper()}"
            return _ALGORITHMS.get(algorithm["algorithmID"], f"algorithm {algorithm['algorithmID']}")
        case "securityDomain":
            return f"{value['instance']['instanceAID'].hex().upper()}, {len(value.get('keyList', ()))} keys"
        case "rfm":
            tars = ", ".join(tar.hex().upper() for tar in value.get("tarList", ()))
            return f"{value['instanceAID'].hex().upper()}, TAR {tars or 'none'}"
        case "application":
            aids = [instance["instanceAID"].hex().upper() for instance in value.get("instanceList", ())]
            return ", ".join(aids) or "load package only"
    return None


def _references(codes: list[dict[str, Any]]) -> str:
    return ", ".join(f"{code['keyReference']:02X}" for code in codes)
