"""Every example of docs/configuration.md is used, not parsed alone: here, or where it says.

Names that are only documentation's (node.example, ipfs.io) are put on loopback; all else stays as
it is written on the page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from agent.chain.wallet import LocalSigner, write_secret
from agent.clock import SystemClock
from agent.config import parse
from agent.config.model import Config
from agent.config.template import render
from agent.wiring.adapters import image_sources, open_endpoints, open_signer, provider_address
from devnet.ipfs.node import FolderGateway, add
from enclave.cid import parse_cid
from enclave.ipfs.retrieval import IpfsFetch
from enclave.ipfs.source_standing import Standings
from enclave.web.guard import Guard
from tests.agent.config.test_pages import ANSWERS, _examples
from tests.agent.conftest import KEYS, Stage

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]

USED_IN = {
    ("chain", "rpc_urls"): "test_nodes__as_documented__are_read",
    ("chain", "rpc_urls_file"): "test_nodes__as_documented__are_read",
    ("wallet", "keystore_file"): "test_keystore__as_documented__signs",
    ("wallet", "password_file"): "test_keystore__as_documented__signs",
    ("wallet", "kms_key_id"): "test_kms_key__as_documented__signs",
    ("images", "gateways"): "test_gateways__as_documented__serve_a_file",
}
"""Examples that reach anything, by the test of this module that does so."""

ELSEWHERE = {
    ("chain", "ws_url"): "tests/agent/chain/test_head.py",
    ("images", "kubo_api"): "tests/enclave/ipfs/test_kubo.py",
    ("enclave", "egress"): "tests/enclave/host/network/test_forwarding.py",
    ("notify", "urls_file"): "tests/commands/test_notify.py",
    ("journal", "url_file"): "tests/devnet/test_two_hosts.py",
}
"""Those whose real part has tests of its own: WebSocket, Kubo's RPC, forwarder, mail, server."""

VALUES = {
    ("chain", "registry"), ("chain", "provider"), ("aws", "regions"), ("offers", "type"),
    ("offers", "price"), ("offers", "cost"), ("offers", "floor"), ("offers", "undercut"),
    ("jobs", "allow_owners"), ("jobs", "deny_owners"), ("jobs", "pass_by"), ("status", "explorer"),
}  # fmt: skip
"""Plain values: taken as they stand is all that can go wrong (tests/agent/config/test_pages.py)."""


def example(section: str, key: str) -> str:
    return next(text for one, name, text in _examples() if (one, name) == (section, key))


def configured(tmp_path: Path, **sections: Mapping[str, Any]) -> Config:
    answers = {name: dict(values) for name, values in ANSWERS.items()}
    for name, values in sections.items():
        answers[name] = dict(values)
    return parse(render(answers), base=tmp_path)


def secret(tmp_path: Path, written: str, text: str) -> str:
    """The file behind `credential:NAME`, where it lies beside a configuration."""
    place = tmp_path / "credentials" / json.loads(written).removeprefix("credential:")
    place.parent.mkdir(exist_ok=True)
    write_secret(place, text)
    return str(json.loads(written))


def test_examples__all__are_used_somewhere() -> None:
    found = {(section, key) for section, key, _ in _examples()}
    assert found == USED_IN.keys() | ELSEWHERE.keys() | VALUES
    assert all((ROOT / place).is_file() for place in ELSEWHERE.values())
    assert all(name in globals() for name in USED_IN.values())


async def test_nodes__as_documented__are_read(stage: Stage, tmp_path: Path) -> None:
    named = enumerate(json.loads(example("chain", "rpc_urls")))
    urls = [f"{stage.node.url}/?node={number}" for number, _ in named]  # one URL twice is one node
    file = secret(tmp_path, example("chain", "rpc_urls_file"), stage.node.url + "\n")
    chain = {**ANSWERS["chain"], "chain_id": 31337, "rpc_urls": urls, "rpc_urls_file": file}
    endpoints = await open_endpoints(configured(tmp_path, chain=chain), SystemClock())
    try:
        assert await endpoints.call("eth_chainId") == hex(31337)
        assert endpoints.count == len(urls) + 1
    finally:
        await endpoints.close()


async def test_keystore__as_documented__signs(tmp_path: Path) -> None:
    key = LocalSigner(bytes.fromhex(KEYS[0]))
    sealed = json.dumps(key.to_keystore("long enough", cost=2))
    wallet = {
        "keystore_file": secret(tmp_path, example("wallet", "keystore_file"), sealed),
        "password_file": secret(tmp_path, example("wallet", "password_file"), "long enough\n"),
    }
    config = configured(tmp_path, wallet=wallet)
    assert await provider_address(config) == key.address
    assert (await open_signer(config)).address == key.address


async def test_keystore__that_says_no_address__is_opened_for_it(tmp_path: Path) -> None:
    key = LocalSigner(bytes.fromhex(KEYS[0]))
    sealed = key.to_keystore("long enough", cost=2)
    del sealed["address"]  # as Foundry's are
    wallet = {
        "keystore_file": secret(tmp_path, example("wallet", "keystore_file"), json.dumps(sealed)),
        "password_file": secret(tmp_path, example("wallet", "password_file"), "long enough\n"),
    }
    assert await provider_address(configured(tmp_path, wallet=wallet)) == key.address


async def test_kms_key__as_documented__signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    alias = json.loads(example("wallet", "kms_key_id"))
    with mock_aws():
        kms = boto3.client("kms", region_name=json.loads(example("aws", "regions"))[0])
        made = kms.create_key(KeySpec="ECC_SECG_P256K1", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
        kms.create_alias(AliasName=alias, TargetKeyId=made["KeyId"])
        signer = await open_signer(configured(tmp_path, wallet={"kms_key_id": alias}))
        kms.close()
    assert signer.address.startswith("0x")


def test_gateways__as_documented__serve_a_file(tmp_path: Path) -> None:
    written = json.loads(example("images", "gateways"))
    (tmp_path / "ipfs").mkdir()
    (tmp_path / "file").write_bytes(b"some bytes")
    cid = add(tmp_path / "ipfs", tmp_path / "file")
    with FolderGateway(tmp_path / "ipfs") as node:
        urls = [node.url for _ in written]  # http://127.0.0.1:PORT, as the first of them
        sources = image_sources(configured(tmp_path, images={"gateways": urls}))
        guard = Guard(time.monotonic, time.monotonic() + 30, 10)
        fetch = IpfsFetch(sources, Standings(), guard, rounds=1)
        intake = fetch.start(parse_cid(cid), 10, lambda piece: None)
        fetch.finish(intake)
    assert intake.whole
    assert fetch.used
