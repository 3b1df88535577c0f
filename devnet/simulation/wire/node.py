"""One node of a storm: JSON-RPC over the model's chain, as honest as its weather lets it be.

The first node has the storm's opinions (`SimChain.views`): it lags, is empty, lies, loses or
doubles logs. The second is sometimes silent, and lies when its turn comes. Both share the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eth_utils.crypto import keccak

from agent.chain.rpc import EndpointDown, Json
from agent.secret import SecretUrl
from devnet.simulation import opinions
from devnet.simulation.blocks import Block
from devnet.simulation.model_faults import Weather
from devnet.simulation.names import US
from devnet.simulation.opinions import Lie
from devnet.simulation.protocol import Refusal
from devnet.simulation.wire import account_lies, words
from devnet.simulation.wire.chain import CHAIN_ID, GAS, GWEI, Declined, OurTx, WireChain
from devnet.simulation.wire.contract import Told
from devnet.simulation.wire.signing import NotOurs, opened
from faults import Fault

REVERTED, NOT_FOUND, DECLINED, LIMITED, NO_METHOD = 3, -32001, -32000, -32005, -32601
SENDS = frozenset({"eth_sendRawTransaction", "eth_estimateGas"})


class Error(Exception):
    """What a node answers as an error."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code, self.data = code, data


@dataclass
class Node:
    """`name` is where the weather strikes, and `<name>.send` for transactions at the first node.

    `hides_receipts`: as a node does that has not indexed them yet; `refuses`: takes nothing.
    """

    url: SecretUrl
    chain: WireChain
    weather: Weather
    name: str
    contract: Told
    hides_receipts: bool = False
    refuses: bool = False

    def __post_init__(self) -> None:
        self._methods: dict[str, Callable[..., Json]] = {
            "eth_chainId": lambda: hex(CHAIN_ID),
            "eth_blockNumber": lambda: self._block("latest", False)["number"],
            "eth_getBlockByNumber": self._block,
            "eth_getTransactionCount": self._count,
            "eth_getBalance": lambda who, at: hex(account_lies.balance(self._lie)),
            "eth_maxPriorityFeePerGas": lambda: hex(account_lies.tip(self._lie, GWEI)),
            "eth_call": self._call,
            "eth_estimateGas": self._estimate,
            "eth_getLogs": self._get_logs,
            "eth_getTransactionReceipt": self._receipt,
            "eth_sendRawTransaction": self._send,
        }

    @classmethod
    def first(cls, chain: WireChain, weather: Weather, contract: Told) -> Node:
        """The agent's own, with the storm's opinions."""
        return cls(SecretUrl("http://first"), chain, weather, "chain", contract)

    @classmethod
    def second(cls, chain: WireChain, weather: Weather, contract: Told) -> Node:
        """Sometimes silent, with opinions of its own."""
        return cls(SecretUrl("http://second"), chain, weather, "witness", contract)

    async def exchange(self, body: Json) -> Json:
        """The answer to one request or a batch, after what the weather does to it."""
        requests = body if isinstance(body, list) else [body]
        where = self._where(requests)
        try:
            await self.weather.before(where)
            answers = [self._answer(request) for request in requests]
            await self.weather.after(where)
        except Fault as fault:
            raise EndpointDown(str(fault)) from None
        return answers if isinstance(body, list) else answers[0]

    def _where(self, requests: Sequence[Json]) -> str:
        sends = self.name == "chain" and any(each["method"] in SENDS for each in requests)
        return f"{self.name}.{'send' if sends else 'read'}"

    def _answer(self, request: Json) -> Json:
        method, params = request["method"], request["params"]
        try:
            if method not in self._methods:
                raise Error(NO_METHOD, f"no {method} here")
            return {"id": request["id"], "result": self._methods[method](*params)}
        except Error as error:
            said = {"code": error.code, "message": str(error), "data": error.data}
            return {"id": request["id"], "error": said}

    @property
    def _lie(self) -> Lie | None:
        return self.contract.views.lie

    # Blocks.

    def _seen(self) -> list[Block]:
        blocks, views = self.chain.blocks_, self.contract.views
        if views.lie is Lie.FROZEN:
            return [block for block in blocks if block.ref.timestamp <= views.since] or blocks[:1]
        lag = min(views.lag, len(blocks) - 1)
        return blocks[: len(blocks) - lag] if lag else blocks

    def _at(self, where: Json) -> Block:
        """By number, tag or hash, as far as this node sees."""
        seen = self._seen()
        if where == "latest":
            return seen[-1]
        if where in ("finalized", "safe"):
            if self.contract.views.lie is Lie.FINAL_EARLY:
                return seen[-1]
            return seen[max(0, len(seen) - 1 - self.chain.depth)]
        if isinstance(where, Mapping):
            blocks = (block for block in reversed(seen) if block.ref.hash == where["blockHash"])
            found = next(blocks, None)
        else:
            number = int(where, 16)
            found = seen[number] if number < len(seen) else None
        if found is None:
            raise Error(NOT_FOUND, "header not found")
        return found

    def _block(self, where: Json, full: bool) -> Json:
        try:
            block = self._at(where)
        except Error:
            return None
        told = opinions.told(self.contract.views, block.ref, final=self._is_final(where, block))
        found = {
            "number": hex(told.number), "hash": told.hash,
            "timestamp": hex(told.timestamp),
            "baseFeePerGas": hex(account_lies.base_fee(self._lie, self.chain.base_fee)),
        }  # fmt: skip
        ours = [tx for tx in block.txs if isinstance(tx, OurTx)]
        listed = [{"hash": tx.mined, "from": US, "nonce": hex(tx.nonce)} for tx in ours]
        return {**found, "transactions": listed if full else [tx.mined for tx in ours]}

    def _is_final(self, where: Json, block: Block) -> bool:
        return where != "latest" and block.ref.number <= self.chain.final.ref.number

    # State.

    def _count(self, _who: str, where: Json) -> Json:
        return hex(account_lies.nonce(self._lie, self.chain.nonce_at(self._at(where))))

    def _call(self, call: Json, where: Json) -> Json:
        try:
            return self.contract.view(self._at(where), _bytes(call["data"]))
        except Refusal as refusal:
            raise _reverted(refusal) from None

    def _estimate(self, call: Json) -> Json:
        function, args = self.chain.words.called(_bytes(call["data"]))
        if self.contract.views.lie is Lie.REVERTS:
            raise _reverted(Refusal("no reason"))
        if self.contract.invents(args):
            return hex(GAS)
        try:
            self.chain.simulate(self._seen()[-1], function, args)
        except Refusal as refusal:
            raise _reverted(refusal) from None
        return hex(account_lies.gas(self._lie, GAS))

    def _get_logs(self, query: Json) -> Json:
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        return self.contract.logs(self._seen()[first : last + 1], query["topics"][0])

    # Transactions.

    def _receipt(self, tx_hash: str) -> Json:
        attempt = self.chain.attempt(tx_hash)
        tx = attempt.tx if attempt else None
        if account_lies.invents_receipt(self._lie, attempt):
            return account_lies.invented(self.chain, tx_hash, GAS)
        if tx is None or tx.mined != tx_hash or tx.block is None or self.hides_receipts:
            return None
        if tx.block >= len(self._seen()):
            return None
        true = {
            "transactionHash": tx_hash, "blockNumber": hex(tx.block), "gasUsed": hex(GAS),
            "status": "0x0" if tx.reverted else "0x1", "effectiveGasPrice": hex(tx.paid),
        }  # fmt: skip
        return account_lies.receipt(self._lie, true)

    def _send(self, raw: str) -> Json:
        if self.refuses:
            raise Error(LIMITED, "transaction pool is full")
        body = _bytes(raw)
        tx_hash = "0x" + keccak(body).hex()
        if self._lie is Lie.SWALLOWS:
            return tx_hash
        if self._lie is Lie.DECLINES:
            raise Error(DECLINED, "nonce too low")
        try:
            self.chain.take(tx_hash, opened(body))
        except (Declined, NotOurs) as no:
            raise Error(DECLINED, str(no)) from None
        return tx_hash


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _reverted(refusal: Refusal) -> Error:
    return Error(REVERTED, f"execution reverted: {refusal}", words.reverted(str(refusal)))
