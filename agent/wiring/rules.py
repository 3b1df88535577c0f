"""From the configuration to the small values that the core decides by."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.apply.attester import AttestationRules
from agent.config import Config
from agent.config.secrets import locate
from agent.decide.bootstrap import BootstrapRules
from agent.decide.deadline import DEFAULT_LENGTHS, Budget, Length, Stage
from agent.decide.ending import EndingRules
from agent.decide.host_orders import EnclaveRules, PacketRules
from agent.decide.keepalive import HealthRules
from agent.decide.lifecycle import LifecycleRules
from agent.decide.listings import OfferRules
from agent.decide.refusal import PolicyRules
from agent.decide.termination_breaker import BreakerRules
from agent.decide.unconfirmed_launches import BurstRules
from agent.loop.state import Rules, ServiceRules
from agent.wiring.adapters import offered_prices
from agent.wiring.markets import abilities_of
from enclave.attest.init_params import KNOWN_IMAGES, read_known
from enclave.fetch.download import Reach
from enclave.host.documents import PACKETS, Egress, Port
from enclave.web.image_list import ImageList
from enclave.web.image_url import BadUrl


def rules_of(config: Config, payment_decimals: int) -> Rules:
    """Everything that a reload replaces."""
    lifecycle = LifecycleRules(
        policy=_policy(config, payment_decimals),
        bootstrap=_bootstrap(config),
        enclave=_enclave(config),
        health=_health(config),
        ending=EndingRules(
            dry_grace_seconds=config.jobs.dry_grace_seconds,
            settle_every_seconds=config.jobs.settle_every_seconds,
            settle_least=int(config.jobs.settle_least * 10**payment_decimals),
            signs=bool(config.wallet.given),
        ),
    )
    breaker = BreakerRules(
        share=config.breaker.share,
        window_seconds=config.breaker.window_seconds,
        min_jobs=config.breaker.min_jobs,
    )
    service = ServiceRules(
        resync_seconds=config.jobs.resync_seconds,
        orphan_grace_seconds=config.jobs.orphan_grace_seconds,
    )
    burst = BurstRules(unconfirmed=config.breaker.unconfirmed)
    return Rules(lifecycle, breaker, burst, service)


def offer_rules_of(config: Config) -> OfferRules:
    """How listings follow capacity."""
    listing = config.listing
    return OfferRules(
        follow=listing.follow_capacity,
        withdraw_after_seconds=min(60.0, listing.settle_seconds),
        restore_after_seconds=listing.settle_seconds,
        day_wei=listing.per_day_wei,
    )


def attestation_rules_of(config: Config) -> AttestationRules:
    """Where enclaves are asked. Raises UsageFault: the root's file is missing."""
    enclave = config.enclave
    root = locate(enclave.root_file, config.base).read_bytes() if enclave.root_file else None
    return AttestationRules(
        port=enclave.attestation_port,
        path=enclave.attestation_path,
        max_age_seconds=enclave.attestation_age_seconds,
        allow_debug=enclave.debug,
        root_pem=root,
    )


def _policy(config: Config, decimals: int) -> PolicyRules:
    jobs = config.jobs
    return PolicyRules(
        prices=offered_prices(config, decimals),
        regions=frozenset(config.aws.regions),
        allow_owners=frozenset(jobs.allow_owners),
        deny_owners=frozenset(jobs.deny_owners),
        allow_images=ImageList.read(jobs.allow_images),
        deny_images=ImageList.read(jobs.deny_images),
        min_escrow_seconds=jobs.min_escrow_seconds,
        debug=jobs.debug,
        per_owner=jobs.per_owner,
        wasted_per_owner=jobs.wasted_per_owner,
        pass_by=frozenset(map(int, jobs.pass_by)),
        max_image_bytes=config.images.max_size_bytes,
        url_form=_url_form(
            frozenset(config.images.allowed_hosts), open_urls=abilities_of(config).open_urls
        ),
    )


def _url_form(allowed_hosts: frozenset[str], *, open_urls: bool) -> Callable[[str], str | None]:
    reach = Reach([], allowed_hosts, open_urls=open_urls)

    def wrong(url: str) -> str | None:
        try:
            reach.parse(url)
        except BadUrl as bad:
            return str(bad)
        return None

    return wrong


def _bootstrap(config: Config) -> BootstrapRules:
    return BootstrapRules(
        budget=Budget(_lengths(config), config.deadlines.patience),
        leave_refused=config.jobs.on_refusal == "exit",
    )


def _lengths(config: Config) -> Mapping[Stage, Length]:
    """Usual lengths as configured; the least ones are plausible minima, not to be configured."""
    times = config.deadlines
    usual = {
        Stage.LAUNCH: times.launch_seconds,
        Stage.BOOT: times.boot_seconds,
        Stage.IMAGE: times.image_seconds,
        Stage.ENCLAVE: times.enclave_seconds,
        Stage.ATTEST: times.attest_seconds,
        Stage.REPORT: times.report_seconds,
    }
    return {
        stage: Length(usual[stage], min(length.least, usual[stage]))
        for stage, length in DEFAULT_LENGTHS.items()
    }


def _enclave(config: Config) -> EnclaveRules:
    return EnclaveRules(
        ports=tuple(_port(text) for text in config.enclave.ports),
        egress=tuple(_egress(text) for text in config.enclave.egress),
        debug=config.enclave.debug,
        public_port=config.enclave.attestation_port,
        packets=_packets(config),
        known_images=(*KNOWN_IMAGES, *map(read_known, config.enclave.known_images)),
    )


def _packets(config: Config) -> PacketRules | None:
    if config.enclave.network != PACKETS:
        return None
    return PacketRules(kbit=config.enclave.egress_kbit, mail=config.enclave.mail)


def _port(text: str) -> Port:
    listen, _, vsock = text.partition(":")
    return Port(int(listen), int(vsock))


def _egress(text: str) -> Egress:
    vsock, _, target = text.partition("=")
    host, _, port = target.rpartition(":")
    return Egress(int(vsock), host, int(port))


def _health(config: Config) -> HealthRules:
    alive = config.keepalive
    return HealthRules(
        probe_seconds=alive.probe_seconds,
        retry_seconds=alive.retry_seconds,
        misses=alive.misses,
        heartbeat_seconds=alive.heartbeat_seconds,
        start_seconds=alive.start_seconds,
        restart_seconds=alive.restart_seconds,
        stable_seconds=alive.stable_seconds,
        replace_backoff_seconds=alive.replace_backoff_seconds,
        max_backoff_seconds=alive.max_backoff_seconds,
        doubt_share=alive.doubt_share,
        doubt_jobs=alive.doubt_jobs,
        doubt_seconds=alive.doubt_seconds,
    )
