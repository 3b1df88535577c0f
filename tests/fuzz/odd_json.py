"""A grammar of JSON that is almost right: a true answer with something about it changed."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

Json = Any

WORDS = st.sampled_from(
    ["", "0x", "0X1", "0x0", "0x00", "0xg", "0x1", "-0x1", "0x-1", "1_0", "0x1_0", " 0x1", "null",
     "latest", "\u0661", "0x" + "f" * 64, "0x" + "f" * 65, "0x" + "8" + "0" * 63, "0x" + "0" * 4000,
     "0x" + "f" * 131_000, "0xabc", "execution reverted", "\x1b[2J", "\ud800", "\x00", "é" * 300]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [0, 1, -1, 2**31, 2**53, 2**63, 2**64, 2**255, 10**400, 0.0, 1.5, -0.0, 1e308, float("inf"),
     float("nan"), True, False]
)  # fmt: skip
SCALARS = st.none() | NUMBERS | WORDS | st.text(max_size=8) | st.integers()
MEMBERS = st.sampled_from(
    ["id", "result", "error", "jsonrpc", "code", "message", "data", "number", "hash", "timestamp",
     "topics", "status", "blockNumber", "errors", "logs"]
)  # fmt: skip
ANY: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(MEMBERS | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value: Json, path: tuple[Json, ...] = ()) -> list[tuple[Json, ...]]:
    """The way to each value within, the whole included."""
    found = [path]
    if isinstance(value, dict):
        inner = list(value.items())
    else:
        inner = list(enumerate(value[:40])) if isinstance(value, list) else []
    for key, each in inner:
        found += places(each, (*path, key))
    return found


@st.composite
def odd(draw: st.DrawFn, true: Json) -> Json:
    """`true`, changed in up to three places."""
    whole = [copy.deepcopy(true)]
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(whole[0])))
        holder, key = _holder(whole, path)
        holder[key] = draw(_changed(holder[key]))
    return whole[0]


def _holder(whole: list[Json], path: tuple[Json, ...]) -> tuple[Json, Json]:
    holder, key = whole, 0
    for step in path:
        holder, key = holder[key], step
    return holder, key


def _changed(value: Json) -> st.SearchStrategy[Json]:
    if isinstance(value, dict) and value:
        return _other_members(value) | ANY
    if isinstance(value, list) and value:
        return _other_items(value) | ANY
    if isinstance(value, str) and len(value) > 2:
        return _other_text(value) | ANY
    return ANY


@st.composite
def _other_members(draw: st.DrawFn, value: dict[str, Json]) -> Json:
    name, changed = draw(st.sampled_from(sorted(value))), dict(value)
    how = draw(st.sampled_from(["without", "more", "renamed", "null"]))
    if how == "more":
        return {**changed, draw(MEMBERS): draw(ANY)}
    taken = changed.pop(name)
    if how == "without":
        return changed
    return {**changed, **({name: None} if how == "null" else {draw(MEMBERS): taken})}


@st.composite
def _other_items(draw: st.DrawFn, value: list[Json]) -> Json:
    at, other = draw(st.integers(0, len(value) - 1)), draw(st.integers(0, len(value) - 1))
    return draw(
        st.sampled_from(
            [
                value[:at] + value[at + 1 :],
                [*value, value[at]],
                [*value[:at], value[other], *value[at:]],
                value[::-1],
                [value],
                value[:at],
                value * 50,
            ]
        )
    )


@st.composite
def _other_text(draw: st.DrawFn, value: str) -> Json:
    """Mostly for hex: digits cut off, put in, words of 32 bytes set to what no field holds."""
    at = draw(st.integers(0, len(value)))
    word = 2 + 64 * draw(st.integers(0, max(0, len(value) // 64 - 1)))
    filled = draw(st.sampled_from(["f" * 64, "0" * 64, "8" + "0" * 63, "0" * 62 + "20", "7" * 64]))
    return draw(
        st.sampled_from(
            [
                value[:at],
                value[:at] + draw(st.text("0123456789abcdefx ", max_size=3)) + value[at:],
                value[:word] + filled + value[word + 64 :],
                value.upper(),
                value.removeprefix("0x"),
                value + value[2:],
                [value],
            ]
        )
    )


def as_sent(value: Json) -> Json:
    """As it comes out of a JSON parser."""
    try:
        return json.loads(json.dumps(value))
    except ValueError:
        return None
