"""What `setup` asks on Marlin's live market: whose jobs, who pays gas if anybody, and at which URL.

Nothing is staked there and no window runs: users name a provider, and find its rate cards at the
URL that stands on the chain. The frame and the questions of any market are in `setup.py`.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.guide import Answers, Question, Step
from commands.setup_reach import (
    coin_of,
    contract_of,
    key_of,
    key_questions,
    naming,
    on_chain,
    signs,
    stands_in,
)
from faults import RetryLater, UsageFault, printable

if TYPE_CHECKING:
    from agent.config import Config
    from agent.config.presets import Preset
    from agent.market.model import InstanceType
    from commands.offer_preview import Preview

PORT = 8080
URL_SECONDS = 5.0

NEXT = """
next, in this order:
  oyster-provider cloud setup{c}
    bucket, role and security group in AWS
  oyster-provider doctor{c}
    what is missing, and what to do about it
  oyster-provider service install
  systemctl enable --now oyster-provider
  oyster-provider provider add --url {url}
    where the key of {provider} is, once the agent runs; `provider update`
    where it is on the list already"""


def next_steps(file: Path, answers: Answers) -> str:
    """What is to be done once the file is written."""
    return NEXT.format(c=naming(file), **answers.given)


def on_marketv1(answers: Answers) -> bool:
    return answers.given.get("market") == "marketv1"


def settings(answers: Answers) -> dict[str, dict[str, Any]]:
    """What its configuration has beside any market's."""
    given = answers.given
    chain: dict[str, Any] = {name: given[name] for name in ("market", "provider") if name in given}
    status = {"public_listen": given["listen"]} if "listen" in given else {}
    return {"chain": chain, "status": status}


def steps(folder: Path) -> Sequence[Step]:
    """Contract, provider, and a key for gas; `folder` is where the service's credentials lie."""
    contract = Question("registry", "address of Marlin's market", _known_contract)
    provider = Question("provider", "account whose jobs are served, and which is paid (0x...)")
    key = key_questions(
        folder, "keystore of any account that pays gas, made when it is not there; or none", signs
    )
    return (
        Step("the market's contract", [contract], _contract, on_marketv1),
        Step("the provider; its own key stays elsewhere", [provider], _provider, on_marketv1),
        Step("a key for gas, which settles what jobs owe", key, _key, on_marketv1),
    )


def url_step() -> Step:
    """Where users look for rate cards and addresses."""
    questions = [
        Question("listen", "HOST:PORT to answer the market on, here", f"0.0.0.0:{PORT}"),
        Question("url", "URL by which everybody reaches that, such as http://HOST:8080"),
    ]
    return Step("the public URL", questions, _url, on_marketv1)


def _known(answers: Answers) -> Preset | None:
    """The deployment that is known on the answered chain."""
    from agent.config.presets import preset_of

    return preset_of("marketv1", int(answers.given["chain"]))


def _known_contract(answers: Answers) -> str:
    known = _known(answers)
    return known.contract if known else ""


async def _contract(answers: Answers) -> Sequence[str]:
    """Whether it is the market that this program was written for. Raises Refused, MustStop: no."""
    from agent.config.presets import preset_of
    from agent.markets.marketv1 import shape
    from agent.markets.marketv1.reads import Market
    from agent.markets.marketv1.terms import MarketV1Terms

    async with on_chain(answers) as (endpoints, at):
        contract = await contract_of(answers, endpoints)
        known = preset_of("marketv1", endpoints.chain_id, contract)
        market = Market(endpoints, contract, MarketV1Terms())
        token, odd = await shape.check(market, known, at)
    return [f"jobs pay in {token.symbol} ({token.address})", *(f"! {each}" for each in odd)]


async def _provider(answers: Answers) -> Sequence[str]:
    """What the market's list says of it, and whether its URL answers."""
    from agent.market.model import address
    from agent.markets.marketv1.reads import Market
    from agent.markets.marketv1.terms import MarketV1Terms
    from commands.provider import unanswered

    provider = address(answers.given["provider"])
    async with on_chain(answers) as (endpoints, at):
        market = Market(endpoints, await contract_of(answers, endpoints), MarketV1Terms())
        url = await market.provider_url(provider, at)
    if not url:
        return [f"{provider} is not on the market's list; `provider add` enters it, at the end"]
    shown = printable(url)  # whoever has the provider's key wrote it
    if shown == url:
        answers.given.setdefault("url", url)
    wrong = await asyncio.to_thread(unanswered, url)
    return [
        f"on the list with {shown}",
        f"! {printable(wrong)}" if wrong else "which shows rate cards now",
    ]


async def _key(answers: Answers) -> Sequence[str]:
    """What the account has for gas; without one nothing is settled from here."""
    if not signs(answers):
        return ["no key: jobs are served, and paid when their owner or somebody else settles"]
    owner, made = key_of(answers)
    if stands_in(answers):
        return [*made, "! once it is made, send it some of the chain's coin, for gas"]
    async with on_chain(answers) as (endpoints, _):
        coin = await coin_of(owner, endpoints)
    todo = [] if coin else ["! send it some of the chain's coin, for gas"]
    return [*made, f"{owner} has {coin / 1e18:.4f} of the chain's coin", *todo]


async def _url(answers: Answers) -> Sequence[str]:
    """Whether a question to the URL comes in here. That it does not yet holds nothing up. Raises
    UsageFault: such a URL or address can't be; RetryLater: the port is taken."""
    from commands.provider import check_url

    check_url(answers.given["url"])
    return await asyncio.to_thread(_reached, answers.given["listen"], answers.given["url"])


def _reached(listen: str, url: str) -> Sequence[str]:
    import httpx

    token = secrets.token_hex(16)
    with _answering(listen, token):
        try:
            found = httpx.get(f"{url}/spec", timeout=URL_SECONDS, trust_env=False).text
        except httpx.HTTPError as error:
            why = f"{url} does not answer ({type(error).__name__})"
            todo = "let its port in where the firewall is; `provider add` asks again"
            return [f"! {why}: {todo}"]
    if found == token:
        return [f"{url} leads here"]
    return [f"! something else answers at {url}; `provider add` asks again once the agent runs"]


@contextmanager
def _answering(listen: str, text: str) -> Iterator[None]:
    """That text, to whoever asks there meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None: ...

    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageFault(f"{listen} is not HOST:PORT, such as 0.0.0.0:{PORT}")
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    except OSError as taken:
        raise RetryLater(f"{listen} can't be listened on: {taken.strerror or taken}") from taken
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


async def card(config: Config, kind: InstanceType, price: str) -> Preview:
    """What a rate card of that price leaves, and whether EC2 and the account can serve it."""
    from agent.market.model import Price
    from commands.context import open_desk
    from commands.offer_preview import look_at_card

    async with open_desk(config) as desk:
        token = await desk.marketv1.payment_token(await desk.head())
        return await look_at_card(desk, token, kind, Price.parse(price, token.decimals))
