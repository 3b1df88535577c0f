"""`image inspect` and `attestation verify` as a person or a script meets them."""

from __future__ import annotations

import base64
import codecs
import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cli
from commands.attestation_input import read_document
from devnet.guest.nsm import SimulatedEnclave, SimulatedNsm
from enclave.eif.measure import measure_file
from enclave.eif.writer import build, default_metadata, make_signer
from faults import Refused
from tests.enclave.images import signer, small

pytestmark = pytest.mark.unit

NOW = 1_750_000_000
AT = datetime.fromtimestamp(NOW, UTC).isoformat()
INSTANCE = "i-0123456789abcdef0"
PCRS = {0: "11" * 48, 1: "22" * 48, 2: "33" * 48}
NSM = SimulatedNsm()
DOCUMENT = NSM.attest(SimulatedEnclave(INSTANCE, PCRS), now=NOW)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def oyster(*arguments: str | Path, stdin: bytes = b"") -> Ran:
    """The whole program in this process: a new one for each case would take half a second."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["oyster-provider", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as exited:
            cli.main()
    code = exited.value.code
    return Ran(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.eif"
    path.write_bytes(build(small(signer=signer())))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(NSM.root_pem)
    return path


def test_inspect__a_signed_image__prints_its_measurements(image: Path) -> None:
    ran = oyster("image", "inspect", image, "--json")
    measured = measure_file(image)
    assert (ran.code, ran.err) == (0, "")
    report = ran.json
    assert report["pcrs"] == {str(number): value for number, value in measured.pcrs.items()}
    assert sorted(report["pcrs"]) == ["0", "1", "2", "8"]
    assert report["needs"] == {"architecture": "x86_64", "min_enclave_memory_mib": 1}
    assert (report["version"], report["arch"], report["signed"]) == (4, "x86_64", True)
    assert report["size_bytes"] == image.stat().st_size
    assert report["metadata"] == default_metadata()
    assert [section["type"] for section in report["sections"]] == [
        "kernel", "cmdline", "metadata", "ramdisk", "ramdisk", "signature"
    ]  # fmt: skip
    assert (report["wrong"], report["launchable"]) == ([], True)


def test_inspect__a_broken_image__names_the_rules_and_exits_3(image: Path) -> None:
    data = bytearray(image.read_bytes())
    data[600] ^= 1
    image.write_bytes(data)
    ran = oyster("image", "inspect", image, "--json")
    rules = [wrong["rule"] for wrong in ran.json["wrong"]]
    assert (ran.code, rules) == (3, ["file.crc", "signature.other-image"])
    assert len(ran.err.splitlines()) == 1
    assert "file.crc" in ran.err


def test_inspect__an_expired_signer__is_not_launchable(image: Path) -> None:
    image.write_bytes(build(small(signer=make_signer(not_after=1_600_000_000))))
    ran = oyster("image", "inspect", image, "--json")
    assert (ran.code, [wrong["rule"] for wrong in ran.json["wrong"]]) == (3, ["signature.dates"])
    assert len(ran.json["pcrs"]) == 4


def test_inspect__texts_of_a_stranger__reach_no_terminal(image: Path) -> None:
    metadata = default_metadata(name="\x1b]0;evil\x07\n\u202e")
    evil = make_signer("\x1b[2Jevil\r")
    image.write_bytes(build(small(metadata=metadata, signer=evil)))
    ran = oyster("image", "inspect", image)
    assert ran.code == 0
    assert all(line.isprintable() for line in ran.out.split("\n"))


def test_inspect__no_such_file_or_a_folder__is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        ran = oyster("image", "inspect", path)
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)


@pytest.mark.parametrize("form", ["raw", "hex", "base64"])
def test_verify__each_form_of_the_document__is_verified(form: str, root: Path) -> None:
    forms = {
        "raw": DOCUMENT,
        "hex": DOCUMENT.hex().encode(),
        "base64": base64.encodebytes(DOCUMENT),
    }
    expected = ["--instance-id", INSTANCE, "--pcr", f"0={PCRS[0]}", "--pcr", f"2={PCRS[2]}"]
    ran = oyster(
        "attestation", "verify", "-", "--root", root, "--at", AT, *expected, "--json",
        stdin=forms[form],
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["verified"] is True
    assert ran.json["instance_id"] == INSTANCE
    assert ran.json["pcrs"]["0"] == PCRS[0]


def test_verify__under_another_root__says_so_to_a_person(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "document"
    path.write_bytes(DOCUMENT)
    ran = oyster("attestation", "verify", path, "--root", root, "--at", AT)
    assert ran.code == 0
    assert "ANOTHER root" in ran.out


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        (["--at", AT], "root"),
        (["--at", "2026-11-22T00:00:00Z", "--root", "ROOT"], "expired"),
        (["--at", AT, "--root", "ROOT", "--pcr", f"0={PCRS[1]}"], "pcr"),
        (["--at", AT, "--root", "ROOT", "--instance-id", "i-1"], "instance"),
    ],
)
def test_verify__not_as_expected__exits_3_with_a_reason(
    arguments: list[str], slug: str, root: Path
) -> None:
    given = [str(root) if each == "ROOT" else each for each in arguments]
    ran = oyster("attestation", "verify", "-", "--json", *given, stdin=DOCUMENT)
    assert ran.code == 3
    assert ran.json == {"verified": False, "reason": slug}
    assert len(ran.err.splitlines()) == 1


def test_verify__debug_mode__needs_to_be_allowed(root: Path) -> None:
    document = NSM.attest(SimulatedEnclave(INSTANCE, PCRS, debug=True), now=NOW)
    common = ("attestation", "verify", "-", "--root", root, "--at", AT)
    assert oyster(*common, stdin=document).code == 3
    assert oyster(*common, "--allow-debug", stdin=document).code == 0


@pytest.mark.parametrize(
    "arguments",
    [["--pcr", "0=11"], ["--pcr", f"32={PCRS[0]}"], ["--at", "yesterday"], ["--root", __file__],
     ["--pcr", f"0={PCRS[0]}", "--pcr", f"0={PCRS[1]}"], ["--at", "9999-12-31T23:59:59-23:59"]],
)  # fmt: skip
def test_verify__written_wrong__is_a_usage_error(arguments: list[str]) -> None:
    ran = oyster("attestation", "verify", "-", *arguments, stdin=DOCUMENT)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)


@pytest.mark.parametrize("garbage", [b"", b"hello", b"\x84", b"0" * 100_000, b"\xff\xfe"])
def test_verify__garbage__exits_3(garbage: bytes) -> None:
    ran = oyster("attestation", "verify", "-", stdin=garbage)
    assert (ran.code, len(ran.err.splitlines())) == (3, 1)


@given(st.binary(min_size=1).map(lambda rest: b"\x84" + rest))
def test_read_document__each_form__is_the_document(document: bytes) -> None:
    forms = [
        document,
        document.hex().encode(),
        b"0x" + document.hex().upper().encode() + b"\n",
        base64.b64encode(document),
        base64.encodebytes(document),
        base64.urlsafe_b64encode(document).rstrip(b"="),
        b"\xd2" + document,
        document.hex().encode("utf-16"),
        codecs.BOM_UTF8 + base64.b64encode(document),
        json.dumps(base64.b64encode(document).decode()).encode(),
        json.dumps(list(document)).encode(),
        json.dumps({"ok": True, "data": {"attestation": document.hex(), "id": "x"}}).encode(),
        json.dumps({"Attestation": {"document": list(document)}}, indent=1).encode(),
    ]
    assert {read_document(form) for form in forms} == {document}


@pytest.mark.parametrize(
    "text",
    ['{"attestation": "hello"}', "[132, 256]", "[]", '"\\ud800"', "[[[[[[132]]]]]]", "[" * 60_000,
     '{"a": [132], "b": "84ff"}', '{"attestation": ["84", 1]}' + " x"],
)  # fmt: skip
def test_read_document__json_without_one_document__is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"JSON"):
        read_document(text.encode())


@given(st.binary())
def test_read_document__any_bytes__raise_nothing_else(given_bytes: bytes) -> None:
    try:
        read_document(given_bytes)
    except Refused:
        assert given_bytes
