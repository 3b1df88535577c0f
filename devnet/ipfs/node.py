"""The devnet's IPFS node: a gateway over a folder of files. `python -m devnet.ipfs.node`.

Adding is copying: `add` works out the CID and lays the file into the folder, and the gateway
reads the folder again when it is asked for a CID that it does not know. A node can be told to
misbehave, for those who want to see a gateway that lies or stalls.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from devnet.ipfs.blocks import Blocks, Gateway
from enclave.cid import RAW, Cid

BEHAVIOURS = ("honest", "lying", "stalling")


def add(folder: Path, file: Path) -> str:
    """Lay `file` into the node's folder; its CID as Kubo would give it."""
    cid = str(Blocks().add_file(file.read_bytes()).cid)
    part = folder / f"{cid}.part"
    shutil.copyfile(file, part)
    part.rename(folder / cid)
    return cid


class FolderGateway(Gateway):
    """Serves every file of the folder; looks again when it does not know a CID."""

    def __init__(self, folder: Path, behaviour: str = "honest") -> None:
        super().__init__(Blocks())
        self._folder = folder
        self._behaviour = behaviour
        self._known: set[str] = set()
        self._reading = threading.Lock()
        self._never = threading.Event()
        self.blocks.add_directory({})  # `doctor` asks for this one: every public gateway has it

    def resolve(self, path: str) -> Cid:
        try:
            return self._held(super().resolve(path))
        except KeyError:
            self._read_folder()
            return self._held(super().resolve(path))

    def _held(self, cid: Cid) -> Cid:
        if cid.inline is None and cid not in self.blocks.by_cid:
            raise KeyError(cid)
        return cid

    def frames(self, cid: Cid, start: int, scope: str) -> Iterator[tuple[Cid, bytes]]:
        for name, block in super().frames(cid, start, scope):
            yield name, self._served(name, block)

    def raw(self, cid: Cid) -> bytes | None:
        block = super().raw(cid)
        return None if block is None else self._served(cid, block)

    def _served(self, cid: Cid, block: bytes) -> bytes:
        if self._behaviour == "stalling":
            self._never.wait()
        if self._behaviour == "lying" and cid.codec == RAW and block:
            sys.stderr.write(f"lied about {cid}\n")  # whoever wants to know that it was asked
            return bytes([block[0] ^ 1]) + block[1:]
        return block

    def _read_folder(self) -> None:
        with self._reading:
            for file in self._folder.iterdir():
                if file.name not in self._known and file.suffix != ".part":
                    self.blocks.add_file(file.read_bytes())
                    self._known.add(file.name)


def main(argv: list[str] | None = None) -> None:
    """Serve until told to stop; the first line on stdout is JSON with the URL."""
    parser = argparse.ArgumentParser(prog="python -m devnet.ipfs.node", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--behave", choices=BEHAVIOURS, default="honest")
    options = parser.parse_args(argv)
    gateway = FolderGateway(options.directory, options.behave)
    gateway.start()
    sys.stdout.write(json.dumps({"url": gateway.url}) + "\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    gateway.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
