"""Content identifiers: the names by which every byte of an image is verified.

Reads what this product accepts and nothing else: CIDv0 and v1; the codecs raw and dag-pb; the
hashes of `_HASHES` with whole digests, and identity hashes of at most 128 bytes. Text in base58btc,
base32, base36 and base16. Two CIDs are equal when codec and multihash are, however written.
Sources: the CID and multihash specifications (multiformats), and the multicodec table.

Taken are the hashes of `ipfs add --hash` that Python has itself and that are as strong as sha2-256.
blake3 is not: nothing adds files by it unless told to, and reading it would take a library of
machine code that sees hostile bytes. Nor are sha1 and what is shorter than 256 bits.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from faults import Refused

RAW: Final = 0x55
DAG_PB: Final = 0x70
IDENTITY: Final = 0x00
SHA2_256: Final = 0x12
SHA2_512: Final = 0x13
SHA3_512: Final = 0x14
SHA3_256: Final = 0x16
SHA2_384: Final = 0x20  # never in a CID from outside: names an https image by its whole digest
BLAKE2B_256: Final = 0xB220
BLAKE2B_512: Final = 0xB240

MAX_IDENTITY_BYTES: Final = 128  # what IPFS implementations agreed on (go-verifcid)
MAX_CID_BYTES: Final = 2 + 3 + 2 + MAX_IDENTITY_BYTES
MAX_TEXT_CHARS: Final = 2 * MAX_CID_BYTES + 1  # base16, the longest of the alphabets

Bytes = bytes | bytearray | memoryview

_HASHES: Final[Mapping[int, Callable[[Bytes], bytes]]] = {
    SHA2_256: lambda data: hashlib.sha256(data).digest(),
    SHA2_512: lambda data: hashlib.sha512(data).digest(),
    SHA3_256: lambda data: hashlib.sha3_256(data).digest(),
    SHA3_512: lambda data: hashlib.sha3_512(data).digest(),
    BLAKE2B_256: lambda data: hashlib.blake2b(data, digest_size=32).digest(),
    BLAKE2B_512: lambda data: hashlib.blake2b(data).digest(),
}
_DIGEST_BYTES: Final = {
    SHA2_256: 32, SHA2_512: 64, SHA3_256: 32, SHA3_512: 64, BLAKE2B_256: 32, BLAKE2B_512: 64,
    SHA2_384: 48,
}  # fmt: skip
# What people try that is not accepted, in the words of who has to change it.
_OTHER_CODECS: Final = {
    0x71: "dag-cbor", 0x72: "it names a key (IPNS), whose content can change", 0x78: "git",
    0x0129: "dag-json", 0x0202: "a CAR file", 0xF101: "a piece of Filecoin's",
    0xF102: "a sealed sector of Filecoin's",
}  # fmt: skip
_OTHER_HASHES: Final = {0x11: "sha1", 0x1E: "blake3", 0xB260: "blake2s-256"}
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"


class BadCid(Refused):
    """These bytes or this text are no CID, or one of a kind that is not accepted."""


@dataclass(frozen=True, slots=True)
class Cid:
    """One content identifier; `version` only says how it was written."""

    codec: int
    hash_code: int
    digest: bytes
    version: int = field(default=1, compare=False)

    @property
    def multihash(self) -> bytes:
        return write_varint(self.hash_code) + write_varint(len(self.digest)) + self.digest

    def __bytes__(self) -> bytes:
        if self.version == 0:
            return self.multihash
        return b"\x01" + write_varint(self.codec) + self.multihash

    def __str__(self) -> str:
        if self.version == 0:
            return _to_base58(self.multihash)
        return "b" + b32encode(bytes(self)).decode().rstrip("=").lower()

    @property
    def canonical(self) -> Cid:
        """The same identifier as version 1: one text for one content."""
        return Cid(self.codec, self.hash_code, self.digest)

    @property
    def inline(self) -> bytes | None:
        """The block itself, when the identifier carries it."""
        return self.digest if self.hash_code == IDENTITY else None

    def matches(self, block: Bytes) -> bool:
        """Is this the block that the identifier names?"""
        if self.hash_code == IDENTITY:
            return self.digest == block
        return _HASHES[self.hash_code](block) == self.digest


def cid_of(block: Bytes, codec: int = RAW, hash_code: int = SHA2_256) -> Cid:
    """The version 1 identifier of a block."""
    return Cid(codec, hash_code, _HASHES[hash_code](block))


def read_cid(data: Bytes) -> Cid:
    """The identifier that is exactly these bytes. Raises BadCid."""
    cid, end = read_cid_at(data, 0)
    if end != len(data):
        raise BadCid(f"{len(data) - end} bytes follow the CID")
    return cid


def read_cid_at(data: Bytes, start: int) -> tuple[Cid, int]:
    """The identifier that begins at `start`, and where it ends. Raises BadCid."""
    if data[start : start + 2] == b"\x12\x20":
        digest, end = _take(data, start + 2, 32)
        return Cid(DAG_PB, SHA2_256, digest, version=0), end
    version, at = read_varint(data, start)
    if version != 1:
        raise BadCid(f"CID version {version} is not known")
    codec, at = read_varint(data, at)
    if codec not in (RAW, DAG_PB):
        known = f" ({_OTHER_CODECS[codec]})" if codec in _OTHER_CODECS else ""
        raise BadCid(f"codec {codec:#x}{known} is not accepted: an image is raw or dag-pb")
    hash_code, at = read_varint(data, at)
    length, at = read_varint(data, at)
    _check_hash(hash_code, length)
    digest, end = _take(data, at, length)
    return Cid(codec, hash_code, digest), end


def parse_cid(text: str) -> Cid:
    """The identifier that this text writes. Raises BadCid."""
    if not 2 <= len(text) <= MAX_TEXT_CHARS:
        raise BadCid(f"a CID has 2 to {MAX_TEXT_CHARS} characters, this has {len(text)}")
    if len(text) == 46 and text.startswith("Qm"):
        return read_cid(_from_base58(text))
    if text.startswith("Qm"):
        raise BadCid(f"{text[:60]!r} is no whole CID: one has 46 characters, this has {len(text)}")
    decode = _MULTIBASES.get(text[0])
    if decode is None:
        raise BadCid(f"{text[:60]!r} is no CID: its first letter names no base that is read here")
    data = decode(text[1:])
    if data[:1] != b"\x01":
        raise BadCid(f"{text[:60]!r} is no CID of version 1")
    return read_cid(data)


def read_varint(data: Bytes, start: int) -> tuple[int, int]:
    """An unsigned varint of at most 9 bytes in its shortest form, and where it ends."""
    value = shift = 0
    for at in range(start, min(start + 9, len(data))):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise BadCid("a varint is longer than it needs to be")
            return value, at + 1
        shift += 7
    raise BadCid("a varint is cut off or longer than 9 bytes")


def write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _check_hash(hash_code: int, length: int) -> None:
    if hash_code == IDENTITY:
        if length > MAX_IDENTITY_BYTES:
            raise BadCid(f"an identity CID holds {length} bytes, at most {MAX_IDENTITY_BYTES}")
    elif hash_code not in _HASHES:
        known = f" ({_OTHER_HASHES[hash_code]})" if hash_code in _OTHER_HASHES else ""
        raise BadCid(
            f"hash {hash_code:#x}{known} is not accepted: add the image again with sha2-256, as"
            " `ipfs add` does by itself"
        )
    elif length != _DIGEST_BYTES[hash_code]:
        raise BadCid(f"a digest of {length} bytes where {_DIGEST_BYTES[hash_code]} are whole")


def _take(data: Bytes, start: int, length: int) -> tuple[bytes, int]:
    taken = bytes(data[start : start + length])
    if len(taken) != length:
        raise BadCid("the CID is cut off")
    return taken, start + length


def _to_base58(data: bytes) -> str:
    value, out = int.from_bytes(data), ""
    while value:
        value, digit = divmod(value, 58)
        out = _BASE58[digit] + out
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + out


def _from_digits(alphabet: str, text: str) -> bytes:
    """Base58 and base36: one big number, a leading zero digit for each leading zero byte."""
    value, base = 0, len(alphabet)
    for letter in text:
        digit = alphabet.find(letter)
        if digit < 0:
            raise BadCid(f"{letter!r} is no letter of base{base}")
        value = value * base + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return b"\0" * zeros + value.to_bytes((value.bit_length() + 7) // 8)


def _from_bits(alphabet: str, bits: int, text: str) -> bytes:
    """Base32 and base16 without padding; what is left over must be zero and less than a letter."""
    value = 0
    for letter in text:
        digit = alphabet.find(letter)
        if digit < 0:
            raise BadCid(f"{letter!r} is no letter of base{2**bits}")
        value = value << bits | digit
    spare = len(text) * bits % 8
    if spare >= bits or value & ((1 << spare) - 1):
        raise BadCid(f"base{2**bits} text has bits left over")
    return (value >> spare).to_bytes(len(text) * bits // 8)


_from_base58 = partial(_from_digits, _BASE58)
_MULTIBASES: Final[Mapping[str, Callable[[str], bytes]]] = {
    "z": _from_base58,
    "b": partial(_from_bits, _BASE32, 5),
    "B": partial(_from_bits, _BASE32.upper(), 5),
    "k": partial(_from_digits, _BASE36),
    "K": partial(_from_digits, _BASE36.upper()),
    "f": partial(_from_bits, "0123456789abcdef", 4),
    "F": partial(_from_bits, "0123456789ABCDEF", 4),
}
