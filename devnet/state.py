"""devnet.json: what a running devnet consists of and how to reach it.

Written once everything is up, removed on the way down: a file that is there means a devnet that
is (or was killed; `status` tells). The keys in it are worthless test keys, made anew each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from faults import UsageFault

FILE = "devnet.json"


@dataclass(frozen=True)
class Person:
    """An account of the devnet; its private key lies in `key_file` (0600)."""

    name: str
    address: str
    key_file: str


@dataclass(frozen=True)
class Devnet:
    """Addresses of everything. URLs are loopback; durations in seconds."""

    pid: int
    rpc_url: str
    witness_urls: tuple[str, ...]  # other nodes of the same chain; anvil has none
    chain_id: int
    registry: str
    pond: str
    payment_token: str
    block: int  # the first block of the registry
    aws_endpoint: str
    aws_control: str
    ipfs_gateway: str
    regions: tuple[str, ...]
    attestation_root: str
    people: Mapping[str, Person]
    config_files: Mapping[str, str]
    children: Mapping[str, int] = field(default_factory=dict)
    born: Mapping[int, int] = field(default_factory=dict)  # of each pid, as processes.born tells
    hosts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # their own environment
    market: str = "registry"  # or marketv1, whose contract then stands in `registry`, without POND
    boot: str = "process"  # or qemu: enclaves are kernels that boot

    def person(self, name: str) -> Person:
        """Raises UsageFault for a name nobody has."""
        if name not in self.people:
            raise UsageFault(f"devnet: no account {name!r}; there are {', '.join(self.people)}")
        return self.people[name]


def write(directory: Path, devnet: Devnet) -> Path:
    """Write devnet.json, whole or not at all."""
    path = directory / FILE
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(devnet), indent=2) + "\n")
    part.chmod(0o600)
    part.replace(path)
    return path


def read(directory: Path) -> Devnet:
    """The devnet of `directory`. Raises UsageFault: none is up there."""
    path = directory / FILE
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageFault(
            f"no devnet in {directory}: start one with 'oyster-provider devnet up --detach', "
            "or name its folder with --dir"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageFault(f"{path} cannot be read: {error}") from error
    try:
        people = {name: Person(**person) for name, person in data.pop("people").items()}
        born = {int(pid): ticks for pid, ticks in data.pop("born").items()}
        regions, witnesses = tuple(data.pop("regions")), tuple(data.pop("witness_urls"))
        return Devnet(people=people, regions=regions, witness_urls=witnesses, born=born, **data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageFault(
            f"{path} is of another version of this program; end its processes "
            "(its pid and its children's are in it), remove the file, and start anew"
        ) from error


def remove(directory: Path) -> None:
    (directory / FILE).unlink(missing_ok=True)


def environment(devnet: Devnet, host: str = "") -> dict[str, str]:
    """What makes every other command work against this devnet, as on that host of it. Raises
    UsageFault: there is no such host."""
    if host and host not in devnet.hosts:
        known = ", ".join(devnet.hosts) or "none: 'devnet up --hosts 2' makes two"
        raise UsageFault(f"there is no host {host!r}: there are {known}")
    return {
        "AWS_ACCESS_KEY_ID": "devnet",
        "AWS_SECRET_ACCESS_KEY": "devnet",
        "AWS_DEFAULT_REGION": devnet.regions[0],
        "AWS_ENDPOINT_URL": devnet.aws_endpoint,
        "OYSTER_CONFIG": devnet.config_files["provider"],
        **devnet.hosts.get(host, {}),
    }
