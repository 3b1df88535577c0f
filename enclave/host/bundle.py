"""The host program as one file: a zipapp with the same bytes wherever and whenever it is made."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

# What only the agent's side needs stays out of the program.
_LEFT_OUT = frozenset({"bundle.py", "userdata.py", "boot.py"})
_MAIN = "from enclave.host.__main__ import main\n\nmain()\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build() -> bytes:
    """The zipapp's bytes; stored, since another zlib would compress to other bytes."""
    here = Path(__file__).parent
    paths = {path.relative_to(here).as_posix(): path for path in here.rglob("*.py")}
    files = {f"enclave/host/{name}": path.read_text() for name, path in paths.items()}
    files = {k: v for k, v in files.items() if k.rpartition("/")[2] not in _LEFT_OUT}
    files["enclave/__init__.py"] = ""
    files["__main__.py"] = _MAIN
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name].encode())
    return out.getvalue()


def digest(program: bytes) -> str:
    """SHA-256 in hex: names the program in the bucket and in user data."""
    return hashlib.sha256(program).hexdigest()
