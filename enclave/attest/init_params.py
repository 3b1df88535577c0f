"""What init params prove: the register that a standard image extends with their digest.

A standard image gets its parameters from its host, which could give others. It extends PCR16 with
the digest that the params name and locks it, so a document with the expected PCR16 proves that just
these params arrived. Layout of params and digest: Marlin's oyster-cvm, init params. That an image
does so can't be seen from outside: the images that are known to are in a table here, and operators
may add their own (`enclave.known_images`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import foreign_json

INIT_PCR = 16
_DIGEST_BYTES = 32
_PCR_BYTES = 48

_FORM = re.compile(r"([!-~]{1,200})=([0-9a-fA-F]{96}):([0-9a-fA-F]{96}):([0-9a-fA-F]{96})")
_ZEROS = "0" * 96


class BadKnownImage(ValueError):
    """A text that names no image by its registers; it says what is wrong."""


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image that extends PCR16 with the digest of its init params, and locks it. `place` is
    where it is published, or what it is called; `pcrs` are PCR0, PCR1 and PCR2 (hex)."""

    place: str
    pcrs: tuple[str, str, str]


_RELEASES = "https://artifacts.marlin.org/oyster/eifs/base-blue_v3.0.0_linux_{}.eif"
KNOWN_IMAGES = (
    KnownImage(
        _RELEASES.format("amd64"),
        (
            "7d08525c48ff4b28d4539924f9944957cb30973be51a3bcefa2a284e504d91636d35be6d17fed21a520a755f115b0330",
            "ed7759aa996a2e94c6086f24f61f354f75f9ea7f93a74f55d65c2cb5590d1af3930c9adbc57bb543764fa1f5c444f495",
            "4b23d52967848dbbb7a4b8373282c9fa1629e65febf04d4887ac3f58e4a98ca7519b3d0512fec4008dfa09b5c41b99c1",
        ),
    ),
    KnownImage(
        _RELEASES.format("arm64"),
        (
            "3aa0e6e6ed7d8301655fced7e6ddcc443a3e57bf62f070caa6becf337069e859c0f03d68136440ff1cab8adefd20634c",
            "b0d319fa64f9c2c9d7e9187bc21001ddacfab4077e737957fa1b8b97cc993bed43a79019aebfd40ee5f6f213147909f8",
            "fdb2295dc5d9b67a653ed5f3ead5fc8166ec3cae1de1c7c6f31c3b43b2eb26ab5d063f414f3d2b93163426805dfe057e",
        ),
    ),
)


def read_known(text: str) -> KnownImage:
    """NAME=PCR0:PCR1:PCR2, as a configuration has it. Raises BadKnownImage."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise BadKnownImage("is not NAME=PCR0:PCR1:PCR2, three times 96 hex digits")
    place, *pcrs = found.groups()
    zero, one, two = (pcr.lower() for pcr in pcrs)
    if _ZEROS in (zero, one, two):
        raise BadKnownImage("has a register of zeros, which is debug mode's for whatever runs")
    return KnownImage(place, (zero, one, two))


def pcr16_of(digest: bytes) -> str:
    """PCR16 (hex) after one extension with the digest of the init params."""
    return hashlib.sha384(bytes(_PCR_BYTES) + digest).hexdigest()


def digest_of(params: bytes) -> bytes | None:
    """The digest that init params name; None where they name none of 32 bytes."""
    try:
        said = foreign_json.loads(params)
        digest = base64.b64decode(said["digest"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None
    return digest if len(digest) == _DIGEST_BYTES else None


def known_image(
    pcrs: Mapping[int, str], known: Iterable[KnownImage] = KNOWN_IMAGES
) -> KnownImage | None:
    """The image with these PCRs, if it is known to extend PCR16."""
    shown = tuple(pcrs.get(number, "") for number in range(3))
    return next((image for image in known if image.pcrs == shown), None)


def expected_pcr16(
    pcrs: Mapping[int, str], params: bytes, known: Iterable[KnownImage] = KNOWN_IMAGES
) -> str | None:
    """What PCR16 must be when this image got these params; None where that can't be said: the
    image is not known to extend it, or the params name no digest."""
    digest = digest_of(params)
    if digest is None or known_image(pcrs, known) is None:
        return None
    return pcr16_of(digest)
