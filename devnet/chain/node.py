"""The devnet's node: py-evm over loopback HTTP (`python -m devnet.chain.node`), with faults.

Faults are switched per server, over its own `devnet_*` methods or on `ChainServer.faults`:
what an RPC provider does on a bad day, and what a lying one does.

- refuse: connections are closed without an answer          hang: answers come after `hang` seconds
- status: every request gets this HTTP status               lag: the head is this many blocks old
- chain_id: the chain id it claims                          empty_logs: eth_getLogs answers []
- max_logs_range: wider ranges are "too many results"       max_batch: larger batches are refused
- batch_status: the HTTP status of such a refusal           retry_after: seconds, beside a `status`
- rate: requests a second; what is more is refused one by one within HTTP 200
- fail_methods: these methods answer with an internal error
- null_methods: these answer null, as for what a node does not have (yet)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from devnet.chain.evm import Evm, Rejected
from devnet.chain.jsonrpc import Methods

Json = Any

INTERNAL, LIMIT, RATE = -32603, -32005, -32007
TURN_SECONDS = 0.0005  # for which a request that computes holds up all others; Python's own: 5 ms
CONTROL = ("evm_", "devnet_")  # these work whatever the faults


@dataclass
class Faults:
    refuse: bool = False
    hang: float = 0.0
    status: int = 0
    lag: int = 0
    chain_id: int = 0
    empty_logs: bool = False
    max_logs_range: int = 0
    max_batch: int = 0
    batch_status: int = 200
    rate: float = 0.0
    retry_after: float = 0.0
    fail_methods: list[str] = field(default_factory=list)
    null_methods: list[str] = field(default_factory=list)

    def set(self, changes: dict[str, Json]) -> None:
        known = {each.name for each in fields(self)}
        if not changes.keys() <= known:
            raise Rejected(-32602, f"unknown faults {sorted(changes.keys() - known)}")
        for name, value in changes.items():
            setattr(self, name, value)


class ChainServer:
    """One node on loopback. Several servers may share one chain: `ChainServer(evm=other.evm)`."""

    def __init__(
        self,
        *,
        evm: Evm | None = None,
        port: int = 0,
        finality_blocks: int = 2,
        lock: threading.RLock | None = None,
    ) -> None:
        self.evm = Evm() if evm is None else evm
        self.faults = Faults()
        self.requests = 0  # HTTP requests served, so that tests can count
        self.methods = Methods(self.evm, finality_blocks)
        self.lock = threading.RLock() if lock is None else lock
        self._release = threading.Event()
        self._room, self._room_at = 0.0, 0.0  # requests that `rate` lets through, as of then
        self._http = _Server(("127.0.0.1", port), _Handler)
        self._http.node = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def twin(self, finality_blocks: int = 2) -> ChainServer:
        """Another node of the same chain, with faults of its own."""
        return ChainServer(evm=self.evm, lock=self.lock, finality_blocks=finality_blocks)

    def start(self) -> ChainServer:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering, end hanging requests, close the port."""
        self._release.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> ChainServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, method: str, *params: Json) -> Json:
        """Ask without HTTP and without faults; raises Rejected."""
        with self.lock:
            return self._control(method, list(params))

    def answer(self, body: Json) -> Json:
        """The answer to one request or a batch, faults applied."""
        if not isinstance(body, list):
            return self._answer_one(body)
        if self.takes_no_such(body):
            return _error(None, LIMIT, f"batch of {len(body)} is too large")
        return [self._answer_one(each) for each in body]

    def takes_no_such(self, body: Json) -> bool:
        """Whether it is a batch of more than this node takes."""
        most = self.faults.max_batch
        return bool(most) and isinstance(body, list) and len(body) > most

    def _is_over_rate(self) -> bool:
        """Counts one request, as providers do: what a second lets through is a full bucket."""
        rate, now = self.faults.rate, time.monotonic()
        if not rate:
            return False
        self._room = min(rate, self._room + (now - self._room_at) * rate)
        self._room_at = now
        over = self._room < 1
        self._room -= not over
        return over

    def wait_out_hang(self, body: Json) -> None:
        if self.faults.hang and not _is_control(body):
            self._release.wait(self.faults.hang)

    def _answer_one(self, request: Json) -> Json:
        try:
            method, params = str(request["method"]), request.get("params") or []
            if not method.startswith(CONTROL) and self._is_over_rate():
                raise Rejected(RATE, f"{self.faults.rate:g}/second request limit reached")
            with self.lock:
                result = self._faulty(method, params)
            return {"jsonrpc": "2.0", "id": request.get("id"), "result": result}
        except Rejected as no:
            return _error(request.get("id"), no.code, no.message, no.data)
        except (KeyError, TypeError, AttributeError) as wrong:
            return _error(None, -32600, f"invalid request: {wrong}")

    def _faulty(self, method: str, params: list[Json]) -> Json:
        faults = self.faults
        if method.startswith(CONTROL):
            return self._control(method, params)
        if method in faults.fail_methods:
            raise Rejected(INTERNAL, "internal error")
        if method in faults.null_methods:
            return None
        if method == "eth_chainId" and faults.chain_id:
            return hex(faults.chain_id)
        if method == "eth_getLogs":
            self._check_range(params[0])
            if faults.empty_logs:
                return []
        with self._lagging():
            return self.methods.call(method, params)

    def _control(self, method: str, params: list[Json]) -> Json:
        if method == "devnet_fault":
            return self.faults.set(params[0])
        return self.methods.call(method, params)

    def _check_range(self, query: dict[str, Json]) -> None:
        limit = self.faults.max_logs_range
        if limit and "blockHash" not in query:
            first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
            if last - first + 1 > limit:
                raise Rejected(LIMIT, f"query returned more than {limit} results")

    @contextlib.contextmanager
    def _lagging(self) -> Iterator[None]:
        """Hide the last `lag` blocks while one request is answered."""
        lag = min(self.faults.lag, len(self.evm.chain) - 1)
        hidden = self.evm.chain[len(self.evm.chain) - lag :]
        del self.evm.chain[len(self.evm.chain) - lag :]
        try:
            yield
        finally:
            self.evm.chain.extend(hidden)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    node: ChainServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # typeshed differs


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        node = self.server.node
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        node.requests += 1
        try:
            body = json.loads(raw)
        except ValueError:
            return self._send(400, _error(None, -32700, "parse error"))
        if not _is_control(body):
            if node.faults.refuse:
                return self._hang_up()
            if node.faults.status:
                return self._send(node.faults.status, {}, node.faults.retry_after)
        node.wait_out_hang(body)
        status = node.faults.batch_status if node.takes_no_such(body) else 200
        return self._send(status, node.answer(body))

    def _send(self, status: int, body: Json, retry_after: float = 0.0) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", f"{retry_after:g}")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Silence: requests are counted, not printed."""


def _is_control(body: Json) -> bool:
    return isinstance(body, dict) and str(body.get("method", "")).startswith(CONTROL)


def _error(id_: Json, code: int, message: str, data: str | None = None) -> Json:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": id_, "error": error}


def main(argv: list[str] | None = None) -> None:
    """Serve until told to stop; the first line on stdout is JSON with the URLs of two nodes."""
    parser = argparse.ArgumentParser(prog="python -m devnet.chain.node", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--chain-id", type=int, default=31337)
    parser.add_argument("--block-time", type=float, default=0.0, help="seconds; 0: mine at once")
    parser.add_argument("--finality-blocks", type=int, default=2)
    parser.add_argument("--behind", type=float, default=0.0, help="seconds its clock starts late")
    args = parser.parse_args(argv)
    sys.setswitchinterval(TURN_SECONDS)
    evm = Evm(automine=not args.block_time, chain_id=args.chain_id, skew=-args.behind)
    server = ChainServer(evm=evm, port=args.port, finality_blocks=args.finality_blocks)
    twin = server.twin(args.finality_blocks)
    with server, twin, contextlib.suppress(KeyboardInterrupt):
        hello = {"url": server.url, "twin": twin.url, "chainId": args.chain_id}
        sys.stdout.write(json.dumps(hello) + "\n")
        sys.stdout.flush()
        _mine_forever(server, args.block_time)


def _mine_forever(server: ChainServer, block_time: float) -> None:
    while True:
        time.sleep(block_time or 3600)
        if block_time:
            with server.lock:
                server.evm.mine()


if __name__ == "__main__":
    main()
