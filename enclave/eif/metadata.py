"""The metadata section of an image: JSON about its build, unsigned and unmeasured.

Whoever made the image wrote it, so nothing is decided by it and it is shown with care. It is held
to what AWS's reader (`utils/eif_reader.rs`, serde_json) accepts, because `describe-eif` fails on
anything else: JSON text in UTF-8, the keys below, no key twice, no NaN and no half of a surrogate
pair. Keys it does not know are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn, TypeAlias

import foreign_json
from enclave.eif.format import Broken, ImageRefused

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# `defs/mod.rs:EifIdentityInfo` and `EifBuildInfo`; DockerInfo and CustomMetadata may be anything.
_TEXTS = ("ImageName", "ImageVersion")
_BUILD_TEXTS = ("BuildTime", "BuildTool", "BuildToolVersion", "OperatingSystem", "KernelVersion")
_ANY = ("DockerInfo", "CustomMetadata")
# serde_json's recursion limit.
_MAX_DEPTH = 127
# To the end where it is not closed, so that no text makes the search go back.
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


def read_metadata(section: bytes) -> dict[str, Json] | None:
    """What the section says; None for a bare `null`. Raises ImageRefused."""
    metadata = _json(section)
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        _refuse("metadata.shape", "it is not a JSON object")
    _texts(metadata, _TEXTS)
    build = metadata.get("BuildMetadata")
    if not isinstance(build, dict):
        _refuse("metadata.shape", "BuildMetadata is not an object")
    _texts(build, _BUILD_TEXTS)
    for key in _ANY:
        if key not in metadata:
            _refuse("metadata.shape", f"{key} is missing")
    return metadata


def _json(section: bytes) -> Json:
    """Refused before it is parsed where it nests too deep."""
    try:
        text = section.decode()
        value: Json = foreign_json.loads(
            text,
            _MAX_DEPTH,
            object_pairs_hook=_unique,
            parse_constant=_constant,
            parse_float=_finite,
        )
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        _refuse("metadata.json", f"it is not JSON that AWS's reader takes ({error})"[:200])
    _check_depth(value, _MAX_DEPTH)
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key appears twice")
    return made


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:20]} is out of range")
    return value


def _check_depth(value: Json, left: int) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict | list):
        if not left:
            _refuse("metadata.json", f"it is nested deeper than {_MAX_DEPTH}")
        inner: Iterable[Json] = value if isinstance(value, list) else [*value, *value.values()]
        for each in inner:
            _check_depth(each, left - 1)


def _check_text(text: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        _refuse("metadata.json", "a text holds half of a surrogate pair")


def _texts(where: Mapping[str, Json], keys: Iterable[str]) -> None:
    for key in keys:
        if not isinstance(where.get(key), str):
            _refuse("metadata.shape", f"{key} is missing or not a text")


def _refuse(rule: str, text: str) -> NoReturn:
    raise ImageRefused(Broken(rule, f"metadata section: {text}"))
