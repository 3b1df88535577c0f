"""What `doctor` checks of the chain: nodes, contract, clock, key, gas, stake and offers."""

from __future__ import annotations

import asyncio

from agent.market.model import ZERO_ADDRESS
from agent.wiring.adapters import offered_prices, open_endpoints, open_wallet, provider_of
from agent.wiring.cards import all_prices
from agent.wiring.markets import abilities_of, form_of
from commands.amounts import show_amount, show_span
from commands.checkup.patient import Finding, Patient, skipped
from commands.context import Desk, Standing, Terms, standing_of, terms_of
from commands.ordering import paused
from commands.provider import unanswered
from commands.sending import OLD_FORM
from commands.terminal import how_many

# A clock that is off this far misjudges deadlines and AWS refuses its signatures at five minutes.
CLOCK_SECONDS = 30
# Transactions of a job from start to end (docs/gas.md: about 0.3 M gas), times ten.
GAS_FOR_TEN_JOBS = 3_000_000


async def key(patient: Patient) -> list[Finding]:
    signer = await open_wallet(patient.config)
    patient.provider = provider_of(patient.config, signer)
    if signer is None:
        return [Finding("key", "ok", "none: jobs are served, and nothing is settled from here")]
    patient.payer = signer.address
    return [Finding("key", "ok", f"signs for {signer.address}")]


async def chain(patient: Patient) -> list[Finding]:
    if patient.nodes and all(node.down for node in patient.nodes):
        return [skipped("chain id", "no node answers")]  # each is named above, with its own error
    endpoints = await open_endpoints(patient.config, patient.clock)
    patient.stack.push_async_callback(endpoints.close)
    provider = patient.provider or ZERO_ADDRESS
    patient.desk = Desk(patient.config, patient.clock, endpoints, provider)
    found = [Finding("chain id", "ok", f"{endpoints.chain_id} (by {_nodes(endpoints.count)})")]
    if endpoints.count == 1:
        text = "none: one node's word ends jobs, leaves them and has them missed"
        todo = "add a node of another operator to chain.rpc_urls (docs/security.md)"
        found.append(Finding("second node", "warn", text, todo))
    return found


async def contract(patient: Patient) -> list[Finding]:
    if patient.desk is None:
        return [skipped("contract", "no node of this chain answers")]
    code = await patient.desk.endpoints.call("eth_getCode", patient.desk.registry, "latest")
    if code in ("0x", None):
        todo = "check chain.registry and chain.chain_id"
        return [Finding("contract", "fail", f"{patient.desk.registry} has no code", todo)]
    if all(node.finality or node.at_hash for node in patient.nodes if not node.down):
        return [skipped("contract", "no node can read it: see finality and reads at a block")]
    desk = patient.desk
    _, _, odd = await form_of(desk.reads, desk.config, await desk.head())
    patient.standing = await standing_of(patient.desk)
    if patient.standing.abilities.has_stake:
        patient.terms = await terms_of(patient.desk)
    todo = "see that the market's terms are still the same, then update this program"
    found = [Finding("contract", "ok", _in_words(patient.standing, patient.terms))]
    return found + [Finding("contract's code", "warn", text, todo) for text in odd]


def _in_words(standing: Standing, terms: Terms | None) -> str:
    if terms is None:
        money = standing.money
        return f"pays in {money.symbol} of {money.decimals} decimals; it has no stake"
    params = terms.params
    return (
        f"StakePerJob {show_amount(params.stake_per_job, terms.pond)}, "
        f"bootstrapping {show_span(params.job_bootstrapping)}, "
        f"cool-down {show_span(params.job_exit_cool_down)}"
    )


async def clock(patient: Patient) -> list[Finding]:
    newest = [node.newest.timestamp for node in patient.nodes if node.newest]
    if not newest:
        return [skipped("clock", "the chain cannot be read")]
    ahead = sorted(newest)[len(newest) // 2] - patient.clock.now()  # one node may say anything
    if ahead > CLOCK_SECONDS:
        text = f"this machine is {show_span(ahead)} behind the chain"
        return [Finding("clock", "fail", text, "start time synchronisation (chrony, timesyncd)")]
    if ahead < -20 * CLOCK_SECONDS:
        text = f"the newest block is {show_span(-ahead)} old"
        return [Finding("clock", "warn", text, "this clock is ahead, or the nodes are behind")]
    return [Finding("clock", "ok", f"newest block {show_span(max(0.0, -ahead))} ago")]


async def gas(patient: Patient) -> list[Finding]:
    from agent.chain.fees import asked_by, fees_asked
    from agent.chain.rpc import number
    from agent.wiring.adapters import fees_of

    desk = patient.desk
    if desk is None:
        return [skipped("gas", "no node of this chain answers")]
    if not patient.config.wallet.given:
        return [skipped("gas", "no key, no transactions")]
    if patient.payer is None:
        return [skipped("gas", "the key cannot be opened")]
    balance = await number(desk.endpoints, "eth_getBalance", patient.payer, "latest")
    asked = await asked_by(desk.endpoints)
    fees = fees_asked(asked, fees_of(patient.config))
    old = [] if asked.base_fee is not None else [Finding("fees", "ok", OLD_FORM)]
    if fees is None:
        todo = "wait, or raise gas.max_fee"
        return [Finding("gas", "warn", "a block asks more than gas.max_fee now", todo), *old]
    return [_enough(patient, balance, GAS_FOR_TEN_JOBS * fees.max_fee), *old]


def _enough(patient: Patient, balance: int, need: int) -> Finding:
    if balance >= need:
        return Finding("gas", "ok", f"{balance / 1e18:.4f} coin, ten jobs take {need / 1e18:.4f}")
    # Where no start is reported, what is served does not wait for a transaction.
    reports = abilities_of(patient.config).reports_start
    verdict = "fail" if reports and balance < need // 10 else "warn"
    todo = f"send {patient.payer} at least {need / 1e18:.4f}"
    return Finding("gas", verdict, f"{balance / 1e18:.6f} coin", todo)


async def stake(patient: Patient) -> list[Finding]:
    terms = patient.terms
    if not abilities_of(patient.config).has_stake:
        return [skipped("stake", "this market has no stake")]
    if terms is None:
        return [skipped("stake", "the contract cannot be read")]
    if patient.provider is None:
        return [skipped("stake", "the key cannot be opened")]
    more = terms.stake.unlocked // max(1, terms.params.stake_per_job)
    shown = f"{show_amount(terms.stake.total, terms.pond)}, enough for {how_many(more, 'more job')}"
    if terms.stake.total < terms.params.stake_per_job:
        least = show_amount(terms.params.stake_per_job - terms.stake.total, terms.pond)
        todo = f"stake at least {least}: oyster-provider stake AMOUNT"
        return [Finding("stake", "fail", shown, todo)]
    todo = "" if more else "stake more to get another job"
    return [Finding("stake", "ok" if more else "warn", shown, todo)]


async def offers(patient: Patient) -> list[Finding]:
    desk, standing = patient.desk, patient.standing
    if desk is None or standing is None:
        return [skipped("offers", "the contract cannot be read")]
    if patient.provider is None:
        return [skipped("offers", "the key cannot be opened")]
    if not standing.abilities.lists_on_chain:
        return [await _cards(desk, standing)]
    if not desk.config.offers:
        todo = "oyster-provider offers set TYPE PRICE"
        return [Finding("offers", "warn", "nothing is on offer", todo)]
    listed = [
        offer.type
        for offer in desk.config.offers
        if await desk.market.offer(desk.provider, offer.type, standing.at)
    ]
    missing = sorted({offer.type for offer in desk.config.offers} - set(listed))
    if missing and paused(desk):
        todo = "oyster-provider resume, once new jobs are to come again"
        return [Finding("offers", "ok", f"paused: {', '.join(missing)} not listed", todo)]
    if missing:
        todo = "oyster-provider offers set, or wait until capacity is back"
        return [Finding("offers", "warn", f"not listed: {', '.join(missing)}", todo)]
    return [Finding("offers", "ok", f"{len(listed)} listed")]


async def _cards(desk: Desk, standing: Standing) -> Finding:
    """What tools find who look this provider up: a URL, and rate cards behind it."""
    if not all_prices(desk.config, offered_prices(desk.config, standing.money.decimals)):
        todo = "add [[offers]] to the file, or name cards.rates_file"
        return Finding("offers", "warn", "nothing is on offer", todo)
    url = await desk.marketv1.provider_url(desk.provider, standing.at)
    if not url:
        todo = "oyster-provider provider add --url URL, with the provider's own key"
        return Finding("offers", "warn", "this provider is not on the market's list", todo)
    wrong = await asyncio.to_thread(unanswered, url)
    if wrong:
        todo = "start the agent with status.public_listen behind this URL, or change the URL"
        return Finding("offers", "warn", wrong, todo)
    return Finding("offers", "ok", f"{url} shows rate cards")


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
