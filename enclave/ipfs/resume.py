"""Go on from what an earlier download left on disk, which is believed as little as a gateway.

Nothing is remembered of it but the bytes. The walk names the next leaf by a CID that it read in a
verified node, and a leaf on disk is taken when it hashes to that CID, in no other case; so a torn,
stale or altered part costs time and changes nothing. Only raw leaves can be found there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from enclave.cid import RAW, Cid
from enclave.eif.format import MAGIC
from enclave.ipfs.assembly import Intake


def go_on_from(part: Path, intake: Intake, block: Callable[[Cid], bytes]) -> None:
    """Take leaves from `part` up to the first that is not there; `block` gives the nodes above.

    The pieces taken may be written to `part` meanwhile: never beyond where it is read. Raises
    BadDag, and what `block` raises.
    """
    with part.open("rb", buffering=0) as file:
        # A new part is all zeros: no node need be asked for to find nothing below it.
        if os.pread(file.fileno(), len(MAGIC), 0) != MAGIC:
            return
        while (cid := intake.walk.wanted) is not None:
            if cid.codec == RAW:
                found = os.pread(file.fileno(), intake.walk.wanted_bytes, intake.walk.position)
                if not cid.matches(found):
                    return
            else:
                found = block(cid)
            intake.take(cid, found)
