"""From the configuration to the parts it describes: endpoints, key, fees, cloud.

One place says what each setting means to the part that it configures; the daemon and the commands
take the parts from here and wire them for their purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.chain.endpoints import Endpoints
from agent.chain.fees import FeePolicy
from agent.chain.head import Finality
from agent.chain.transactions import Patience
from agent.chain.wallet import Signer, keystore_says, open_keystore, open_raw
from agent.config.model import Config
from agent.config.presets import FINALITY_AUTO, MARKETS, Preset, preset_of
from agent.config.secrets import locate
from agent.config.units import Rate
from agent.market.model import Address, Price, Wei, address
from agent.ports import Clock
from agent.secret import read_secret
from cloud.model import Region
from cloud.settings import Owner, PortRange, Settings
from enclave.host.documents import PACKETS
from enclave.host.network.console import PORT as CONSOLE_PORT
from enclave.host.network.packet import FIRST_PORT, LAST_PORT, LOW_PORTS
from faults import UsageFault

if TYPE_CHECKING:
    from agent.chain.kms import KmsSigner
    from enclave.ipfs.gateway import Source

# Chains without a `safe` tag have `finalized`; it is the stricter of the two.
_TAGS = ("finalized", "safe")


async def open_endpoints(config: Config, clock: Clock) -> Endpoints:
    """Every configured node, agreed on the chain id. Raises MustStop, NoEndpoint."""
    chain = config.chain
    return await Endpoints.open(
        [url.reveal() for url in chain.rpc_urls],
        clock,
        chain_id=chain.chain_id,
        max_lag_seconds=chain.max_lag_seconds,
        timeout_seconds=chain.timeout_seconds,
    )


def contract_of(config: Config) -> Address:
    """The market's contract. Raises UsageFault: mistyped (its checksum does not fit)."""
    chain, known = config.chain, known_deployment(config)
    return address(chain.registry or (known.contract if known else ""))


def known_deployment(config: Config) -> Preset | None:
    """What is known of the contract beforehand; None: it is one of somebody's own."""
    return preset_of(config.chain.market, config.chain.chain_id, config.chain.registry)


def provider_of(config: Config, signer: Signer | None) -> Address:
    """Whose jobs are served: the account that is named, else the wallet's."""
    if config.chain.provider or signer is None:
        return address(config.chain.provider)
    return signer.address


def finality_of(config: Config) -> Finality:
    """A tag or a depth, in the head tracker's words."""
    text, known = config.chain.finality, known_deployment(config)
    if text == FINALITY_AUTO:
        return Finality(known.finality_blocks if known else None)
    return Finality(None if text in _TAGS else int(text))


def fees_of(config: Config) -> FeePolicy:
    """What transactions may cost."""
    gas = config.gas
    return FeePolicy(
        cap_per_gas=Wei(gas.max_fee_wei),
        per_job=Wei(gas.per_job_wei),
        per_day=Wei(gas.per_day_wei),
    )


def patience_of(config: Config) -> Patience:
    """When a transaction is stuck."""
    return Patience(replace=config.gas.replace_seconds)


async def open_wallet(config: Config) -> Signer | None:
    """The key that the agent signs with; None: it has none, and sends nothing. Raises as
    `open_signer`."""
    return await open_signer(config) if config.wallet.given else None


async def open_signer(config: Config) -> Signer:
    """The configured key, ready to sign. Raises UsageFault (none, or open to others, too),
    MustStop."""
    wallet = config.wallet
    if not wallet.given:
        raise UsageFault("this needs a key: name keystore_file, key_file or kms_key_id in [wallet]")
    if wallet.kms_key_id:
        return await _kms(config)
    if wallet.key_file:
        return open_raw(locate(wallet.key_file, config.base))
    password = read_secret(locate(wallet.password_file, config.base))
    return open_keystore(locate(wallet.keystore_file, config.base), password)


async def provider_address(config: Config) -> Address:
    """Whose agent this is; without a keystore's password, where that says its address."""
    if config.chain.provider:
        return address(config.chain.provider)
    if config.wallet.keystore_file:
        said = keystore_says(locate(config.wallet.keystore_file, config.base))
        if said is not None:
            return said
    return (await open_signer(config)).address


def cloud_settings(config: Config, provider: str) -> Settings:
    """What the configuration says about AWS, in the cloud's own words."""
    return Settings(
        owner=Owner(config.chain.chain_id, contract_of(config), provider),
        regions=tuple(Region(region) for region in config.aws.regions),
        state_dir=config.cloud_state,
        prefix=config.aws.bucket_prefix,
        service_ports=service_ports(config),
        ami=config.aws.ami,
        subnets=config.aws.subnets,
        elastic_ips=config.aws.elastic_ip,
        root_volume_gib=-(-config.aws.root_volume_bytes >> 30),
    )


def service_ports(config: Config) -> tuple[PortRange, ...]:
    """The TCP ports of a host that are open to the world, each range from first to last. The
    console's only where jobs may ask for debug mode; a host listens there for these alone."""
    asked = MARKETS[config.chain.market].names_debug and config.jobs.debug
    console = [CONSOLE_PORT] if asked else []
    if config.enclave.network == PACKETS:
        low = sorted([*LOW_PORTS, *console])
        return (*((port, port) for port in low), (FIRST_PORT, LAST_PORT))
    listens = [int(port.partition(":")[0]) for port in config.enclave.ports]
    return tuple((port, port) for port in dict.fromkeys([*listens, *console]))


def offered_prices(config: Config, decimals: int) -> dict[str, Price]:
    """Each configured type and its price, for a payment token of so many decimals; of those with a
    number for a price, since rules need to know more (`agent.apply.pricing`)."""
    return {
        offer.type: price_of(offer.price, decimals)
        for offer in config.offers
        if isinstance(offer.price, Rate) and not offer.by_rule
    }


def price_of(rate: Rate, decimals: int) -> Price:
    """A configured rate as a price of the market."""
    return Price.parse(f"{rate.amount:f}/{'min' if rate.period == 'm' else rate.period}", decimals)


async def _kms(config: Config) -> KmsSigner:
    import boto3

    from agent.chain.kms import KmsSigner

    region = config.wallet.kms_region or config.aws.regions[0]
    endpoint = config.aws.endpoint_url or None
    client = boto3.client("kms", region_name=region, endpoint_url=endpoint)
    return await KmsSigner.open(client, config.wallet.kms_key_id)


def image_sources(config: Config) -> Sequence[Source]:
    """Where images come from, the operator's own node first. Raises UsageFault."""
    from enclave.ipfs.gateway import Gateway
    from enclave.ipfs.kubo import KuboNode

    images = config.images
    nodes = [KuboNode(images.kubo_api)] if images.kubo_api else []
    return [*nodes, *map(Gateway, images.gateways)]
