"""What reaches an instance: signed requests, user data, the program's bytes, tools' output."""

from __future__ import annotations

import ast
import hashlib
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials
from hypothesis import given
from hypothesis import strategies as st

from enclave.host import aws, bundle, userdata
from enclave.host import nitro_cli as nitro
from enclave.host.config import Cadence, Config, Places
from enclave.host.mailbox import _hashed

pytestmark = pytest.mark.unit

NOW = 1_790_000_000.0
CONFIG = Config("eu-west-1", "a-bucket", "hosts/AROA1:", "programs/x.pyz", "0" * 64)


@given(key=st.text("abc019/-_.:~ +é", min_size=1, max_size=40), secret=st.text(min_size=1))
def test_signed__any_key__is_what_the_sdk_signs(key: str, secret: str) -> None:
    url = aws.object_url("a-bucket", "eu-west-1", key)
    request = AWSRequest("GET", url, {"range": "bytes=5-"})
    signer = S3SigV4Auth(SdkCredentials("AKIA", secret, "token"), "s3", "eu-west-1")
    credentials = aws.Credentials("AKIA", secret, "token", NOW)
    ours = aws.signed("GET", url, "eu-west-1", credentials, NOW, {"range": "bytes=5-"})
    request.headers["X-Amz-Content-SHA256"] = aws.EMPTY_SHA256
    request.headers["X-Amz-Security-Token"] = "token"
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    request.context["timestamp"] = ours["x-amz-date"]
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert ours["authorization"].endswith(f"Signature={signature}")


def test_object_url__an_endpoint_is_set__is_path_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000/")
    assert aws.object_url("b", "r", "hosts/A:i/x") == "http://127.0.0.1:5000/b/hosts/A%3Ai/x"


def test_userdata__rendered__is_python_39_and_small_and_without_secret() -> None:
    text = userdata.render(CONFIG)
    ast.parse(text, feature_version=(3, 9))
    assert text.startswith("#!/usr/bin/python3\n")
    assert len(text.encode()) < 14 * 1024
    assert "AKIA" not in text
    assert text == userdata.render(CONFIG)


def test_userdata__too_long__is_refused() -> None:
    with pytest.raises(ValueError, match="16384"):
        userdata.render(Config("r", "b" * 9000, "h", "p", "0" * 64))


def test_config__to_json_and_back__is_equal() -> None:
    config = Config("r", "b", "h", "p", "0" * 64, Cadence(poll=3.0))
    assert Config.from_json(config.to_json()) == config


def test_bundle__built_twice__same_bytes_and_standard_library_only() -> None:
    program = bundle.build()
    assert program == bundle.build()
    assert bundle.digest(program) == hashlib.sha256(program).hexdigest()
    known = sys.stdlib_module_names | {"enclave"}
    with zipfile.ZipFile(BytesIO(program)) as archive:
        for name in archive.namelist():
            tree = ast.parse(archive.read(name), feature_version=(3, 9))
            assert _imported(tree) <= known, name


def _imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("\n", 0), ("1", 1), ("1,3-5", 4), ("2-3,6-9\n", 6)]
)
def test_allocated__cpu_pool__counts_ranges(text: str, count: int, tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.cpu_pool.parent.mkdir(parents=True)
    places.cpu_pool.write_text(text)
    for kib, pages in ((1048576, 1), (2048, 3)):
        folder = places.nodes / f"node0/hugepages/hugepages-{kib}kB"
        folder.mkdir(parents=True)
        (folder / "nr_hugepages").write_text(f"{pages}\n")
    got = nitro.allocated(places)
    assert (got.cpu_count, got.memory_mib) == (count, 1030)


@pytest.mark.parametrize("size", [0, 1, 10, 11, 20])
def test_part__left_by_an_earlier_try__goes_on_where_it_ended(size: int, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    part.write_bytes(b"0123456789")
    digest, have = _hashed(part, size)
    kept = b"0123456789" if size >= 10 else b""
    assert (digest.digest(), have) == (hashlib.sha256(kept).digest(), len(kept))
    assert part.read_bytes() == kept
