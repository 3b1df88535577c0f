"""What Marlin's monitor and command line ask a provider and its instances, in their own words.

They wait 180 s after the opening, then ask `/ip` every 15 s, connect to TCP 1300 and take any
answer of `/attestation/raw` that is not empty. What is no JSON with an "ip" is no answer to them.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx

PORT = 1300
CONNECT_SECONDS = 2.0  # theirs
TRAFFIC_UNIT = 2**20  # KB a second of which a job pays a GB's rate


def ip_of(provider: str, job: int, region: str) -> str | None:
    """The address that a provider's URL gives for a job; None: none yet."""
    query = {"id": f"0x{job:064x}", "region": region}
    try:
        answer = httpx.get(f"{provider}/ip", params=query)
        return str(json.loads(answer.text)["ip"])
    except (httpx.HTTPError, ValueError, KeyError):
        return None


def document_of(address: str) -> bytes:
    """What the enclave shows of itself, after a connection to its port; empty: nothing."""
    try:
        with socket.create_connection((address, PORT), timeout=CONNECT_SECONDS):
            answer = httpx.get(f"http://{address}:{PORT}/attestation/raw", timeout=5)
    except (OSError, httpx.HTTPError):
        return b""
    return answer.content if answer.status_code == 200 else b""


def cards_of(provider: str) -> list[dict[str, Any]]:
    """The rate cards that a provider's URL shows."""
    try:
        spec = httpx.get(f"{provider}/spec").json()
    except httpx.HTTPError:
        return []
    return [card for region in spec["min_rates"] for card in region["rate_cards"]]


def rate_by_card(provider: str, card: dict[str, Any], kbytes: int = 10) -> int:
    """What the command line writes into a job of a card with so much traffic, KB a second."""
    traffic = httpx.get(f"{provider}/bandwidth").json()["rates"]
    return int(card["min_rate"], 16) + kbytes * int(traffic[0]["rate"], 16) // TRAFFIC_UNIT
