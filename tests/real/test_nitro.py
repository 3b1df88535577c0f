"""Images of our own writer that boot, and their documents through the kernel's driver.

`make real-nitro`. QEMU emulates the card: it measures what it boots by itself, which is what our
measurements are compared with, and signs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import program
from devnet.image import build_image
from devnet.nitro.build import build
from devnet.nitro.machine import NotBooted
from devnet.nitro.parts import Parts
from enclave.attest.document import pcr4_of
from enclave.eif.format import HEADER_BYTES, SECTION_HEADER_BYTES, unpack_header
from enclave.eif.measure import inspect_file
from enclave.eif.writer import make_signer
from tests.real.nitro import INSTANCE, MODULE, Enclave, running, why_not

WHY = why_not(of_all=False)
REGISTERS = (0, 1, 2, 8)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("real-nitro"),
    pytest.mark.skipif(bool(WHY), reason=WHY or "all is there"),
]


@pytest.fixture(scope="module")
def made() -> Parts:
    return build()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nitro") / "app"
    folder.mkdir()
    (folder / "service").write_text("hello\n")
    return folder


@pytest.fixture(scope="module")
def plain(made: Parts, app: Path) -> Iterator[Enclave]:
    image = app.parent / "plain.eif"
    _oyster("devnet", "image", "build", str(app), "-o", str(image), "--boot", "qemu")
    with running(made, image) as one:
        yield one


@pytest.fixture(scope="module")
def signed(made: Parts, app: Path) -> Iterator[Enclave]:
    image = app.parent / "signed.eif"
    image.write_bytes(build_image(app, boots=made, signer=make_signer()))
    with running(made, image) as one:
        yield one


@pytest.mark.parametrize("kind", ["plain", "signed"])
def test_document__of_an_image_that_boots__has_the_registers_that_inspect_says(
    request: pytest.FixtureRequest, kind: str
) -> None:
    enclave: Enclave = request.getfixturevalue(kind)
    said = enclave.document()
    ours = json.loads(_oyster("image", "inspect", str(enclave.image), "--json").stdout)["pcrs"]
    assert ("8" in ours) == (kind == "signed")
    registers = {number: said["pcrs"][number].hex() for number in REGISTERS}
    assert registers == {number: ours.get(str(number), "00" * 48) for number in REGISTERS}
    assert said["pcrs"][4].hex() == pcr4_of(INSTANCE)
    assert said["module_id"] == MODULE


def test_document__asked_with_a_nonce__brings_it_back(plain: Enclave) -> None:
    said = plain.document(f"?nonce={'01' * 512}&user_data=02&public_key={'03' * 1024}")
    assert (said["nonce"], said["user_data"]) == (b"\1" * 512, b"\2")
    assert said["public_key"] == b"\3" * 1024
    assert plain.document()["nonce"] is None


def test_document__of_qemus_module__is_signed_by_nobody(plain: Enclave) -> None:
    said = plain.document()
    assert not any(said["certificate"])


def test_traffic__over_vsock__comes_back_whole(plain: Enclave) -> None:
    body = os.urandom(4 << 20)
    answer = plain.ask(8080, f"POST / HTTP/1.1\r\nContent-Length: {len(body)}", body)
    back = answer.partition(b"\r\n\r\n")[2]
    assert hashlib.sha256(back).digest() == hashlib.sha256(body).digest()


def test_vsock__a_port_on_which_nothing_listens__refuses(plain: Enclave) -> None:
    with pytest.raises(ConnectionRefusedError):
        plain.machine.connect(7777)


@pytest.mark.parametrize("kind", ["plain", "signed"])
def test_image__a_byte_of_any_section_flipped__is_refused_by_both(
    request: pytest.FixtureRequest, kind: str, made: Parts, tmp_path: Path
) -> None:
    whole = request.getfixturevalue(kind).image.read_bytes()
    image = tmp_path / "flipped.eif"
    for at in _places(whole):
        image.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert inspect_file(image).broken, at
        with (
            pytest.raises(NotBooted, match=r"ended: qemu: .*(EIF|CRC|CBOR|certificate)"),
            running(made, image),
        ):
            pass
    assert _oyster("image", "inspect", str(image), check=False).returncode == 3


def _places(image: bytes) -> list[int]:
    """The middle of each section's data, and a byte of the header's table."""
    header = unpack_header(image[:HEADER_BYTES])
    middles = [offset + SECTION_HEADER_BYTES + size // 2 for offset, size in header.table]
    return [0x1C + 7, *middles]


def _oyster(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        program.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
