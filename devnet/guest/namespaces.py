"""The world, an instance and an enclave as network namespaces of the kernel, with veth and TUN.

The world has a public address, the metadata service's and a neighbour's in the VPC, each with
servers that greet; the instance has a private address and the way to all of them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from devnet.guest.standard import enter
from enclave.host.config import Places
from enclave.host.network.keeper import Keeper
from enclave.host.network.orders import Orders, Report

T = TypeVar("T")

WORLD, METADATA, NEIGHBOUR = "9.9.9.9", "169.254.169.254", "10.0.1.9"
GATEWAY, INSTANCE = "10.0.1.1", "10.0.1.5"
GREETED_PORTS = (80, 443, 25)
ROOT = Path(__file__).parents[2]
IP = shutil.which("ip") or "ip"
_PATIENCE_SECONDS = 30.0


def why_not() -> str | None:
    """Why namespaces can't be had here; None: they can."""
    if os.getuid():
        return "needs root for network namespaces"
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    name = f"oyster-try-{os.getpid()}"
    tried = subprocess.run([IP, "netns", "add", name], capture_output=True, check=False)
    subprocess.run([IP, "netns", "delete", name], capture_output=True, check=False)
    return "no namespaces may be made here" if tried.returncode else None


class Space:
    """One namespace, and a thread that lives in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        _ip("netns", "add", name)
        self.ip("link", "set", "lo", "up")
        self._pool = ThreadPoolExecutor(1, initializer=self.enter)

    def enter(self) -> None:
        with (Path("/run/netns") / self.name).open("rb") as file:
            enter(file.fileno())

    def ip(self, *order: str) -> None:
        _ip("-n", self.name, *order)

    def call(self, thunk: Callable[[], T]) -> T:
        """In this namespace."""
        return self._pool.submit(thunk).result(_PATIENCE_SECONDS * 4)

    def shows(self, word: str) -> bool:
        """Whether a device or a rule in this namespace has it in its name."""
        said = ""
        for tool in (["ip", "link"], ["nft", "list", "ruleset"]):
            command = ["ip", "netns", "exec", self.name, *tool]
            said += subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return word in said

    def close(self) -> None:
        self._pool.shutdown()
        _ip("netns", "delete", self.name)


class Scene:
    """All three, the network's process in the instance, and a guest when one is started."""

    def __init__(self, directory: Path) -> None:
        tag = secrets.token_hex(3)
        self.prefix = f"oyster-spaces/{tag}"
        self.world, self.instance, self.enclave = (Space(f"oy-{n}-{tag}") for n in "wie")
        self._lay(tag)
        self._greeters = [self._greet(address) for address in (WORLD, METADATA, NEIGHBOUR)]
        self.directory = directory
        self.keeper = Keeper(Places(directory))
        self._guest: subprocess.Popen[str] | None = None

    def _lay(self, tag: str) -> None:
        near, far = f"oyi{tag}", f"oyw{tag}"
        _ip("link", "add", near, "type", "veth", "peer", "name", far)
        _ip("link", "set", near, "netns", self.instance.name, "mtu", "9001")
        _ip("link", "set", far, "netns", self.world.name, "mtu", "9001")
        self.instance.ip("addr", "add", f"{INSTANCE}/24", "dev", near)
        self.world.ip("addr", "add", f"{GATEWAY}/24", "dev", far)
        for space, device in ((self.instance, near), (self.world, far)):
            space.ip("link", "set", device, "up")
        for address in (WORLD, METADATA, NEIGHBOUR):
            self.world.ip("addr", "add", f"{address}/32", "dev", "lo")
        self.instance.ip("route", "add", "default", "via", GATEWAY)
        self.instance.ip("route", "add", f"{NEIGHBOUR}/32", "via", GATEWAY)

    def _greet(self, address: str) -> list[socketserver.BaseServer]:
        def make() -> list[socketserver.BaseServer]:
            return [socketserver.ThreadingTCPServer((address, port), _Greeter)
                    for port in GREETED_PORTS]  # fmt: skip

        servers = self.world.call(make)
        for server in servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return servers

    def order(self, orders: Orders) -> Report:
        """As the host program does, in the instance."""
        return self.instance.call(lambda: self.keeper.ensure(orders, time.time()))

    def start_guest(self) -> None:
        """The standard image; returns when it has what it asked for."""
        command = [sys.executable, "-m", "devnet.guest.standard"]
        arguments = [self.prefix, self.enclave.name, str(self.directory / "nsm")]
        self._guest = self.instance.call(
            lambda: subprocess.Popen(
                [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
            )
        )
        assert self._guest.stdout is not None
        assert self._guest.stdout.readline() == "up\n", "the guest ended"

    def send_raw(self, data: bytes) -> None:
        """As the enclave, on a stream of its own, which takes the guest's place; and may lose it
        again before all of it was read, when the guest is quick."""

        def send() -> None:
            with socket.socket(socket.AF_UNIX) as stream, suppress(OSError):
                stream.settimeout(_PATIENCE_SECONDS)
                stream.connect(f"\0{self.prefix}/3/1200")
                stream.sendall(data)
                stream.shutdown(socket.SHUT_WR)
                stream.recv(1)

        self.instance.call(send)

    def close(self) -> None:
        self.instance.call(self.keeper.end)
        if self._guest is not None:
            self._guest.kill()
            self._guest.communicate()
        for server in [one for several in self._greeters for one in several]:
            server.shutdown()
            server.server_close()
        for space in (self.world, self.instance, self.enclave):
            space.close()


class _Greeter(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Says on which address, and from where it was asked."""
        address, asked = self.request.getsockname()[0], self.request.getpeername()[0]
        self.request.sendall(f"{address} to {asked}".encode())


def _ip(*order: str) -> None:
    done = subprocess.run([IP, *order], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(order)}: {done.stderr}"


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    one = Scene(directory)
    try:
        yield one
    finally:
        one.close()
