"""The zone of a launch survives a restart, and only as long as it matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloud.ec2.spots import (
    KEEP_SECONDS,
    LaunchMemory,
    Spot,
    client_token,
    order_key,
    spot_from,
    spot_to,
)
from cloud.model import Zone
from tests.cloud.conftest import order

pytestmark = pytest.mark.unit

SPOT = Spot(Zone("us-east-1a"), "subnet-1", "ami-1", "/dev/xvda")


def test_recall__noted_by_another_process__is_the_same(tmp_path: Path) -> None:
    LaunchMemory(tmp_path / "new").note(order(), SPOT, 0.0)
    again = LaunchMemory(tmp_path / "new")
    assert again.recall(order(deadline=99.0, first_zone=Zone("us-east-1b"))) == SPOT
    assert again.recall(order(attempt=2)) is None
    again.refused(order(), SPOT)
    assert again.recall(order()) is None


def test_recall__torn_file__is_nothing(tmp_path: Path) -> None:
    memory = LaunchMemory(tmp_path)
    for torn in ("", "{", "[]", '{"spot": {"zone": 1}}'):
        (tmp_path / f"{order_key(order())}.json").write_text(torn)
        assert memory.recall(order()) is None
        assert memory.prune(KEEP_SECONDS) == 1


def test_prune__old_ones__go(tmp_path: Path) -> None:
    memory = LaunchMemory(tmp_path)
    memory.note(order(1), SPOT, 0.0)
    memory.note(order(2), SPOT, 1000.0)
    assert memory.prune(KEEP_SECONDS + 500.0) == 1
    assert memory.recall(order(2)) == SPOT


def test_token__anything_that_is_another_launch__is_another_token() -> None:
    orders = [order(), order(8), order(attempt=2), order(instance_type="c6a.2xlarge")]
    spots = [SPOT, Spot(SPOT.zone, "subnet-2", SPOT.ami, ""), Spot(SPOT.zone, "subnet-1", "b", "")]
    tokens = {client_token(one, spot) for one in orders for spot in spots}
    assert len(tokens) == 12
    assert all(len(token) <= 64 and token.isascii() for token in tokens)


def test_note__the_disk_takes_nothing__this_process_remembers(tmp_path: Path) -> None:
    (tmp_path / "launches").write_text("a file where the folder should be")
    memory = LaunchMemory(tmp_path / "launches")
    memory.note(order(), SPOT, 0.0)
    assert memory.recall(order()) == SPOT
    assert memory.recall(order(attempt=2)) is None
    (tmp_path / "launches").unlink()
    memory.note(order(), SPOT, 1.0)
    assert LaunchMemory(tmp_path / "launches").recall(order()) == SPOT
    memory.refused(order(), SPOT)
    assert memory.recall(order()) is None


def test_refused__the_disk_takes_nothing__is_refused_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "launches").write_text("a file where the folder should be")
    memory = LaunchMemory(tmp_path / "launches")
    memory.note(order(), SPOT, 0.0)
    memory.refused(order(), SPOT)
    assert memory.recall(order()) is None


def test_spot__as_usual__is_kept_as_earlier_versions_kept_it() -> None:
    usual = Spot(Zone("us-east-1a"), "subnet-1", "ami-1", "/dev/xvda", 8)
    kept = spot_to(usual)
    assert set(kept) == {"zone", "subnet", "ami", "root_device", "least_gib"}
    assert spot_from(kept) == usual
    other = replace(usual, aws_key=True)
    assert spot_from(spot_to(other)) == other
