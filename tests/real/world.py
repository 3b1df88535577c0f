"""A devnet on this machine and the provider's machine beside it, on one loopback."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

import program
from devnet.processes import free_port
from tests.real.gate import Gate
from tests.real.machine import Machine, until
from tests.real.packages import NEW, OLD, OURS, before, built, renumbered

CONFIG = "/etc/oyster-provider/config.toml"
UNIT = "oyster-provider.service"
TYPE = "us-east-1/c6a.xlarge"
PRICE = "0.17/h"
BOOTSTRAPPING = 240
BOOT_SHARE = 0.02
AWS_KEY = "[default]\naws_access_key_id = devnet\naws_secret_access_key = devnet\n"


@dataclass
class World:
    """The market, the doors to its nodes, and the machine that serves it."""

    devnet: Path
    state: dict[str, Any]
    gates: list[Gate]
    machine: Machine

    def devnet_command(self, *words: str) -> str:
        """`oyster-provider devnet ...` outside of the machine."""
        return _devnet(self.devnet, *words)

    def oyster(self, *words: str) -> str:
        """`oyster-provider ...` as root of the machine, with the operator's AWS key."""
        key = "/etc/oyster-provider/credentials/aws-credentials"
        done = self.machine("oyster-provider", *words, environ={"AWS_SHARED_CREDENTIALS_FILE": key})
        return done.stdout

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As typed; the caller looks at how it went."""
        return self.machine("systemctl", *words, check=False)

    def shown(self, *names: str) -> dict[str, str]:
        """Properties of the unit."""
        said = self.systemctl("show", UNIT, *(f"-p{name}" for name in names)).stdout
        return dict(line.split("=", 1) for line in said.splitlines())

    def is_(self, **wanted: str) -> bool:
        """Whether the unit's properties are these."""
        return self.shown(*wanted) == wanted

    def serves(self, seconds: float = 60) -> None:
        """Wait until the unit is active: READY=1 was said."""
        until(lambda: self.is_(ActiveState="active", SubState="running"), seconds, self.log)

    def log(self, *words: str) -> str:
        """What the journal has of the unit."""
        return self.machine("journalctl", "-u", UNIT, "-o", "cat", *words, check=False).stdout

    def settings(self) -> dict[str, Any]:
        """The file that the agent reads."""
        text = (self.machine.root / CONFIG.lstrip("/")).read_text()
        return dict(tomlkit.parse(text).unwrap())

    def configure(self, change: dict[str, dict[str, Any]]) -> None:
        """Set keys of the file that the agent reads."""
        place = self.machine.root / CONFIG.lstrip("/")
        text = tomlkit.parse(place.read_text())
        for section, keys in change.items():
            for key, value in keys.items():
                text.setdefault(section, {})[key] = value
        place.write_text(tomlkit.dumps(text))

    def drop_in(self, *lines: str) -> None:
        """Lines of [Service] over the unit's own; none: its own again."""
        place = f"/etc/systemd/system/{UNIT}.d/test.conf"
        if lines:
            self.machine.write(place, "\n".join(["[Service]", *lines, ""]))
        else:
            (self.machine.root / place.lstrip("/")).unlink(missing_ok=True)
        self.systemctl("daemon-reload")

    def upgrade(self, version: str) -> None:
        """Or install it, the first time."""
        self.machine("apt-get", "install", "-y", f"/root/oyster-provider_{version}.deb")

    def version(self) -> str:
        """What dpkg has."""
        return self.machine("dpkg-query", "-W", "-f=${Version}", "oyster-provider").stdout

    def schema(self) -> str:
        """Which one the journal of the service has."""
        journal = self.machine.root / "var/lib/oyster-provider/journal.sqlite"
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as rows:
            (version,) = rows.execute("select version_num from alembic_version").fetchone()
        return str(version)

    def request(self) -> int:
        """A job that the devnet's user asks us for."""
        words = ("job", "request", TYPE, self.state["url"], "--deposit", "5", "--json")
        said = json.loads(self.devnet_command(*words))
        return int(said["job"])

    def running(self, job: int) -> None:
        """Wait until the chain has it reported started."""
        words = ("job", "show", str(job), "--until", "running", "--seconds", "120")
        self.devnet_command(*words)


def made(folder: Path, stack: ExitStack) -> World:
    """Everything up; the machine has what `apt install` and the operator's first steps leave."""
    devnet = folder / "devnet"
    words = (
        "up",
        "--detach",
        "--bootstrapping",
        str(BOOTSTRAPPING),
        "--boot-share",
        str(BOOT_SHARE),
    )
    said = json.loads(_devnet(devnet, *words, "--json"))
    stack.callback(_devnet, devnet, "down")
    (folder / "app").mkdir()
    (folder / "app/hello.txt").write_text("hello\n")
    eif = str(folder / "app.eif")
    _run("devnet", "image", "build", str(folder / "app"), "-o", eif)
    cid = json.loads(_devnet(devnet, "ipfs", "add", eif, "--json"))["cid"]
    given = tomlkit.parse((devnet / "provider.toml").read_text()).unwrap()
    gates = [Gate(url) for url in given["chain"]["rpc_urls"]]
    for gate in gates:
        stack.callback(gate.shut)
    state = {**said, "url": f"ipfs://{cid}", "given": given}
    machine = stack.enter_context(Machine(folder / "machine"))
    world = World(devnet, state, gates, machine)
    _install(world)
    _settle(world)
    return world


def _install(world: World) -> None:
    """The version before, where it can be had, and ours otherwise; both later ones lie ready."""
    ours, earlier = built(), before()
    if earlier:
        world.machine.write(f"/root/oyster-provider_{OLD}.deb", earlier.read_bytes())
    for version in (OURS, NEW):
        place = f"/root/oyster-provider_{version}.deb"
        world.machine.write(place, renumbered(ours, version))
    world.upgrade(OLD if earlier else OURS)


def _settle(world: World) -> None:
    """Keys, configuration, AWS and stake, by the operator's own commands."""
    given, machine = world.state["given"], world.machine
    held = "/etc/oyster-provider/credentials"
    key = Path(given["wallet"]["key_file"]).read_text()
    machine.write(f"{held}/bare.key", key, 0o600)
    machine.write(f"{held}/keystore-password", "a password of the walk's own, long enough\n", 0o600)
    machine.write(f"{held}/aws-credentials", AWS_KEY, 0o600)
    world.oyster("keys", "import", f"{held}/bare.key", "--out", f"{held}/keystore",
                 "--password-file", f"{held}/keystore-password")  # fmt: skip
    (machine.root / f"{held}/bare.key".lstrip("/")).unlink()
    nodes = [word for gate in world.gates for word in ("--rpc-url", gate.url)]
    chain = given["chain"]
    world.oyster("init", CONFIG, "--chain-id", str(chain["chain_id"]), "--registry",
                 chain["registry"], *nodes, "--region", "us-east-1", "--offer", f"{TYPE}={PRICE}",
                 "--keystore", "credential:keystore", "--password",
                 "credential:keystore-password")  # fmt: skip
    root = Path(given["enclave"]["root_file"]).read_text()
    machine.write("/etc/oyster-provider/root.pem", root)
    world.configure({
        "chain": {"finality": chain["finality"], "poll": chain["poll"]},
        "aws": {"endpoint_url": given["aws"]["endpoint_url"]},
        "status": {"listen": f"127.0.0.1:{free_port()}"},  # the loopback is everybody's
        "images": {"gateways": given["images"]["gateways"]},
        "enclave": {**_ports(given), "root_file": "/etc/oyster-provider/root.pem"},
    })  # fmt: skip
    world.oyster("cloud", "setup")
    world.oyster("register", TYPE, PRICE, "--stake", "500", "--yes")


def _ports(given: dict[str, Any]) -> dict[str, Any]:
    return {"ports": given["enclave"]["ports"]}


def _devnet(folder: Path, *words: str) -> str:
    return _run("devnet", *words, "--dir", str(folder))


def _run(*words: str) -> str:
    done = subprocess.run(
        program.command(*words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout
