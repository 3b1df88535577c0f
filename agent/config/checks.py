"""Settings that are sound alone and impossible together; each finding names the key to change."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator

from agent.config.model import Config, Enclave, Offer
from agent.config.presets import MARKETS, preset_of
from agent.config.units import PERIODS, OfCost, Rate
from enclave.attest.init_params import KNOWN_IMAGES, BadKnownImage, read_known
from enclave.host.documents import PACKETS
from enclave.host.network import reach
from enclave.host.network.packet import own_port
from enclave.ipfs.configured_sources import gateway_url, kubo_multiaddr
from enclave.web.image_list import ImageList
from faults import UsageFault

Finding = tuple[tuple[str | int, ...], str]

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d\Z")
_TYPE = re.compile(r"[a-z]{2}(-[a-z]+)+-\d/[a-z0-9-]+\.[a-z0-9-]+\Z")
_FORWARD = re.compile(r"(\d{1,5}):(\d{1,9})\Z")
_SHOWN = 60  # characters of a name that is told
_EXPLORER = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?")
_EGRESS = re.compile(r"\d{1,9}=[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:(\d{1,5})\Z")


def contradictions(config: Config) -> Iterator[Finding]:
    """Every finding about `config`; none when it can be run with."""
    for check in (
        _state,
        _chain,
        _wallet,
        _aws,
        _offers,
        _cards,
        _images,
        _lists,
        _enclave,
        _status,
        _keepalive,
        _gas,
    ):
        yield from check(config)


def _state(config: Config) -> Iterator[Finding]:
    if not config.state_dir:
        yield ("state_dir",), "is empty; name a folder"


def _chain(config: Config) -> Iterator[Finding]:
    chain = config.chain
    known = preset_of(chain.market, chain.chain_id)
    if not chain.registry and known is None:
        yield ("chain", "registry"), "is missing; write the address of the market's contract"
    if not config.chain.rpc_urls:
        yield ("chain", "rpc_urls"), "names no node; give one here or in rpc_urls_file"
    if config.chain.ws_url and not config.chain.ws_url.reveal().startswith("ws"):
        yield ("chain", "ws_url"), "is not a ws:// or wss:// URL"
    for url in config.chain.rpc_urls:
        if not url.reveal().startswith("http"):
            text = f"{url} is not an http:// or https:// URL, by which the chain is read; one of"
            yield ("chain", "rpc_urls"), f"{text} ws:// or wss:// that tells of blocks is a ws_url"


def _wallet(config: Config) -> Iterator[Finding]:
    wallet, given = config.wallet, config.wallet.given
    if len(given) > 1 or (not given and MARKETS[config.chain.market].needs_key):
        found = " and ".join(given) or "none of them"
        yield ("wallet",), f"needs one of keystore_file, key_file or kms_key_id; it has {found}"
    elif not given and not config.chain.provider:
        yield (
            ("chain", "provider"),
            "is missing; without a key in [wallet] it says whose jobs are served",
        )
    if wallet.keystore_file and not wallet.password_file:
        yield ("wallet", "password_file"), "is missing; keystore_file cannot be opened without it"
    if wallet.password_file and not wallet.keystore_file:
        yield ("wallet", "password_file"), "opens keystore_file, which is not set"


def _aws(config: Config) -> Iterator[Finding]:
    if not config.aws.regions:
        yield ("aws", "regions"), "names no region"
    for region in config.aws.regions:
        if not _REGION.match(region):
            yield ("aws", "regions"), f"{region!r} is not a region such as 'us-east-1'"
    if config.aws.ami.startswith("ami-") and len(config.aws.regions) > 1:
        yield ("aws", "ami"), "an AMI id is of one region, but aws.regions has several; use a name"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,20}", config.aws.bucket_prefix):
        yield ("aws", "bucket_prefix"), "needs 2-21 lower-case letters, digits and hyphens"


def _offers(config: Config) -> Iterator[Finding]:
    counts = Counter(offer.type for offer in config.offers)
    for n, offer in enumerate(config.offers):
        if not _TYPE.match(offer.type):
            yield ("offers", n, "type"), f"{offer.type!r} is not REGION/TYPE"
        elif offer.region not in config.aws.regions:
            yield ("offers", n, "type"), f"{offer.region} is not in aws.regions"
        if counts[offer.type] > 1:
            yield ("offers", n, "type"), f"{offer.type} is offered {counts[offer.type]} times"
        for key, problem in price_rule(offer, config):
            yield ("offers", n, key), problem


def price_rule(offer: Offer, config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong with how an offer is priced, by the key."""
    if offer.floor is not None and not offer.by_rule:
        yield "floor", "is for a price by rule: write undercut, or price as 'cost * 1.15'"
    if offer.undercut and not MARKETS[config.chain.market].shows_rivals:
        yield (
            "undercut",
            f"{config.chain.market} lists nobody's prices on the chain: there is none to go below",
        )
    if _above(offer.floor, offer.price):
        yield "floor", f"{offer.floor} is above price, {offer.price}"


def _above(one: Rate | OfCost | None, other: Rate | OfCost) -> bool:
    """Whether it is, for any cost; what compares only with a cost in hand is not."""
    if isinstance(one, OfCost) and isinstance(other, OfCost):
        return one.times > other.times
    if isinstance(one, Rate) and isinstance(other, Rate):
        return one.amount * PERIODS[other.period] > other.amount * PERIODS[one.period]
    return False


def _cards(config: Config) -> Iterator[Finding]:
    for name in ("rates_file", "bandwidth_file"):
        if getattr(config.cards, name) and not MARKETS[config.chain.market].has_cards:
            yield ("cards", name), "is for marketv1; on the registry, offers stand on the chain"


def _images(config: Config) -> Iterator[Finding]:
    images = config.images
    if images.max_size_bytes > images.quota_bytes:
        yield ("images", "quota"), "is less than images.max_size: the largest image would not fit"
    if not images.gateways and not images.kubo_api:
        yield ("images", "gateways"), "is empty and there is no kubo_api: images come from nowhere"
    for text in images.gateways:
        yield from _unread(gateway_url, text, ("images", "gateways"))
    if images.kubo_api:
        yield from _unread(kubo_multiaddr, images.kubo_api, ("images", "kubo_api"))


def _lists(config: Config) -> Iterator[Finding]:
    jobs, wrong = config.jobs, False
    for text in jobs.pass_by:
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            yield ("jobs", "pass_by"), f"{text!r} is no number of a job"
    for name, entries in (("allow_images", jobs.allow_images), ("deny_images", jobs.deny_images)):
        for text in entries:
            for finding in _unread(lambda entry: ImageList.read([entry]), text, ("jobs", name)):
                wrong = True
                yield finding
    allowed = ImageList() if wrong else ImageList.read(jobs.allow_images)
    for text in () if wrong else jobs.deny_images:
        if ImageList.read([text]) & allowed:
            yield ("jobs", "deny_images"), f"{text} is in jobs.allow_images too"
    for owner in sorted(_lower(config.jobs.allow_owners) & _lower(config.jobs.deny_owners)):
        yield ("jobs", "deny_owners"), f"{owner} is in jobs.allow_owners too"


def _unread(
    read: Callable[[str], object], text: str, key: tuple[str | int, ...]
) -> Iterator[Finding]:
    """What is wrong with a text that has a reader of its own."""
    try:
        read(text)
    except UsageFault as wrong:
        yield key, f"holds {wrong}"


def _enclave(config: Config) -> Iterator[Finding]:
    enclave = config.enclave
    forwards = [_FORWARD.match(port) for port in enclave.ports]
    for text, match in zip(enclave.ports, forwards, strict=True):
        if match is None or not 0 < int(match[1]) < 65536:
            yield ("enclave", "ports"), f"{text!r} is not LISTEN:VSOCK such as '1300:1300'"
    listens = [int(match[1]) for match in forwards if match]
    if len(set(listens)) < len(listens):
        yield ("enclave", "ports"), "listens twice on one port"
    if 22 in listens:
        yield ("enclave", "ports"), "22 is the host's own; hosts have no administration port"
    yield from _attestation_port(enclave, listens)
    yield from _egress(enclave)
    yield from _known_images(enclave)
    if enclave.debug and not enclave.root_file:
        yield ("enclave", "debug"), "a debug enclave cannot be attested by AWS's root; unset it"


def _egress(enclave: Enclave) -> Iterator[Finding]:
    """Each of the form, and none an address that hosts never connect to."""
    for text in enclave.egress:
        if not _EGRESS.match(text):
            yield ("enclave", "egress"), f"{text!r} is not VSOCK=HOST:PORT"
            continue
        host = text.partition("=")[2].rpartition(":")[0]
        near = reach.why_not(host) if _is_address(host) else None
        if near is not None:
            yield ("enclave", "egress"), f"{host} is no place for an enclave: {near}"


def _known_images(enclave: Enclave) -> Iterator[Finding]:
    """Each of the form, and each image once: two names for one would be one too many."""
    where, places = ("enclave", "known_images"), {one.pcrs: one.place for one in KNOWN_IMAGES}
    for text in enclave.known_images:
        shown = text.rpartition("=")[0][:_SHOWN] or text[:_SHOWN]
        try:
            image = read_known(text)
        except BadKnownImage as bad:
            yield where, f"{shown!r} {bad}"
            continue
        if image.pcrs in places:
            yield where, f"{shown!r} is known as {places[image.pcrs]} already"
        places[image.pcrs] = image.place


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _attestation_port(enclave: Enclave, listens: list[int]) -> Iterator[Finding]:
    """It must be open, by the network that enclaves have."""
    port, where = enclave.attestation_port, ("enclave", "attestation_port")
    if enclave.network == PACKETS and not own_port(port):
        yield where, f"{port} is the host's own where the network is packets"
    if enclave.network != PACKETS and port not in listens:
        yield where, f"{port} is not in enclave.ports"


def _status(config: Config) -> Iterator[Finding]:
    status = config.status
    if status.listen and not status.expose and not _loopback(status.listen):
        yield ("status", "listen"), "is not on loopback; bind 127.0.0.1, or set status.expose"
    if status.public_listen and status.public_listen == status.listen:
        yield ("status", "public_listen"), "is status.listen; it must be another address"
    if status.explorer and not is_explorer(status.explorer):
        yield ("status", "explorer"), "is not an address such as https://arbiscan.io, no more"


def is_explorer(text: str) -> bool:
    """Whether links can be made with it: http or https, a host, perhaps a path, nothing else."""
    return _EXPLORER.fullmatch(text) is not None


def _keepalive(config: Config) -> Iterator[Finding]:
    keepalive = config.keepalive
    if keepalive.max_backoff_seconds < keepalive.replace_backoff_seconds:
        yield ("keepalive", "max_backoff"), "is less than keepalive.replace_backoff"
    if keepalive.retry_seconds > keepalive.probe_seconds:
        yield ("keepalive", "retry"), "is more than keepalive.probe: a miss would slow the asking"


def _gas(config: Config) -> Iterator[Finding]:
    if config.listing.per_day_wei > config.gas.per_day_wei:
        yield ("listing", "per_day"), "is more than gas.per_day"
    if config.gas.per_job_wei > config.gas.per_day_wei:
        yield ("gas", "per_job"), "is more than gas.per_day: one job could stop all others"
    if config.gas.max_fee_wei == 0:
        yield ("gas", "max_fee"), "is 0: no transaction would ever be mined"


def _loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _lower(addresses: tuple[str, ...]) -> set[str]:
    return {address.lower() for address in addresses}


CHECKS = (
    *(_chain, _wallet, _aws, _offers, _cards, _images, _lists),
    *(_enclave, _status, _keepalive, _gas),
)
