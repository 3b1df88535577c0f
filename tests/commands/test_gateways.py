"""What is said of sources of images that are asked whether they serve."""

from __future__ import annotations

import socket

import pytest

from commands import gateways
from enclave.ipfs.gateway import Gateway
from enclave.ipfs.kubo import KuboNode

pytestmark = pytest.mark.integration

NOBODY = "http://127.0.0.1:9"


async def test_ask_all__who_is_silent__is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"http://127.0.0.1:{listening.getsockname()[1]}"
        gateway, kubo = await gateways.ask_all([Gateway(place), KuboNode(place)])
    assert gateway.fault == "no answer in 0.2 s"
    assert "allow more" not in kubo.fault
    assert [gateway.answered, kubo.answered] == [False, False]


@pytest.mark.parametrize("source", [Gateway(NOBODY), KuboNode(NOBODY)])
async def test_ask_all__where_nobody_is__nothing_answered(source: Gateway | KuboNode) -> None:
    (one,) = await gateways.ask_all([source])
    assert "refused" in one.fault
    assert not one.answered
