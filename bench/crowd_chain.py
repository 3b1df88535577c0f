"""A node that knows one market with thousands of jobs: what the agent reads, and nothing more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from eth_abi.abi import encode

from agent.chain.abi import Function
from agent.markets.registry.reads import registry_abi
from agent.markets.token import token_abi
from bench.crowd import CHAIN_ID, EC2_TYPE, Crowd, ScaledClock

BLOCK_SECONDS = 2
FINAL_BLOCKS = 32
HOUR = 3600
PRICE = 500 * 10**12
POND, MONEY = "0x" + "A1" * 20, "0x" + "A2" * 20
USER = "0x" + "5E" * 20

STAKE = 10**18  # that each job locks


class Chain:
    """JSON-RPC's answers, as bytes. Blocks come by the clock."""

    def __init__(self, crowd: Crowd, clock: ScaledClock) -> None:
        self._crowd, self._clock = crowd, clock
        self._answers: dict[str, str] = {}
        self._over: tuple[int, set[int]] = (0, set())  # block in which these jobs were stopped
        self._views: dict[bytes, Callable[[bytes], str]] = {}
        self._always(token_abi().functions["symbol"], (b"USD",))
        self._always(token_abi().functions["decimals"], (6,))
        self._learn()
        self.asked: dict[str, int] = {}

    def _learn(self) -> None:
        """The market's own views."""
        functions, crowd = registry_abi().functions, self._crowd
        self._views |= {
            functions["job"].selector: self._job,
            functions["jobsOf"].selector: self._jobs_of,
        }
        constants: dict[str, tuple[object, ...]] = {
            "params": ((STAKE, HOUR, HOUR, HOUR, 2),),
            "stakeOf": (10**24,),
            "lockedStakeOf": (STAKE * len(crowd.listed),),
            "offers": ([(crowd.provider, PRICE)],),
            "pond": (POND,),
            "paymentToken": (MONEY,),
            "offer": (PRICE,),
            "jobCount": (crowd.jobs.stop,),
        }
        for name, values in constants.items():
            self._always(functions[name], values)

    def _always(self, function: Function, values: tuple[object, ...]) -> None:
        answer = _encoded(function.wire, values)
        self._views[function.selector] = lambda _data: answer

    def end(self, jobs: set[int]) -> None:
        """Their users stop them, in the next block; who was stopped before stays so."""
        self._over = (self._number() + 1, self._over[1] | jobs)
        for job in jobs:
            self._answers.pop(f"job {job}", None)

    def answer(self, body: bytes) -> bytes:
        asked = json.loads(body)
        if isinstance(asked, list):
            return b"[" + b",".join(self._one(each) for each in asked) + b"]"
        return self._one(asked)

    def _one(self, asked: dict[str, Any]) -> bytes:
        method, params = asked["method"], asked.get("params", [])
        self.asked[method] = self.asked.get(method, 0) + 1
        if method == "eth_call":
            result = f'"{self._call(bytes.fromhex(params[0]["data"][2:]))}"'
        else:
            result = json.dumps(self._other(method, params))
        return f'{{"jsonrpc":"2.0","id":{asked["id"]},"result":{result}}}'.encode()

    def _other(self, method: str, params: list[Any]) -> Any:
        if method == "eth_chainId":
            return hex(CHAIN_ID)
        if method == "eth_blockNumber":
            return hex(self._number())
        if method == "eth_getBlockByNumber":
            return self._block(params[0])
        if method == "eth_getLogs":
            return self._logs(params[0])
        return "0x0"

    def _number(self) -> int:
        return int(self._clock.now()) // BLOCK_SECONDS

    def _block(self, tag: str) -> dict[str, str]:
        head = self._number()
        known = {"latest": head, "finalized": head - FINAL_BLOCKS}
        number = known[tag] if tag in known else int(tag, 16)
        digest = hashlib.sha256(b"block %d" % number).hexdigest()
        return {
            "number": hex(number),
            "hash": f"0x{digest}",
            "timestamp": hex(number * BLOCK_SECONDS),
        }

    def _logs(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        block, jobs = self._over
        if not int(query["fromBlock"], 16) <= block <= int(query["toBlock"], 16):
            return []
        return [{"topics": self._topics(job)} for job in sorted(jobs)]

    def _topics(self, job: int) -> list[str]:
        """Of the event that it ended."""
        provider = "0x" + self._crowd.provider[2:].rjust(64, "0")
        return [registry_abi().topics["JobStopped"], f"0x{job:064x}", provider]

    def _call(self, data: bytes) -> str:
        return self._views[data[:4]](data[4:])

    def _jobs_of(self, data: bytes) -> str:
        start, count = (int.from_bytes(data[at : at + 32]) for at in (32, 64))
        over = self._over[1]
        page = [job for job in self._crowd.listed[start : start + count] if job not in over]
        return _encoded(registry_abi().functions["jobsOf"].wire, (page,))

    def _job(self, data: bytes) -> str:
        job = int.from_bytes(data[:32])
        key = f"job {job}"
        if key not in self._answers:
            fields = self._fields(job)
            self._answers[key] = _encoded(registry_abi().functions["job"].wire, (fields,))
        return self._answers[key]

    def _fields(self, job: int) -> tuple[object, ...]:
        crowd = self._crowd
        assigned = crowd.assigned_at(job)
        begun = 0 if crowd.special(job) == "assigned" else assigned + 60
        ended = crowd.special(job) == "ended" or job in self._over[1]
        stopped = int(crowd.born) - HOUR if ended else 0
        settled = int(crowd.born) - HOUR if begun else 0  # collected an hour ago
        status = 4 if ended else 2 if begun else 1
        escrow = 0 if ended else PRICE * 365 * 86400 // 10**12
        kind = f"{crowd.region(job)}/{EC2_TYPE}".encode()
        return (
            USER, crowd.provider, kind, PRICE, PRICE, crowd.url(job).encode(), 1, status,
            1 if ended else 0, assigned, begun, 0, stopped, escrow, settled,
            f"{crowd.address(job)}:1300".encode() if begun else b"",
        )  # fmt: skip


def _encoded(types: tuple[str, ...], values: tuple[object, ...]) -> str:
    return "0x" + encode(types, values).hex()
