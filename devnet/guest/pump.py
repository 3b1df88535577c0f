"""Stands for socat and vsock-proxy: TCP on the instance's own addresses to a simulated vsock."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

from devnet.guest import place

_CHUNK = 1 << 16
_ADDRESSES_SECONDS = 0.25


def main() -> None:
    """As the wrapper was called."""
    name, arguments = sys.argv[0], sys.argv[1:]
    instance = place.machine()["instance_id"]
    if name == "socat":
        _socat(instance, *arguments)
    else:
        _vsock_proxy(instance, arguments)


def _socat(instance: str, listen: str, connect: str) -> None:
    """`TCP-LISTEN:<port>,fork,reuseaddr VSOCK-CONNECT:<cid>:<port>`."""
    port = int(listen.partition(":")[2].partition(",")[0])
    cid, vsock_port = (int(part) for part in connect.split(":")[1:])
    target = place.vsock(instance, cid, vsock_port)
    open_at: dict[str, socket.socket] = {}
    while True:
        wanted = json.loads((place.root() / "etc/devnet-addresses.json").read_text())
        for address in wanted:
            if address not in open_at:
                open_at[address] = _listen_tcp(address, port)
                _serve(open_at[address], lambda: _to_unix(target))
        for address in set(open_at) - set(wanted):
            open_at.pop(address).close()
        time.sleep(_ADDRESSES_SECONDS)


def _vsock_proxy(instance: str, arguments: list[str]) -> None:
    """`--config <file> <vsock port> <host> <port>`; what the file does not list is refused."""
    port, host, remote = arguments[-3:]
    rules = (place.root() / arguments[1].lstrip("/")).read_text() if len(arguments) > 3 else ""
    if f"address: {host}, port: {remote}}}" not in rules:
        sys.exit(f"vsock-proxy: the address {host} and port {remote} are not in the allowlist")
    server = socket.socket(socket.AF_UNIX)
    server.bind(place.vsock(instance, place.PARENT_CID, int(port)))
    server.listen()
    _serve(server, lambda: socket.create_connection((host, int(remote)), timeout=10))
    threading.Event().wait()


def _listen_tcp(address: str, port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(64)
    return server


def _to_unix(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    return connection


def _serve(server: socket.socket, connect: object) -> None:
    threading.Thread(target=_accept, args=(server, connect), daemon=True).start()


def _accept(server: socket.socket, connect: object) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_join, args=(client, connect), daemon=True).start()


def _join(client: socket.socket, connect: object) -> None:
    assert callable(connect)
    try:
        other = connect()
    except OSError:
        client.close()
        return
    back = threading.Thread(target=_copy, args=(other, client), daemon=True)
    back.start()
    _copy(client, other)
    back.join()
    client.close()
    other.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
