"""What owners write into their jobs, and what it means: said here, where it is written.

The agent's own parser is not asked: a text is good because it was written to be, and each bad one
names the fault that was put into it. A text carries its job's number, by which it is found again.
"""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

REGION = "us-east-1"
ROOM = (2, 6144)  # CPUs and MiB that an enclave gets on every type of a storm


@dataclass(frozen=True, slots=True)
class Meaning:
    """A text that can be served: the EC2 type and the image."""

    ec2_type: str
    url: str
    place: tuple[int, int]  # MiB and CPUs: what can't be changed in place


def mark(number: int) -> str:
    """By which the job of an owner's wish is found on whichever fork."""
    return f"#{number}#"


def fields(number: int, ec2_type: str, url: str, memory: int = 1024) -> dict[str, Any]:
    """All nine keys, as Marlin's command line writes them. Every third job has init params: of
    its own, or the same as others that run the image."""
    given = [b"", f"{url} of {number}".encode(), f"{url} of anyone".encode()]
    return {
        "instance": ec2_type, "region": REGION, "memory": memory, "vcpu": 2, "url": url,
        "name": mark(number), "family": "tuna", "debug": False,
        "init_params": b64encode(given[number % 9 // 3 if number % 3 == 0 else 0]).decode(),
    }  # fmt: skip


Mutation = Callable[[dict[str, Any], random.Random], str]


def _without(*names: str) -> Mutation:
    def mutate(good: dict[str, Any], rng: random.Random) -> str:
        name = rng.choice(names)
        return json.dumps({key: value for key, value in good.items() if key != name})

    return mutate


def _with(name: str, *values: Any) -> Mutation:
    return lambda good, rng: json.dumps({**good, name: rng.choice(values)})


# One row a fault; each makes a text that nobody could serve.
FAULTS: Mapping[str, Mutation] = {
    "a key is missing": _without("instance", "region", "memory", "vcpu", "url"),
    "memory is no whole number": _with("memory", "4096", 4096.0, None, True, [], {}),
    "memory is out of range": _with("memory", 0, -1, 2**63, 10**30),
    "memory does not fit": _with("memory", ROOM[1] + 1, 2**20),
    "CPUs are no whole number": _with("vcpu", "2", 2.0, None, True),
    "CPUs are out of range": _with("vcpu", 0, -2, 64, 2**40),
    "a type is none": _with("instance", "", "c6a", "mars.large", "c6a.xlarge\x00", 7, None),
    "a type is not on offer": _with("instance", "t2.nano", "p4d.24xlarge"),
    "a region is none": _with("region", "", "mars", "us-east-1\n", 1, "eu-west-1"),
    "a URL is none": _with("url", "", 5, None, "x" * 3000, "ipfs://im age", "ipfs://\ud800"),
    "a family is another": _with("family", "salmon", "cod", "", 4),
    "init params are no base64": _with("init_params", "%%", "a", 5),
    "it is deep": lambda good, rng: "[" * rng.randint(20, 5000) + json.dumps(good),
    "it is cut off": lambda good, rng: json.dumps(good)[: rng.randint(0, 60)],
    "it is no object": lambda good, rng: json.dumps([good]),
    "it is large": lambda good, rng: json.dumps(good) + " " * 70_000,
    "it is no text": lambda good, rng: json.dumps(good) + "\udcff\udc80",
    "it is empty": lambda good, rng: "",
}


def fuzz(rng: random.Random, number: int, ec2_type: str, url: str) -> tuple[str, str]:
    """A text that can't be served, and why."""
    why = rng.choice(sorted(FAULTS))
    return FAULTS[why](fields(number, ec2_type, url), rng), why
