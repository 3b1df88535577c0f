"""Bring a whole market up, in one folder, and down again without a trace.

    chain  py-evm or anvil, a block a second          aws    moto behind the honest EC2, and the
    ipfs   a trustless gateway over FOLDER/ipfs              processes of the instances

The chain starts in the past and mines at once while the market is set up, then catches up with
the wall clock and mines a block a second: set-up takes seconds and no timestamp runs ahead.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import program
from devnet import several, state
from devnet.nitro.parts import cache as nitro_cache
from devnet.owners import Owners
from devnet.people import Actions, Market, account_of, connect, new_person
from devnet.processes import Child, Children, born, free_port
from devnet.state import Devnet, Person
from faults import UsageFault

if TYPE_CHECKING:
    from web3 import Web3

CHAIN_ID = 31337
REGION = "us-east-1"
PEOPLE = ("faucet", "provider", "rival", "user", "auditor-1", "auditor-2")
BEHIND_SECONDS = 600  # more blocks than the set-up mines, and more than it lasts
COINS = 100 * 10**18
POND = 10**18
USD = 10**6

# A demo has a minute, a person at the keyboard has more; both pass Options of their own.
BOOTSTRAPPING_SECONDS = 120
MARKETS = ("registry", "marketv1")
BOOTS = ("process", "qemu")
CHAINS = {"py-evm": "devnet.chain.node", "anvil": "devnet.chain.anvil"}  # by module


@dataclass(frozen=True)
class Past:
    """What happened on the market `seconds_ago`, before the chain's clock caught up with the wall.

    `tell` makes it happen, a block for each transaction; those take a second of the past each.
    """

    seconds_ago: int
    tell: Callable[[Actions], None]


@dataclass(frozen=True)
class Options:
    """How a devnet should be. Durations in seconds, of the protocol and of the wall alike."""

    directory: Path
    chain: str = "py-evm"
    market: str = "registry"
    hosts: int = 1  # more than one share a PostgreSQL, and their agents are started too
    ahead_seconds: Mapping[str, float] = field(default_factory=dict)  # hosts' clocks
    rate_lock_seconds: int = 300  # of marketv1: how long a rate is announced before it can hold
    block_seconds: float = 1.0
    stake_per_job: int = 100 * POND
    job_bootstrapping: int = BOOTSTRAPPING_SECONDS
    job_startup: int = BOOTSTRAPPING_SECONDS
    job_exit_cool_down: int = 60
    quorum: int = 2
    boot_share: float = 0.1  # of EC2's published boot times; 1 is as slow as the real one
    baked: bool = (
        False  # instances start from an image that has the packages, as `cloud bake` makes
    )
    boot: str = "process"  # how enclaves run; qemu: as kernels, where it is built (devnet/nitro)
    regions: tuple[str, ...] = (REGION,)
    lying_gateways: tuple[str, ...] = ()  # asked before the devnet's own; for tests
    config_overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    past: Past | None = None


@dataclass(frozen=True)
class Running:
    """A devnet that is up: what it is, and its children (for those who crash them)."""

    devnet: Devnet
    children: Children


@contextlib.contextmanager
def running(options: Options) -> Iterator[Running]:
    """Everything up inside the block, nothing left after it but the folder with its logs."""
    if options.chain not in CHAINS:
        raise UsageFault(f"--chain {options.chain}: there are {' and '.join(CHAINS)}")
    if options.market not in MARKETS:
        raise UsageFault(f"--market {options.market}: there are {' and '.join(MARKETS)}")
    names = several.names_of(options.hosts)
    if options.boot not in BOOTS:
        raise UsageFault(f"--boot {options.boot}: there are {' and '.join(BOOTS)}")
    directory = _prepare(options.directory)
    with Children(directory / "logs") as children:
        if len(names) > 1:
            database = several.start_database(directory, children)
            options = replace(options, config_overrides=database.added_to(options.config_overrides))
        parts = _start_parts(options, directory, children)
        devnet = _open_market(options, directory, parts)
        if len(names) > 1:
            devnet = several.start_hosts(
                devnet, directory, children, database, names, options.ahead_seconds
            )
        state.write(directory, devnet)
        try:
            yield Running(devnet, children)
        finally:
            state.remove(directory)


# A thread a request and whole images in memory: by itself glibc keeps what each thread had (5 GB
# after seventy launches); with a fixed threshold large pieces go back to the system.
_GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072"}


def _prepare(directory: Path) -> Path:
    directory = directory.resolve()
    if (directory / state.FILE).exists():
        raise UsageFault(
            f"{directory} has a devnet already, or what a killed one left: "
            "'oyster-provider devnet down' first, or another --dir"
        )
    for part in ("keys", "ipfs", "aws", "provider", "hosts"):
        shutil.rmtree(directory / part, ignore_errors=True)
        try:
            (directory / part).mkdir(parents=True, mode=0o700)
        except (OSError, UnicodeError) as error:
            raise UsageFault(f"{directory} cannot be a devnet's folder: {error}") from error
    return directory


def _start_parts(options: Options, directory: Path, children: Children) -> Mapping[str, Child]:
    commands = {
        "chain": _chain_command(options),
        "ipfs": program.module("devnet.ipfs.node", "--directory", str(directory / "ipfs")),
        "aws": [
            *program.module("devnet.aws.server", "--directory", str(directory / "aws")),
            *("--speed", str(options.boot_share)),
            *(["--baked"] if options.baked else []),
            *(["--nitro", str(nitro_cache())] if options.boot == "qemu" else []),
        ],
    }
    with ThreadPoolExecutor(len(commands)) as pool:  # importing them is what takes the time
        started = {
            name: pool.submit(children.start, name, words, env=_GIVES_BACK)
            for name, words in commands.items()
        }
        return {name: future.result() for name, future in started.items()}


def _chain_command(options: Options) -> list[str]:
    return [
        *program.module(CHAINS[options.chain], "--chain-id", str(CHAIN_ID)),
        *("--block-time", str(options.block_seconds), "--behind", str(BEHIND_SECONDS)),
    ]


def _open_market(options: Options, directory: Path, parts: Mapping[str, Child]) -> Devnet:
    """Contracts deployed, everyone funded, the clock caught up, configuration written."""
    people = {name: new_person(name, directory / "keys") for name in PEOPLE}
    rpc_url = str(parts["chain"].hello["url"])
    w3 = connect(rpc_url)
    _rpc(w3, "evm_setAutomine", True)
    _give_coins(w3, people)
    deployed = _deploy(w3, options, people)
    aws = parts["aws"].hello
    devnet = Devnet(
        pid=os.getpid(),
        rpc_url=rpc_url,
        witness_urls=tuple(
            str(parts["chain"].hello[key]) for key in ("twin",) if key in parts["chain"].hello
        ),
        chain_id=deployed.chain_id,
        registry=deployed.contract,
        pond=deployed.pond,
        market=options.market,
        boot=options.boot,
        payment_token=deployed.payment_token,
        block=deployed.block,
        aws_endpoint=str(aws["endpoint"]),
        aws_control=str(aws["control"]),
        ipfs_gateway=str(parts["ipfs"].hello["url"]),
        regions=options.regions,
        attestation_root=str(aws["attestation_root"]),
        people=people,
        config_files={},
        children={name: child.pid for name, child in parts.items()},
        born={pid: born(pid) for pid in (os.getpid(), *(one.pid for one in parts.values()))},
    )
    actions = Actions(Market(w3, devnet))
    _give_tokens(actions, people, devnet.market)
    behind = _live_through(options.past, actions)
    _rpc(w3, "evm_setAutomine", False)
    if options.chain == "anvil":  # there, this ends mining by the clock too
        _rpc(w3, "evm_setIntervalMining", math.ceil(options.block_seconds))
    _rpc(w3, "evm_increaseTime", behind)
    _rpc(w3, "evm_mine")  # the head has the wall's time from the first moment
    config = _write_config(options, directory, devnet)
    return replace(devnet, config_files={"provider": str(config)})


def _live_through(past: Past | None, actions: Actions) -> int:
    """Let the past happen; how many seconds the chain's clock is behind the wall's after it."""
    if past is None:
        return BEHIND_SECONDS
    _rpc(actions.market.w3, "evm_increaseTime", BEHIND_SECONDS - past.seconds_ago)
    past.tell(actions)
    return past.seconds_ago


def _rpc(w3: Web3, method: str, *params: Any) -> Any:
    from web3.types import RPCEndpoint

    return w3.manager.request_blocking(RPCEndpoint(method), list(params))


def _give_coins(w3: Web3, people: Mapping[str, Person]) -> None:
    """From the node's own first account, which every test chain funds at birth."""
    from eth_account import Account

    from devnet.chain.evm import HD_PATH, MNEMONIC

    Account.enable_unaudited_hdwallet_features()
    rich = Account.from_mnemonic(MNEMONIC, account_path=f"{HD_PATH}/0")
    for nonce, person in enumerate(
        people.values(), start=w3.eth.get_transaction_count(rich.address)
    ):
        transaction = {
            "to": person.address,
            "value": COINS,
            "nonce": nonce,
            "gas": 21_000,
            "maxFeePerGas": 100 * 10**9,
            "maxPriorityFeePerGas": 10**9,
            "chainId": CHAIN_ID,
        }
        w3.eth.send_raw_transaction(rich.sign_transaction(transaction).raw_transaction)


@dataclass(frozen=True)
class _Deployed:
    """A market of either kind."""

    chain_id: int
    contract: str
    pond: str  # empty: nothing is staked
    payment_token: str
    block: int


def _deploy(w3: Web3, options: Options, people: Mapping[str, Person]) -> _Deployed:
    if options.market == "registry":
        return _deploy_registry(w3, options, people)
    from contracts.deploy import deploy_marketv1

    lock = options.rate_lock_seconds
    made = deploy_marketv1(w3, account_of(people["faucet"]), rate_lock_seconds=lock)
    return _Deployed(made.chain_id, made.market, "", made.payment_token, made.block)


def _deploy_registry(w3: Web3, options: Options, people: Mapping[str, Person]) -> _Deployed:
    from web3 import Web3

    from contracts.deploy import Params, deploy

    terms = Params(
        options.stake_per_job,
        options.job_bootstrapping,
        options.job_startup,
        options.job_exit_cool_down,
        options.quorum,
    )
    auditors = [people[name].address for name in PEOPLE if name.startswith("auditor")]
    made = deploy(
        w3, account_of(people["faucet"]), terms, [Web3.to_checksum_address(a) for a in auditors]
    )
    return _Deployed(made.chain_id, made.registry, made.pond, made.payment_token, made.block)


def _give_tokens(actions: Actions, people: Mapping[str, Person], market: str) -> None:
    faucet = people["faucet"]
    if market == "marketv1":
        actions.mint(faucet, people["user"], money=1_000_000 * USD)
        Owners(actions.market).allow(people["user"])
        return
    for name in ("provider", "rival"):
        actions.mint(faucet, people[name], pond=10_000 * POND)
    actions.mint(faucet, people["user"], money=1_000_000 * USD)
    for name in ("rival", "user"):  # the provider's own tools ask for their allowance themselves
        actions.allow(people[name])


def _write_config(options: Options, directory: Path, devnet: Devnet) -> Path:
    """An ordinary configuration file, as `init` writes it, with the devnet's answers."""
    from agent.config.template import render, write

    answers: dict[str, dict[str, Any]] = {
        "": {"state_dir": str(directory / "provider")},
        "chain": {
            "chain_id": devnet.chain_id,
            "market": devnet.market,
            "registry": devnet.registry,
            "rpc_urls": [devnet.rpc_url, *devnet.witness_urls],
            "finality": "2",
            "poll": "250ms",
        },
        "wallet": {"key_file": devnet.person("provider").key_file},
        "aws": {"regions": list(options.regions), "endpoint_url": devnet.aws_endpoint},
        "images": {"gateways": [*options.lying_gateways, devnet.ipfs_gateway]},
        "enclave": {"root_file": devnet.attestation_root, "ports": ["1300:1300", "8080:8080"]},
        "status": {"listen": f"127.0.0.1:{free_port()}"},
    }
    for section, values in options.config_overrides.items():
        answers[section] = {**answers.get(section, {}), **values}
    path = directory / "provider.toml"
    path.unlink(missing_ok=True)
    write(path, render(answers))
    return path
