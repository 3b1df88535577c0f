"""Whether sources of images serve, asked through the fetch's own code for a block that nearly every
IPFS node has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclave.cid import parse_cid
from faults import Fault

if TYPE_CHECKING:
    from enclave.ipfs.gateway import Source

# The empty UnixFS directory: four bytes, pinned by default wherever Kubo runs.
EMPTY_DIRECTORY = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One source: what it did wrong, or nothing, and whether it was there at all."""

    name: str
    fault: str = ""
    answered: bool = True

    @property
    def serves(self) -> bool:
        return not self.fault


async def ask_all(sources: Sequence[Source]) -> list[Asked]:
    """How each serves the block, in the order given; all are asked at the same time."""
    return list(await asyncio.gather(*(asyncio.to_thread(_ask, one) for one in sources)))


def _ask(source: Source) -> Asked:
    from enclave.ipfs.answers import BadAnswer, NotReached
    from enclave.ipfs.car import BadCar
    from enclave.ipfs.gateway import unbroken
    from enclave.web.guard import Guard, OutOfTime

    guard = Guard(time.monotonic, time.monotonic() + _SECONDS, _SECONDS)
    try:
        with unbroken(source), closing(source.open(guard)) as session:
            session.block(parse_cid(EMPTY_DIRECTORY))
    except OutOfTime:  # its words are for whoever fetches an image
        return Asked(source.name, f"no answer in {_SECONDS:g} s", answered=False)
    except (BadAnswer, BadCar) as fault:
        return Asked(source.name, str(fault), answered=not isinstance(fault, NotReached))
    except Fault as fault:
        return Asked(source.name, str(fault), answered=False)
    return Asked(source.name)
