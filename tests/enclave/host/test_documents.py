"""desired.json of both schemas: the lowest that can say it, and nothing that means two things."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enclave.host.decide import enclave_name
from enclave.host.documents import (
    COUNTS,
    MAX_INIT_BYTES,
    PACKETS,
    SCHEMAS,
    Desired,
    DocumentRefused,
    Init,
    Port,
    Status,
)
from enclave.host.drops import DROPS

pytestmark = pytest.mark.unit

PLAIN = Desired("run-1", "a" * 64, 1000, 2, 512)
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
INITS = st.builds(
    Init,
    st.text("0123456789abcdefx.:_-", min_size=1, max_size=128),
    st.text("0123456789abcdef", min_size=64, max_size=64).filter(lambda one: one != NOTHING),
    st.integers(1, MAX_INIT_BYTES),
) | st.builds(Init, st.just("0x00"), st.just(NOTHING), st.just(0))
SECOND = st.builds(
    replace,
    st.just(PLAIN),
    network=st.sampled_from(["forwards", PACKETS]),
    enclave_cid=st.integers(4, (1 << 32) - 2),
    init=st.none() | INITS,
    egress_kbit=st.integers(0, 1 << 40),
    mail=st.booleans(),
    debug=st.just(True),
    console=st.booleans(),
)


@given(SECOND)
def test_desired__of_schema_2__to_json_and_back_is_equal(desired: Desired) -> None:
    document = json.loads(json.dumps(desired.to_json()))
    assert document["schema"] == 2
    assert Desired.from_json(document) == desired


def test_desired__says_nothing_of_schema_2__a_host_of_schema_1_reads_it() -> None:
    document = PLAIN.to_json()
    assert document["schema"] == 1
    assert set(document) == {
        "run_id", "image_sha256", "image_bytes", "cpu_count", "memory_mib", "debug", "ports",
        "egress", "schema",
    }  # fmt: skip


def test_desired__of_schema_1_with_words_of_2__they_mean_nothing() -> None:
    document = {**PLAIN.to_json(), "network": PACKETS, "init": "?"}
    assert Desired.from_json(document) == PLAIN


WITH_ALL = replace(PLAIN, network=PACKETS, enclave_cid=88, init=Init("0x1", "b" * 64, 10))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"schema": 3}, "schema: 3, this program knows 1 and 2"),
        ({"schema": "2"}, "schema: '2'"),
        ({"network": "bridge"}, "network: 'bridge' is none of forwards, packets"),
        ({"network": None}, "network"),
        ({"enclave_cid": 3}, "enclave_cid: 3 is reserved"),
        ({"enclave_cid": 0}, "enclave_cid: needed"),
        ({"enclave_cid": 0xFFFFFFFF}, "enclave_cid"),
        ({"init": []}, "not a JSON object"),
        ({"init": {"job": "../x", "sha256": "b" * 64, "size_bytes": 1}}, "job"),
        ({"init": {"job": "1", "sha256": "b" * 63, "size_bytes": 1}}, "sha256"),
        ({"init": {"job": "1", "sha256": "b" * 64, "size_bytes": 1 << 21}}, "size_bytes"),
        ({"init": {"job": "1", "sha256": "b" * 64, "size_bytes": 0}}, "init: no bytes"),
        ({"init": {"job": "1", "sha256": NOTHING, "size_bytes": 1}}, "init: no bytes"),
        ({"ports": [{"listen": 80, "enclave": 80}]}, "ports: all are the enclave's"),
        ({"console": True}, "console: only of an enclave in debug mode"),
        ({"egress_kbit": -1}, "egress_kbit"),
        ({"mail": 1}, "mail"),
    ],
)  # fmt: skip
def test_desired__of_schema_2_and_wrong__is_refused_by_its_field(
    changed: dict[str, object], words: str
) -> None:
    with pytest.raises(DocumentRefused) as refused:
        Desired.from_json({**WITH_ALL.to_json(), **changed})
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"egress_kbit": 5}, True),
        ({"mail": True}, True),
        ({"init": None}, False),
        ({"init": Init("0x1", "c" * 64, 10)}, False),
        ({"init": Init("0x2", "b" * 64, 10)}, False),
        ({"enclave_cid": 89}, False),
        ({"network": "forwards"}, False),
    ],
)
def test_enclave_name__what_it_is_given_at_its_start__makes_another(
    changed: dict[str, object], same: bool
) -> None:
    other = replace(WITH_ALL, **changed)  # type: ignore[arg-type]  # named by the table
    assert (enclave_name(other) == enclave_name(WITH_ALL)) is same


def test_enclave_name__of_schema_1__is_what_it_was() -> None:
    assert enclave_name(PLAIN) == "oyster-268cd47e583f34727e17ba26b66a1650"


COUNTED = dict.fromkeys(COUNTS, 7)


def test_status__traffic_and_what_it_knows__come_back() -> None:
    status = Status(
        "running", "r", 1.0, "p", "i-1", traffic={"in-443": COUNTED, "packets": COUNTED}
    )
    assert status.knows == SCHEMAS[-1]
    assert Status.from_json(json.loads(json.dumps(status.to_json()))) == status
    older = {k: v for k, v in status.to_json().items() if k not in ("knows", "traffic")}
    assert Status.from_json(older) == replace(status, knows=1, traffic={})


@pytest.mark.parametrize(
    "traffic",
    [[], {"x": COUNTED}, {"in-1": 1}, {"in-1": {"accepted": 1}},
     {"in-1": {**COUNTED, "bytes_in": -1}}, {f"in-{n}": COUNTED for n in range(129)},
     {"in-443\n": COUNTED}],
)  # fmt: skip
def test_status__odd_traffic__is_refused(traffic: object) -> None:
    document = {**Status("running", "r", 1.0, "p", "i-1").to_json(), "traffic": traffic}
    with pytest.raises(DocumentRefused, match=r"traffic|bytes_in"):
        Status.from_json(document)


def test_status__drops__come_back_and_an_older_host_has_none() -> None:
    status = Status("running", "r", 1.0, "p", "i-1", drops=dict.fromkeys(DROPS, 1 << 62))
    document = json.loads(json.dumps(status.to_json()))
    assert Status.from_json(document) == status
    del document["drops"]
    assert Status.from_json(document).drops == {}


@given(
    drops=st.recursive(
        st.none() | st.integers() | st.text(max_size=40),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=40), inner),
    )
)
@example(drops={f"new-{n}": n for n in range(1000)})
@example(drops={"near": True, "mail": -1, "short": 1 << 63, "near\n": 1, "N": 1})
def test_status__odd_drops__are_bounded_and_refuse_no_status(drops: Any) -> None:
    document = {**Status("running", "r", 1.0, "p", "i-1").to_json(), "drops": drops}
    found = Status.from_json(document).drops
    assert len(found) <= 32
    assert all(drops[name] == count and 0 <= count < 1 << 63 for name, count in found.items())


def test_port__forwards_and_a_cid__may_have_ports() -> None:
    desired = replace(WITH_ALL, network="forwards", ports=(Port(80, 80),))
    assert Desired.from_json(desired.to_json()) == desired
