"""What a host wrote into its mailbox, read as hostile input."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import foreign_json
from cloud.bucket.status_cache import Words
from cloud.model import HostReport, InstanceId

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import ObjectTypeDef

DOCUMENT_LIMIT = 64 * 1024  # bytes; a host is not trusted with our memory
MOST_SECONDS = 1e11  # what counts as a time, as in the host's documents


def parsed(text: bytes) -> Mapping[str, object]:
    """A host's JSON object; {} for anything else, which no reader of the schema accepts."""
    if len(text) > DOCUMENT_LIMIT:
        return {}
    try:
        document = foreign_json.loads(text, object_pairs_hook=_sharing)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _sharing(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object, its words shared with all others that say the same: thousands are kept."""
    return {
        sys.intern(name): sys.intern(said) if isinstance(said, str) else said
        for name, said in pairs
    }


def report_of(instance: InstanceId, words: Words, found: ObjectTypeDef) -> HostReport:
    written = found["LastModified"].timestamp()
    return HostReport(instance, parsed(words.text), written, words.etag, words.ahead)


def beaten(report: HostReport, found: ObjectTypeDef) -> HostReport:
    """The same words, written again: a heartbeat."""
    written = found["LastModified"].timestamp()
    return report if report.written_at == written else replace(report, written_at=written)


def ahead_of(clock: str | None, written: datetime | None) -> float | None:
    """By how much the host's clock was ahead when it wrote, if it said what its clock was."""
    if written is None:
        return None
    try:
        said = float(clock) if clock is not None else None
    except ValueError:
        return None
    if said is None or not 0 <= said < MOST_SECONDS:
        return None
    return said - written.timestamp()
