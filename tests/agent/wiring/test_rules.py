"""What the configuration says reaches the values that decide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.config import Config
from agent.config.checks import _enclave
from agent.decide.host_orders import PacketRules
from agent.wiring.adapters import service_ports
from agent.wiring.rules import offer_rules_of, rules_of
from enclave.attest.init_params import KNOWN_IMAGES, KnownImage

pytestmark = pytest.mark.unit


def test_settle_every__as_configured__is_how_often_earnings_are_collected() -> None:
    config = Config()
    assert rules_of(config, 6).lifecycle.ending.settle_every_seconds == 86_400
    seldom = replace(config, jobs=replace(config.jobs, settle_every_seconds=0.0))
    assert rules_of(seldom, 6).lifecycle.ending.settle_every_seconds == 0


def test_settle_least__in_tokens__is_base_units_of_the_payment_token() -> None:
    config = Config()
    assert rules_of(config, 6).lifecycle.ending.settle_least == 10**6
    more = replace(config, jobs=replace(config.jobs, settle_least=2.5))
    assert rules_of(more, 18).lifecycle.ending.settle_least == 25 * 10**17


def test_listing_per_day__in_wei__is_the_budget_of_listing_changes() -> None:
    config = Config()
    assert offer_rules_of(config).day_wei == 5 * 10**16
    config = replace(config, listing=replace(config.listing, per_day_wei=7))
    assert offer_rules_of(config).day_wei == 7


def test_network__packets__hosts_give_them_and_their_ports_are_open() -> None:
    config = Config()
    assert rules_of(config, 6).lifecycle.enclave.packets is None
    assert service_ports(config) == ((1300, 1300),)
    enclave = replace(config.enclave, network="packets", egress_kbit=500, mail=True)
    with_packets = replace(config, enclave=enclave)
    assert rules_of(with_packets, 6).lifecycle.enclave.packets == PacketRules(500, mail=True)
    assert service_ports(with_packets) == ((80, 80), (443, 443), (1024, 61439))


def test_console__its_port_is_open_where_jobs_may_ask_for_debug_mode_alone() -> None:
    config = Config()
    market = replace(config, chain=replace(config.chain, market="marketv1"))
    assert service_ports(market) == ((1300, 1300), (516, 516))
    packets = replace(market, enclave=replace(config.enclave, network="packets"))
    assert service_ports(packets) == ((80, 80), (443, 443), (516, 516), (1024, 61439))
    without = replace(market, jobs=replace(config.jobs, debug=False))
    assert service_ports(without) == ((1300, 1300),)
    assert not rules_of(without, 6).lifecycle.policy.debug


def test_urls__by_themselves_alone__are_taken_where_the_market_has_them() -> None:
    config = Config()
    market = replace(config, chain=replace(config.chain, market="marketv1"))
    url = "https://files.example/x.eif?" + "k" * 2000
    taken, refused = (rules_of(one, 6).lifecycle.policy.url_form for one in (market, config))
    assert taken(url) is None
    assert refused(url[:400])
    assert taken(url.replace("https", "http"))


def test_network__packets_and_a_port_of_the_host__is_a_finding() -> None:
    enclave = replace(Config().enclave, network="packets", attestation_port=61440)
    found = list(_enclave(replace(Config(), enclave=enclave)))
    assert found == [
        (("enclave", "attestation_port"), "61440 is the host's own where the network is packets")
    ]
    enclave = replace(enclave, attestation_port=1301)
    assert list(_enclave(replace(Config(), enclave=enclave))) == []


def test_egress__an_address_that_hosts_never_reach__is_a_finding() -> None:
    ways = ("9=10.0.0.5:443", "10=169.254.169.254:80", "11=1.1.1.1:443", "12=kms.example:443")
    enclave = replace(Config().enclave, egress=ways)
    found = [text for _, text in _enclave(replace(Config(), enclave=enclave))]
    assert found == [
        "10.0.0.5 is no place for an enclave: private (RFC 1918)",
        "169.254.169.254 is no place for an enclave: link-local; the metadata service is here",
    ]


def test_known_images__of_the_operator__stand_beside_those_that_all_know() -> None:
    pcrs = ("1" * 96, "2" * 96, "3" * 96)
    enclave = replace(Config().enclave, known_images=("mine=" + ":".join(pcrs),))
    rules = rules_of(replace(Config(), enclave=enclave), 6).lifecycle.enclave
    assert rules.known_images == (*KNOWN_IMAGES, KnownImage("mine", pcrs))
