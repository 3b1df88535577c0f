"""The provider's key: in a keystore, in a file of mode 0600, or elsewhere behind `Signer`.

A signer gives signatures and an address; the key itself is in no repr, error or log. The signer
over AWS KMS, whose key is never on this host, is in agent.chain.kms.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError

from agent.chain.encoding import Signature
from agent.market.model import Address, address
from agent.secret import oddity, read_plain
from faults import Refused, UsageFault

SCRYPT_COST = 2**17  # 0.4 s and 128 MiB to try one password, as EIP-2335 keystores have it
LEAST_PASSWORD = 8  # below it a keystore that is copied once is open
_VERSION = 3  # of Web3 secret storage
_MAX_FILE_BYTES = 65_536


class Signer(Protocol):
    """What transactions need of a wallet."""

    @property
    def address(self) -> Address: ...

    async def sign(self, digest: bytes) -> Signature:
        """Sign 32 bytes. Raises RetryLater when the key is elsewhere and does not answer."""
        ...


class LocalSigner:
    """A key in this process's memory."""

    __slots__ = ("_key", "address")

    def __init__(self, key: bytes) -> None:
        try:
            self._key = PrivateKey(key)
            self.address = Address(self._key.public_key.to_checksum_address())
        except (ValidationError, ValueError):
            raise Refused("this is not a secp256k1 private key of 32 bytes") from None

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    def __reduce__(self) -> str:
        raise TypeError("a signer is not to be pickled")

    async def sign(self, digest: bytes) -> Signature:
        made = self._key.sign_msg_hash(digest)
        return Signature(made.v, made.r, made.s)

    def to_keystore(self, password: str, cost: int = SCRYPT_COST) -> dict[str, Any]:
        """The key as an encrypted JSON keystore (Web3 secret storage, version 3)."""
        from eth_account import Account  # with it comes BLS: 0.6 s, for keystores alone

        sealed: dict[str, Any] = Account.encrypt(self._key.to_bytes(), password, iterations=cost)
        return sealed

    def to_hex(self) -> str:
        """The key itself, for a raw key file alone."""
        return self._key.to_hex()


def new_signer() -> LocalSigner:
    return LocalSigner(os.urandom(32))


def open_keystore(path: Path, password: str) -> LocalSigner:
    """Raises UsageFault: no keystore, another password, or another's key than it says."""
    from eth_account import Account

    sealed = _keystore(path)
    try:
        signer = LocalSigner(bytes(Account.decrypt(sealed, password)))
    except (ValueError, TypeError, KeyError, NotImplementedError):
        odd = oddity(password)
        hint = f"; the password that was given {odd}" if odd else ""
        raise UsageFault(
            f"{path} does not open: the password is another, or it is damaged{hint}"
        ) from None
    said = str(sealed.get("address") or signer.address)  # outside of what is sealed
    if said.lower().removeprefix("0x") != signer.address.lower().removeprefix("0x"):
        raise UsageFault(f"{path} says it is of {said[:60]!r}, and its key is of {signer.address}")
    return signer


def require_password(password: str) -> None:
    """Raises UsageFault: nobody should seal a new keystore with that."""
    if len(password) < LEAST_PASSWORD:
        raise UsageFault(
            f"a password of {len(password)} characters is guessed in no time: take "
            f"{LEAST_PASSWORD} or more, such as what `head -c 24 /dev/urandom | base64` prints"
        )
    if odd := oddity(password):
        raise UsageFault(f"the password {odd}: one line with nothing around it opens everywhere")


def open_raw(path: Path) -> LocalSigner:
    """A file of 64 hex digits, 0x before them or not, that nobody but its owner can read.

    Raises UsageFault: readable by others or not at all, or not a key.
    """
    text = read_plain(path)
    try:
        return LocalSigner(bytes.fromhex(text.removeprefix("0x")))
    except (ValueError, Refused):
        # Not chained: the cause's text may hold parts of the key.
        raise UsageFault(f"{path} holds no private key: 64 hex digits") from None


def is_keystore(path: Path) -> bool:
    """Whether a file is JSON at all; if so it must be a keystore. Raises UsageFault: unreadable."""
    return _read(path).lstrip().startswith("{")


def keystore_address(path: Path) -> Address:
    """The address a keystore says it is for, without opening it. Raises UsageFault."""
    if (said := keystore_says(path)) is None:
        raise UsageFault(f"{path} does not say whose it is; name its --password-file to open it")
    return said


def keystore_says(path: Path) -> Address | None:
    """The same; None: it says nothing, as those of Foundry's `cast wallet`. Raises UsageFault."""
    said = _keystore(path).get("address")
    return address(str(said)) if said else None


def _keystore(path: Path) -> dict[str, Any]:
    try:
        sealed = json.loads(_read(path))
    except ValueError:
        sealed = None
    if not isinstance(sealed, dict) or not {"crypto", "Crypto"} & sealed.keys():
        raise UsageFault(f"{path} is not a JSON keystore")
    if (version := sealed.get("version", _VERSION)) != _VERSION:
        other = "; that of a validator (EIP-2335) signs no transactions" if version == 4 else ""
        raise UsageFault(
            f"{path} is a keystore of version {version!r}, and not of {_VERSION}, as those of geth,"
            f" MetaMask and `keys new`{other}"
        )
    return sealed


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("utf-8-sig", "replace")
    except OSError as broken:
        raise UsageFault(f"cannot read {path}: {broken.strerror}") from None


def write_secret(path: Path, text: str) -> None:
    """A new file of mode 0600, whole or not at all. Raises UsageFault when there is one: keys are
    never overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as broken:
        raise UsageFault(f"cannot create {path}: {broken.strerror}") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as broken:
        path.unlink(missing_ok=True)  # what it has of a key opens nothing, and is in the way
        raise UsageFault(f"cannot write {path}: {broken.strerror}; nothing is kept") from None
