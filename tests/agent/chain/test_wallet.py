"""Wallets sign the same bytes as everyone else, refuse bad files, and show nothing."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from moto.kms.utils import ECDSAPrivateKey

from agent.chain.encoding import Fees, Unsigned, transaction_hash
from agent.chain.kms import KmsSigner
from agent.chain.wallet import (
    LocalSigner,
    is_keystore,
    keystore_address,
    keystore_says,
    new_signer,
    open_keystore,
    open_raw,
    require_password,
    write_secret,
)
from agent.market.model import Address, Wei
from agent.secret import read_secret
from faults import MustStop, Refused, RetryLater, UsageFault

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

pytestmark = pytest.mark.unit

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
OTHER = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**40),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.binary(max_size=100),
    st.integers(21_000, 2**40),
)
@settings(max_examples=50, deadline=None)
async def test_signed__any_transaction__is_what_eth_account_makes(
    nonce: int, chain_id: int, max_fee: int, tip: int, data: bytes, gas: int
) -> None:
    signer = LocalSigner(bytes.fromhex(KEY))
    bare = Unsigned(chain_id + 1, nonce, Fees(Wei(max_fee), Wei(tip)), gas, OTHER, data, 3)
    raw = bare.signed(await signer.sign(bare.digest()))
    fields: dict[str, Any] = {
        "chainId": chain_id + 1, "nonce": nonce, "maxFeePerGas": max_fee, "gas": gas,
        "maxPriorityFeePerGas": tip, "to": OTHER, "value": 3, "data": data, "type": 2,
    }  # fmt: skip
    theirs = Account.sign_transaction(fields, KEY)
    assert raw == bytes(theirs.raw_transaction)
    assert transaction_hash(raw) == theirs.hash.to_0x_hex()
    assert Account.recover_transaction(raw) == signer.address == ADDRESS


@given(
    st.integers(0, 2**64 - 1), st.integers(1, 2**40), st.integers(0, 10**12),
    st.binary(max_size=100), st.integers(21_000, 2**40),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
async def test_signed__in_the_old_form__is_what_eth_account_makes(
    nonce: int, chain_id: int, price: int, data: bytes, gas: int
) -> None:
    signer, fees = LocalSigner(bytes.fromhex(KEY)), Fees(Wei(price), Wei(price))
    bare = Unsigned(chain_id, nonce, fees, gas, OTHER, data, 3, old_form=True)
    raw = bare.signed(await signer.sign(bare.digest()))
    fields: dict[str, Any] = {
        "chainId": chain_id, "nonce": nonce, "gasPrice": price, "gas": gas, "to": OTHER,
        "value": 3, "data": data,
    }  # fmt: skip
    theirs = Account.sign_transaction(fields, KEY)
    assert raw == bytes(theirs.raw_transaction)
    assert transaction_hash(raw) == theirs.hash.to_0x_hex()


def test_keystore__sealed_and_opened__is_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    write_secret(path, json.dumps(LocalSigner(bytes.fromhex(KEY)).to_keystore("pass", cost=2)))
    assert path.stat().st_mode & 0o777 == 0o600
    assert is_keystore(path)
    assert keystore_address(path) == ADDRESS
    assert open_keystore(path, "pass").to_hex() == "0x" + KEY
    with pytest.raises(UsageFault, match="does not open"):
        open_keystore(path, "other")
    with pytest.raises(UsageFault, match="cannot create"):
        write_secret(path, "again")


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"crypto": {}}', '{"crypto": {"kdf": 1}}'])
def test_keystore__damaged__is_a_usage_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    with pytest.raises(UsageFault):
        open_keystore(path, "pass")


def test_keystore__of_a_kind_that_signs_nothing_here__is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    sealed = LocalSigner(bytes.fromhex(KEY)).to_keystore("pass", cost=2)
    for version, said in ((1, "version 1"), (4, "a validator"), ("3", "version '3'")):
        path.write_text(json.dumps(sealed | {"version": version}))
        with pytest.raises(UsageFault, match=said):
            open_keystore(path, "pass")


def test_keystore__that_says_another_s_address__is_refused(tmp_path: Path) -> None:
    """Commands without its password go by what it says."""
    path = tmp_path / "key.json"
    sealed = LocalSigner(bytes.fromhex(KEY)).to_keystore("pass", cost=2)
    path.write_text(json.dumps(sealed | {"address": "0x" + "12" * 20}))
    with pytest.raises(UsageFault, match=f"of '0x1212.*, and its key is of {ADDRESS}"):
        open_keystore(path, "pass")
    path.write_text(json.dumps(sealed | {"address": ADDRESS.lower().removeprefix("0x")}))
    assert open_keystore(path, "pass").address == ADDRESS


def test_keystore__with_a_mark_of_byte_order__is_read(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    sealed = LocalSigner(bytes.fromhex(KEY)).to_keystore("pass", cost=2)
    path.write_text("\ufeff" + json.dumps(sealed))
    assert is_keystore(path)
    assert open_keystore(path, "pass").address == ADDRESS


def test_keystore__says_no_address__is_not_guessed_and_told(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    sealed = LocalSigner(bytes.fromhex(KEY)).to_keystore("pass", cost=2)
    del sealed["address"]
    path.write_text(json.dumps(sealed))
    assert keystore_says(path) is None
    with pytest.raises(UsageFault, match="does not say whose it is"):
        keystore_address(path)


@pytest.mark.parametrize(
    ("password", "said"),
    [("", "is empty|with a blank"), ("\ufeffpass", "byte order mark"),
     ("pass\nword", "has 2 lines"), ("pass ", "with a blank"), ("\npass", "has 2 lines")],
)  # fmt: skip
def test_keystore__the_password_has_what_nobody_means__is_hinted_at(
    tmp_path: Path, password: str, said: str
) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(LocalSigner(bytes.fromhex(KEY)).to_keystore("pass", cost=2)))
    with pytest.raises(UsageFault, match=f"does not open.*{said}"):
        open_keystore(path, password)
    with pytest.raises(UsageFault, match=said):
        require_password(_longer(password))


def _longer(password: str) -> str:
    """Long enough, and odd as it was; an empty one can't be both."""
    return password.replace("pass", "pass of some words") if password else " " * 9


def test_write_secret__the_disk_is_full__leaves_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "key"
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(UsageFault, match="No space left on device; nothing is kept"):
            write_secret(path, KEY)
    write_secret(path, KEY)
    assert open_raw(path).address == ADDRESS


def test_raw__only_with_0600(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"0x{KEY}\n")
    for mode in (0o644, 0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(UsageFault, match="chmod 600"):
            open_raw(path)
    path.chmod(0o600)
    assert open_raw(path).address == ADDRESS
    path.write_text(f"\ufeff\n{KEY}\r\n")
    assert open_raw(path).address == ADDRESS
    for text in ("", "0x", KEY[:-1], KEY + "00", "00" * 32, "ff" * 32, "zz" * 32):
        path.write_text(text)
        with pytest.raises(UsageFault) as fault:
            open_raw(path)
        assert text[:20] not in str(fault.value) or not text
    with pytest.raises(UsageFault, match="cannot read"):
        read_secret(tmp_path / "none")


async def test_secrets__however_it_is_shown__are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    signer = LocalSigner(bytes.fromhex(KEY))
    await signer.sign(b"\x01" * 32)
    said = [repr(signer), str(signer), f"{signer!r:>9}", repr([signer]), caplog.text]
    for wrong in (b"", b"\0" * 32, bytes.fromhex(KEY) + b"\x01"):
        with pytest.raises(Refused) as fault:
            LocalSigner(wrong)
        said += [str(fault.value), repr(fault.value.__cause__)]
    with pytest.raises(TypeError):
        pickle.dumps(signer)
    assert KEY not in "".join(said).lower()
    assert str(int(KEY, 16)) not in "".join(said)
    assert new_signer().address != new_signer().address


def _sign_digest(self: ECDSAPrivateKey, message: bytes, algorithm: str) -> bytes:
    made: bytes = self.private_key.sign(message, ECDSA(Prehashed(SHA256())))
    return made


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[KMSClient]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    # moto signs the hash of what MessageType=DIGEST says is the hash; the service does not.
    monkeypatch.setattr(ECDSAPrivateKey, "sign", _sign_digest)
    with mock_aws():
        client = boto3.client("kms", region_name="us-east-1")
        yield client
        client.close()


async def test_kms__signs__as_the_address_it_names(kms: KMSClient) -> None:
    made = kms.create_key(KeySpec="ECC_SECG_P256K1", KeyUsage="SIGN_VERIFY")
    signer = await KmsSigner.open(kms, made["KeyMetadata"]["KeyId"])
    for number in range(8):
        bare = Unsigned(1, number, Fees(Wei(9), Wei(1)), 21_000, OTHER, b"")
        signature = await signer.sign(bare.digest())
        assert signature.s <= 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
        assert Account.recover_transaction(bare.signed(signature)) == signer.address
    assert made["KeyMetadata"]["KeyId"] not in repr(signer)


async def test_kms__signs_with_another_key__must_stop(
    kms: KMSClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [kms.create_key(KeySpec="ECC_SECG_P256K1", KeyUsage="SIGN_VERIFY") for _ in range(2)]
    signer = await KmsSigner.open(kms, keys[0]["KeyMetadata"]["KeyId"])
    monkeypatch.setattr(signer, "_key_id", keys[1]["KeyMetadata"]["KeyId"])
    with pytest.raises(MustStop, match="another key"):
        await signer.sign(b"\x01" * 32)


async def test_kms__wrong_key__must_stop(kms: KMSClient) -> None:
    other = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    with pytest.raises(MustStop, match="ECC_SECG_P256K1"):
        await KmsSigner.open(kms, other["KeyId"])
    with pytest.raises(MustStop, match="NotFoundException"):
        await KmsSigner.open(kms, "00000000-0000-0000-0000-000000000000")


async def test_kms__no_answer__is_retry_later(kms: KMSClient) -> None:
    made = kms.create_key(KeySpec="ECC_SECG_P256K1", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    signer = await KmsSigner.open(kms, made["KeyId"])
    once = Config(retries={"total_max_attempts": 1})
    elsewhere = boto3.client("kms", region_name="us-east-1", config=once)
    signer._client = elsewhere
    elsewhere.meta.events.register("before-send.kms.*", _cut)
    with pytest.raises(RetryLater):
        await signer.sign(b"\x01" * 32)
    elsewhere.close()


async def test_kms__key_out_of_use_for_a_while__is_waited_for(kms: KMSClient) -> None:
    made = kms.create_key(KeySpec="ECC_SECG_P256K1", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    signer = await KmsSigner.open(kms, made["KeyId"])
    kms.meta.events.register("before-call.kms.Sign", _refuses)
    with pytest.raises(RetryLater, match="DisabledException"):
        await signer.sign(b"\x01" * 32)


def _refuses(**_: object) -> None:
    raise ClientError({"Error": {"Code": "DisabledException", "Message": "off"}}, "Sign")


def _cut(request: object, **_: object) -> None:
    from botocore.exceptions import EndpointConnectionError

    raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
