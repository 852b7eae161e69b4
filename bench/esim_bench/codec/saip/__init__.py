"""Profile packages in the TCA interoperable format (SAIP): elements, templates, files."""

from esim_bench.codec.saip.files import FileSpec, ResolveContext, path_text, resolve_files
from esim_bench.codec.saip.package import KINDS, Element, ProfilePackage, encode_element, tag_of
from esim_bench.codec.saip.templates import TEMPLATES, FileTemplate, Template

__all__ = [
    "KINDS",
    "TEMPLATES",
    "Element",
    "FileSpec",
    "FileTemplate",
    "ProfilePackage",
    "ResolveContext",
    "Template",
    "encode_element",
    "path_text",
    "resolve_files",
    "tag_of",
]
