"""Metadata as users write it: what is served is exactly what was said, and nothing raises."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.job_view import ImageView
from agent.decide.plan import FetchImage
from agent.market.model import InstanceType, Price
from agent.market.workload import Workload
from agent.markets.marketv1 import metadata
from agent.markets.marketv1.metadata import MAX_BYTES, Metadata, Unreadable, read, write
from enclave.web.image_url import parse_open_url
from tests.agent.samples import IMAGE, JOB

pytestmark = pytest.mark.unit

GOOD: dict[str, Any] = {
    "instance": "c6a.xlarge", "region": "ap-south-1", "memory": 4096, "vcpu": 2,
    "url": "https://artifacts.example/base.eif", "name": "a job", "family": "tuna",
    "debug": False, "init_params": b64encode(b'{"digest":""}').decode(),
}  # fmt: skip
KIND = InstanceType("ap-south-1", "c6a.xlarge")


def said(**changes: Any) -> Metadata | Unreadable:
    """GOOD with changes; None takes a key away."""
    fields = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return read(json.dumps(fields).encode())


def refused(raw: str | bytes) -> str:
    found = read(raw.encode() if isinstance(raw, str) else raw)
    assert isinstance(found, Unreadable)
    return found.text


def test_read__what_the_command_line_writes__is_taken_as_said() -> None:
    found = said()
    work = Workload(GOOD["url"], 4096, 2, "tuna", debug=False, init_params=b'{"digest":""}')
    assert found == Metadata(KIND, work)
    assert read(write(KIND, work, "a job").encode()) == found


def test_read__only_what_is_needed__has_the_control_planes_defaults() -> None:
    found = said(name=None, family=None, debug=None, init_params=None)
    assert isinstance(found, Metadata)
    work = found.workload
    assert (work.family, work.debug, work.init_params) == ("salmon", False, b"")


def test_read__keys_that_are_null__are_as_if_they_were_not_there() -> None:
    """Programs write so what nobody set, and the control plane reads it so."""
    nulls = {**GOOD, "name": None, "family": None, "debug": None, "init_params": None}
    assert read(json.dumps(nulls).encode()) == said(family=None, debug=None, init_params=None)


@pytest.mark.parametrize("debug", ["true", 1, [], {}, "yes", None, 0])
def test_read__debug_that_is_no_bool__is_not_debug(debug: object) -> None:
    found = said(debug=debug)
    assert isinstance(found, Metadata)
    assert not found.workload.debug


@pytest.mark.parametrize("key", ["instance", "region", "memory", "vcpu", "url"])
def test_read__a_key_that_is_needed__is_missed_by_name(key: str) -> None:
    found = said(**{key: None})
    assert isinstance(found, Unreadable)
    assert repr(key) in found.text


BAD_VALUES: dict[str, tuple[object, ...]] = {
    "memory": (0, -1, 4096.0, "4096", True, 1 << 26, [4096], 1e3),
    "vcpu": (0, -2, 2.0, "2", False, 1025, {}),
    "region": ("", "mars", "US-EAST-1", 1, "us-east-1/../x", "a" * 99),
    "instance": ("", "c6a", "c6a.xlarge;rm", [], "c6a.xlarge "),
    "url": ("", "http://a b", "https://a/\n", "ü", "x" * 2049, 7, []),
    "family": ("", "Tuna", "tuna!", 7, [], "t" * 33),
    "init_params": ("?", "YQ", "YQ==\n", 7, [], "YQ=a", "é"),
}


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in BAD_VALUES.items() for value in values],
)
def test_read__a_value_of_another_form__is_refused_by_name(key: str, value: object) -> None:
    found = said(**{key: value})
    assert isinstance(found, Unreadable)
    assert key in found.text


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("", "no JSON"), ("{", "no JSON"), ("null", "object"), ("[]", "object"), ('"x"', "object"),
        ("7", "object"), ("{} {}", "no JSON"), ('{"a":NaN}', "NaN"), ('{"a":-Infinity}', "Inf"),
        ('{"url":"a","url":"b"}', "'url' twice"), ('{"x":{"b":1,"b":1}}', "'b' twice"),
        ('{"a":' + "9" * 21 + "}", "21 digits"), ('{"a":0.' + "9" * 5000 + "}", "digits"),
        ('{"a":' + "9" * 5000 + "}", "digits"), ("[" * 17, "brackets"), ("[" * 30_000, "brackets"),
        ('{"a":' * 9000, "brackets"), ("\ufeff{}", "no JSON"), ('{"a":"\t"}', "no JSON"),
        (b"\xff{}", "UTF-8"), (b'{"a":"\xc3"}', "UTF-8"), ("{'a':1}", "no JSON"),
        (" " * (MAX_BYTES + 1), "bytes"), ('{"a":1e5', "no JSON"), ("\x00", "no JSON"),
    ],
)  # fmt: skip
def test_read__no_json_of_ours__says_what_is_wrong(raw: str | bytes, word: str) -> None:
    assert word in refused(raw)


def test_read__an_empty_url__is_told_as_that() -> None:
    assert refused(json.dumps({**GOOD, "url": ""})) == "the url of the metadata is empty"


def test_read__brackets_within_a_text__do_not_count() -> None:
    assert isinstance(said(name="[" * 500 + '\\"{' * 500), Metadata)


@pytest.mark.parametrize("piece", ['"\\"', '"', "\\", '"[', '[""]', '{"":', "\\u", '"\\\\"'])
def test_read__the_longest_text_of_one_piece__takes_no_time(piece: str) -> None:
    text = (piece * MAX_BYTES)[:MAX_BYTES]
    begun = time.process_time()
    refused(text)
    assert time.process_time() - begun < 5  # a search that starts anew at each quote takes hours


def test_read__half_surrogates__are_refused_where_they_would_be_used() -> None:
    assert "url" in refused(json.dumps({**GOOD, "url": "https://a/\ud800"}))
    assert isinstance(said(name="\ud800"), Metadata)


def test_unreadable__whatever_was_written__is_one_short_printable_line() -> None:
    for text in (
        refused(json.dumps({**GOOD, "url": "\x1b[31m\n" * 200})),
        refused(json.dumps({**GOOD, "memory": "9" * 3000})),
        refused(json.dumps({**GOOD, "x\ny": 1})[:-1] + ', "\x7f\u202e": 1, "\x7f\u202e": 2}'),
        refused(json.dumps({**GOOD, "region": "\u202e" * 500})),
    ):
        assert len(text) < 200
        assert text.isprintable()


def test_workload__its_secret_part__stands_in_no_text() -> None:
    found = said()
    assert "digest" not in repr(found)


def test_url__its_query_may_be_a_secret__and_stands_in_no_text() -> None:
    url = "https://a.example/x?X-Amz-Signature=s3cret"
    image = replace(IMAGE, url=url)
    for one in (
        Workload(url, 4096, 2), replace(JOB, enclave_url=url), image, FetchImage(JOB.id, url, 5.0),
        ImageView(url=url, image=image), parse_open_url(url), said(url=url + "\x00"),
        said(url=[url]), said(url="http://" + url),
    ):  # fmt: skip
        assert "s3cret" not in repr(one), type(one)


def test_agreed__is_this_providers_memory_and_tells_no_two_endpoints_apart() -> None:
    assert replace(JOB, agreed=Price(5)) == replace(JOB, agreed=None)


def test_workload__what_changes_in_place__changes_one_name_and_size_the_other() -> None:
    first = Workload("https://a", 4096, 2)
    names = {
        "url": Workload("https://b", 4096, 2), "debug": Workload("https://a", 4096, 2, debug=True),
        "params": Workload("https://a", 4096, 2, init_params=b"x"),
    }  # fmt: skip
    assert len({one.content for one in (first, *names.values())}) == 4
    assert {one.place for one in names.values()} == {first.place}
    for other in (Workload("https://a", 4097, 2), Workload("https://a", 4096, 3),
                  Workload("https://a", 4096, 2, "salmon")):  # fmt: skip
        assert (other.place == first.place, other.content) == (False, first.content)


# Fuzz: texts of a grammar that is nearly that of metadata.

words = st.one_of(
    st.text(max_size=12), st.sampled_from(["tuna", "salmon", "us-east-1", "c6a.xlarge", "x" * 70]),
    st.binary(max_size=9).map(lambda raw: b64encode(raw).decode()),
)  # fmt: skip
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), words,
        st.sampled_from([1, 2, 4096, 1024]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip
keys = st.one_of(st.sampled_from(list(GOOD)), words)
changed = st.dictionaries(keys, values, max_size=3).map(lambda some: {**GOOD, **some})


def check(raw: bytes) -> None:
    """Total, bounded, and nothing in the answer that was not said."""
    found = read(raw)
    if isinstance(found, Unreadable):
        assert found.text.isprintable()
        assert len(found.text) < 300
        return
    plain, work = json.loads(raw), found.workload
    assert (plain["region"], plain["instance"]) == (found.instance_type.region,
                                                    found.instance_type.ec2_type)  # fmt: skip
    assert (plain["url"], plain["memory"], plain["vcpu"]) == (
        work.url, work.memory_mib, work.cpu_count,
    )  # fmt: skip
    assert read(write(found.instance_type, work).encode()) == found


@given(changed)
def test_read__any_values__are_said_or_refused(fields: Mapping[str, Any]) -> None:
    check(json.dumps(fields).encode())


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_read__any_bytes__are_refused_or_said(raw: bytes) -> None:
    check(raw)


def test_bounds__as_they_are_documented__are_those_of_the_module() -> None:
    assert (metadata.MAX_BYTES, metadata.MAX_URL_CHARS) == (65_536, 2048)
