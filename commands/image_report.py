"""How `image inspect` shows an image: the JSON, and the same for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from commands.dialect import moment
from enclave.eif.format import Broken
from enclave.eif.measure import Inspection, min_enclave_memory_mib, signer_date_fault
from enclave.eif.metadata import Json
from enclave.eif.signature import Signer
from faults import printable


class SectionReport(TypedDict):
    type: str
    offset: int
    size_bytes: int


class SignerReport(TypedDict):
    subject: str
    curve: str
    sha256: str
    not_before: str
    not_after: str


class Needs(TypedDict):
    architecture: str | None
    min_enclave_memory_mib: int


class Wrong(TypedDict):
    rule: str
    text: str


class ImageReport(TypedDict):
    version: int | None
    arch: str | None
    size_bytes: int
    sections: list[SectionReport]
    signed: bool
    signer: SignerReport | None
    metadata: dict[str, Json] | None
    pcrs: dict[str, str]
    needs: Needs
    launchable: bool
    wrong: list[Wrong]


def image_report(found: Inspection, now: float) -> ImageReport:
    """All of `found` and whether nitro-cli would run it at `now`, Unix seconds."""
    dates = signer_date_fault(found.signer, now)
    broken: tuple[Broken, ...] = (*found.broken, *([dates] if dates else []))
    header = found.header if found.header and found.header.is_eif else None
    arch = header.architecture if header else None
    return {
        "version": header.version if header else None,
        "arch": arch,
        "size_bytes": found.size_bytes,
        "sections": [
            {"type": each.name, "offset": each.offset, "size_bytes": each.size_bytes}
            for each in found.sections
        ],
        "signed": any(each.name == "signature" for each in found.sections),
        "signer": _signer(found.signer),
        "metadata": dict(found.metadata) if found.metadata is not None else None,
        "pcrs": {str(number): value for number, value in found.pcrs.items()},
        "needs": {
            "architecture": arch,
            "min_enclave_memory_mib": min_enclave_memory_mib(found.size_bytes),
        },
        "launchable": not broken,
        "wrong": [{"rule": each.rule, "text": each.text} for each in broken],
    }


def image_lines(report: ImageReport) -> Iterator[str]:
    """The same in lines, safe for a terminal: an image's texts are a stranger's."""
    yield f"version   {report['version']}, {report['arch']}"
    yield f"size      {report['size_bytes']} bytes"
    yield f"needs     {report['needs']['min_enclave_memory_mib']} MiB of enclave memory at least"
    metadata = report["metadata"] or {}
    if "ImageName" in metadata:
        name, version = _shown(metadata["ImageName"]), _shown(metadata.get("ImageVersion"))
        yield f"name      {name} {version} (says its builder)"
    if signer := report["signer"]:
        yield f"signer    {signer['subject']}, until {signer['not_after']}"
    else:
        yield f"signer    {'unreadable' if report['signed'] else 'none'}"
    for section in report["sections"]:
        yield f"section   {section['type']:<9} {section['size_bytes']:>12} at {section['offset']}"
    for number, value in report["pcrs"].items():
        yield f"PCR{number}      {value}"
    for wrong in report["wrong"]:
        yield f"WRONG     {wrong['rule']}: {wrong['text']}"


def _signer(signer: Signer | None) -> SignerReport | None:
    if signer is None:
        return None
    return {
        "subject": signer.subject,
        "curve": signer.curve,
        "sha256": signer.sha256,
        "not_before": _iso(signer.not_before),
        "not_after": _iso(signer.not_after),
    }


def _iso(seconds: float) -> str:
    return moment(seconds) or ""


def _shown(text: Json) -> str:
    return printable(str(text))[:100]
