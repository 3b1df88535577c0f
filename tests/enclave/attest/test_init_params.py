"""PCR16 of init params: by the arithmetic, of known images, and not from nonsense."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.attest.init_params import (
    KNOWN_IMAGES,
    BadKnownImage,
    KnownImage,
    digest_of,
    expected_pcr16,
    known_image,
    pcr16_of,
    read_known,
)

pytestmark = pytest.mark.unit

DIGEST = hashlib.sha256(b"params").digest()
PARAMS = json.dumps({"digest": base64.b64encode(DIGEST).decode(), "params": []}).encode()
AMD64 = dict(enumerate(KNOWN_IMAGES[0].pcrs))


def test_pcr16__of_a_digest__is_one_extension_of_zeros() -> None:
    assert pcr16_of(DIGEST) == hashlib.sha384(b"\0" * 48 + DIGEST).hexdigest()


def test_expected__a_known_image_and_its_params__is_said() -> None:
    assert expected_pcr16(AMD64, PARAMS) == pcr16_of(DIGEST)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_expected__one_register_differs__the_image_is_not_known(number: int) -> None:
    assert expected_pcr16({**AMD64, number: "0" * 96}, PARAMS) is None
    assert known_image({}) is None


@given(st.binary(max_size=100) | st.from_regex(r"[\[\]{}\",:a-z0-9=]*").map(str.encode))
def test_digest__of_any_bytes__is_none_or_32_bytes(params: bytes) -> None:
    found = digest_of(params)
    assert found is None or len(found) == 32


@pytest.mark.parametrize(
    "said", [{}, [], None, {"digest": 1}, {"digest": "!"}, {"digest": "AAAA"}, {"digest": None}]
)
def test_digest__is_not_named__is_none(said: object) -> None:
    assert digest_of(json.dumps(said).encode()) is None
    assert expected_pcr16(AMD64, json.dumps(said).encode()) is None


def test_known__an_operator_s_own__is_one_by_all_three_registers() -> None:
    text = "https://a.example/x.eif?v=1=" + ":".join(digit * 96 for digit in "aBc")
    own = read_known(text)
    assert own == KnownImage("https://a.example/x.eif?v=1", ("a" * 96, "b" * 96, "c" * 96))
    assert known_image(dict(enumerate(own.pcrs)), [own]) == own
    assert known_image(dict(enumerate(own.pcrs))) is None
    assert expected_pcr16(dict(enumerate(own.pcrs)), PARAMS, [own]) == pcr16_of(DIGEST)


def _named(place: str, *digits: str, length: int = 96) -> str:
    return f"{place}=" + ":".join(digit * length for digit in digits)


@pytest.mark.parametrize(
    "text",
    ["", "x", "x=", _named("x", "a"), _named("", *"aaa"), _named("x", *"gaa"),
     _named("x", *"aaa", length=95), _named("x y", *"aaa"), _named("x", *"aaaa"),
     _named("x", *"000"), _named("x", *"aa0"), _named("\x1b[31mx", *"aaa"),
     _named("x" * 201, *"aaa")],
)  # fmt: skip
def test_known__not_of_the_form__is_refused(text: str) -> None:
    with pytest.raises(BadKnownImage):
        read_known(text)


def test_known_images__both_architectures__are_whole_registers() -> None:
    assert sorted(url.rpartition("_")[2] for url in (image.place for image in KNOWN_IMAGES)) == [
        "amd64.eif",
        "arm64.eif",
    ]
    assert all(len(bytes.fromhex(pcr)) == 48 for image in KNOWN_IMAGES for pcr in image.pcrs)
