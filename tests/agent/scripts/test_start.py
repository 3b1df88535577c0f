"""From the assignment to `reportStarted`: what is bought, when, and what is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.decide.refusal import PolicyRules
from agent.loop.feeds import RELISTS, UNKNOWN_WINDOW_SECONDS
from agent.market.model import Address, Price
from devnet.simulation.machine import Machine
from devnet.simulation.names import USER
from devnet.simulation.world import PRICES, Simulation, default_rules
from enclave.web.image_list import ImageList
from faults import Refused, RetryLater
from tests.agent.scripts.play import BOUGHT, ONE, Deaf, assigned, at, clean, lies

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]


def test_assignment__while_the_agent_was_down__is_picked_up_at_its_start() -> None:
    script = [at(0.5, lambda s: s.kill()), assigned(1), at(100, lambda s: s.start())]
    done = Simulation().run(script, 400)
    assert done[0] == (100.0, "launch job=1 attempt=1")
    assert done[-1][1] == "reportStarted job=1"


@pytest.mark.parametrize("second", [1, 13])
def test_assignment__no_event_tells_of_it__is_found_while_it_can_be_started(second: float) -> None:
    simulation = Simulation(setup=lambda s: setattr(s.market, "touched", Deaf()))
    (found, text), *_ = simulation.run([assigned(second)], 900)
    assert text == "launch job=1 attempt=1"
    block = 12  # it is in the next one
    assert found <= second + block + UNKNOWN_WINDOW_SECONDS / RELISTS + 1


def test_report__refused_once__is_tried_again_though_nothing_else_happens() -> None:
    """A fork may put it before its assignment: reverted there, and right a block later."""

    def refuse(simulation: Simulation) -> None:
        simulation.weather.fail("chain.send", lambda: Refused("not the provider"), times=1)

    done = Simulation(setup=refuse).run([assigned()], 200)
    assert done[-1][1] == "reportStarted job=1"
    assert done[-1][0] < 120


def test_image__slower_than_the_boot__does_not_delay_the_launch() -> None:
    simulation = Simulation(setup=lambda s: setattr(s.images, "seconds", 90.0))
    done = simulation.run([assigned()], 400)
    assert [text for _, text in done] == [
        "launch job=1 attempt=1",
        "order job=1 run=g1a1r0",
        "reportStarted job=1",
    ]
    assert done[0][0] == 12.0
    assert done[1][0] == pytest.approx(102.1, abs=0.2)


def test_image__hostile__gives_the_instance_back_and_leaves_the_job() -> None:
    simulation = Simulation(setup=lambda s: s.images.hostile.add("ipfs://image"))
    done = simulation.run([assigned()], 4600)
    texts = [text for _, text in done]
    assert texts[0] == "launch job=1 attempt=1"
    assert sorted(texts[1:3]) == ["requestToExitJob job=1", "terminate job=1 01"]
    assert texts[3:] == ["finalizeExit job=1"]
    assert done[2][0] == pytest.approx(22.0, abs=0.2)
    assert simulation.events(1)[-1] == "job.ended"
    clean(simulation)


def test_image__gateway_down_for_a_while__is_fetched_when_it_is_back() -> None:
    simulation = Simulation(setup=lambda s: s.weather.fail("images.fetch", seconds=100))
    done = simulation.run([assigned()], 400)
    assert [text for _, text in done][-1] == "reportStarted job=1"
    assert 100 <= done[1][0] <= 120


def test_image__deleted_from_disk_before_it_is_staged__is_fetched_again() -> None:
    def gone(simulation: Simulation) -> None:
        refused = Refused("/images/x can't be read: fetch it again")
        simulation.weather.fail("mailbox.stage", lambda: refused, times=1)

    simulation = Simulation(setup=gone)
    done = simulation.run([assigned()], 400)
    assert [text for _, text in done][-1] == "reportStarted job=1"
    assert simulation.events(1).count("image.ready") == 2
    assert simulation.images.distrusted == ["image"]
    assert "fetch it again" in simulation.said(1, "image.not_staged")


@pytest.mark.parametrize(
    "change", [{"instance_type": "us-east-1/m5.large"}, {"price": Price(10**12 - 1)}]
)
def test_job__matched_at_what_the_file_says_no_more__is_served_as_it_was_listed(
    change: dict[str, object],
) -> None:
    """The contract matches our own listings alone: a price raised since, and a type taken out
    since, came after the match."""
    simulation = Simulation()
    done = simulation.run([assigned(1, ONE, **change)], 400)
    assert [text for _, text in done][-1] == "reportStarted job=1"
    assert "job.refused" not in simulation.events(1)


CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
CID0 = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"  # the same, as version 0


@pytest.mark.parametrize(
    ("lists", "word"),
    [({"deny_images": [CID0]}, "deny list"), ({"allow_images": [CID]}, "not on the allow list")],
)
def test_job__its_image_is_not_wanted_however_written__buys_nothing(
    lists: dict[str, list[str]], word: str
) -> None:
    """The URL names the image: nothing has to be bought or fetched to know it."""
    rules = default_rules()
    allow, deny = (ImageList.read(lists.get(name, [])) for name in ("allow_images", "deny_images"))
    policy = PolicyRules(allow_images=allow, deny_images=deny)
    rules.lifecycle = replace(rules.lifecycle, policy=policy)
    simulation = Simulation(rules=rules)
    other = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
    url = f"https://ipfs.io/ipfs/{CID.upper()}" if "deny_images" in lists else f"ipfs://{other}"
    done = simulation.run([assigned(url=url)], 100)
    assert not [text for _, text in done if text.startswith("launch")]
    assert word in simulation.said(1, "job.refused")


def test_job__of_a_denied_owner__is_left_alone_when_so_configured() -> None:
    rules = default_rules()
    policy = PolicyRules(prices=PRICES, deny_owners=frozenset({USER.lower()}))
    bootstrap = replace(rules.lifecycle.bootstrap, leave_refused=False)
    rules.lifecycle = replace(rules.lifecycle, policy=policy, bootstrap=bootstrap)
    simulation = Simulation(rules=rules)
    assert simulation.run([assigned()], 4600) == []
    assert "owner" in simulation.said(1, "job.refused")


def test_launch__its_reply_lost__is_the_same_call_again() -> None:
    simulation = Simulation(setup=lambda s: s.weather.fail("cloud.launch", times=3, after=True))
    done = simulation.run([assigned()], 400)
    assert done[:1] == BOUGHT[:1]
    assert len(simulation.cloud.machines) == 1
    assert done[-1][1] == "reportStarted job=1"


def test_launch__its_reply_lost_and_not_listed_yet__is_the_same_call_again() -> None:
    def hidden(simulation: Simulation) -> None:
        simulation.cloud.lengths.visible = 60.0
        simulation.weather.fail("cloud.launch", times=3, after=True)

    simulation = Simulation(setup=hidden)
    done = simulation.run([assigned()], 400)
    assert [text for _, text in done if text.startswith("launch")] == ["launch job=1 attempt=1"]
    assert done[-1][1] == "reportStarted job=1"


def test_launch__no_zone_has_room__is_tried_again_while_it_fits() -> None:
    def sold_out(simulation: Simulation) -> None:
        simulation.cloud.zones = {"a": 0, "b": 0}

    def back(simulation: Simulation) -> None:
        simulation.cloud.zones = {"a": 0, "b": 1}

    done = Simulation(setup=sold_out).run([assigned(), at(200, back)], 600)
    assert done[0][1] == "launch job=1 attempt=1"
    assert 200 <= done[0][0] <= 211
    assert done[-1][1] == "reportStarted job=1"


def test_launch__refused_for_good__leaves_the_job() -> None:
    def broken(simulation: Simulation) -> None:
        simulation.weather.fail("cloud.launch", lambda: Refused("no such AMI"))

    done = Simulation(setup=broken).run([assigned()], 300)
    assert [text for _, text in done] == ["requestToExitJob job=1"]


def test_host__that_never_boots__is_raced_by_a_second_and_given_back() -> None:
    def first_is_dead(simulation: Simulation) -> None:
        def launched(machine: Machine) -> None:
            machine.never_boots = machine.order.identity.attempt == 1

        simulation.cloud.on_launch = launched

    simulation = Simulation(setup=first_is_dead)
    done = simulation.run([assigned()], 900)
    texts = [text for _, text in done]
    assert texts[0] == "launch job=1 attempt=1"
    assert "launch job=1 attempt=2" in texts
    second = {text: when for when, text in done}["launch job=1 attempt=2"]
    assert second == pytest.approx(12 + 3 * 35, abs=5)  # three times what boots usually take
    assert texts.index("reportStarted job=1") < texts.index("terminate job=1 01")
    assert simulation.cloud.live() == 1


def test_nothing__that_cannot_finish__is_bought() -> None:
    simulation = Simulation()
    script = [at(0.5, lambda s: s.kill()), assigned(1), at(610, lambda s: s.start())]
    done = simulation.run(script, 1300)
    assert [text for _, text in done] == ["requestToExitJob job=1"]
    assert simulation.cloud.machines == {}
    assert "job.cannot_finish" in simulation.events(1)


def test_deadline__missed__is_told_and_the_instance_ends_once_it_is_final() -> None:
    def dead(simulation: Simulation) -> None:
        simulation.cloud.on_launch = lambda machine: setattr(machine, "never_boots", True)

    simulation = Simulation(setup=dead)
    done = simulation.run([assigned()], 2000)
    texts = [text for _, text in done]
    assert "reportStarted job=1" not in texts
    assert "job.missed" in simulation.events(1)
    ends = [when for when, text in done if text.startswith("terminate")]
    assert all(when >= 612 + 60 for when in ends)
    assert simulation.cloud.live() == 0


def test_report__its_node_silent__is_sent_until_it_is_mined() -> None:
    simulation = Simulation(setup=lambda s: s.weather.fail("chain.send", seconds=200))
    done = simulation.run([assigned()], 400)
    assert done[-1][1] == "reportStarted job=1"
    assert 200 <= done[-1][0] <= 206


def test_report__mined_after_what_an_endpoint_last_told_of_the_job__is_not_sent_again() -> None:
    """The first endpoint denies the job; what is believed of it is older than the report."""
    for second in range(34, 50, 2):
        simulation = Simulation(with_witness=True)
        done = simulation.run([assigned(), at(second, lies)], 200)
        assert done[-1] == (46.0, "reportStarted job=1")
        assert {"endpoints.disagree", "tx.report_started"} <= set(simulation.events(1))
        assert "tx.refused" not in simulation.events(1)


def test_report__nothing_attested__is_never_sent() -> None:
    def wrong(simulation: Simulation) -> None:
        simulation.weather.fail("attest", lambda: Refused("PCR0 is of another image"))

    simulation = Simulation(setup=wrong)
    done = simulation.run([assigned()], 1500)
    assert "reportStarted job=1" not in [text for _, text in done]


def test_throttled__launch__is_repeated_with_the_wait_that_aws_asks_for() -> None:
    def throttled(simulation: Simulation) -> None:
        simulation.weather.fail(
            "cloud.launch", lambda: RetryLater("Throttling", after_seconds=17), times=2
        )

    done = Simulation(setup=throttled).run([assigned()], 400)
    assert done[0] == (46.0, "launch job=1 attempt=1")


def test_second_provider__of_other_address__is_none_of_ours() -> None:
    other = Address("0x5555555555555555555555555555555555555555")
    simulation = Simulation()
    assert simulation.run([assigned(provider=other)], 1000) == []
    assert simulation.events(1) == []
