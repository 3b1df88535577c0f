"""One devnet AWS for all that is asked of a host from outside, and a host that runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.enclave.host.rig import Host, Rig, rig


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("fast")) as up:
        up.stage()
        yield up


@pytest.fixture
def running(fast: Rig) -> Iterator[Host]:
    host = fast.launch()
    host.want(fast.desired)
    host.wait_phase("running")
    yield host
    fast.end(host)
