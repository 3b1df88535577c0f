"""Asks a running enclave to prove itself, over the network, the way an auditor would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx

from agent.ports import Attested, Image
from cloud.model import Instance
from enclave.attest.document import Expected, verify
from faults import RetryLater

MAX_BODY_BYTES = 64 * 1024  # a document has at most 16 KiB; a hostile enclave may send more
TIMEOUT_SECONDS = 10.0
AT_ONCE = 64  # questions in flight: bounds sockets when thousands are due together
# An enclave is asked again minutes later: a connection that is kept is one more to look through.
LIMITS = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)


@dataclass(frozen=True, slots=True)
class AttestationRules:
    """Where to ask and what to accept. `root_pem` None: AWS's own root, which the project ships."""

    port: int = 1300
    path: str = "/attestation/raw"
    max_age_seconds: float = 300.0
    allow_debug: bool = False
    root_pem: bytes | None = None


class HttpAttester:
    """`Attester` over HTTP; the document's checks are `enclave.attest.document.verify`'s."""

    def __init__(self, rules: AttestationRules, client: httpx.AsyncClient | None = None) -> None:
        self._rules = rules
        self._client = client or httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS, trust_env=False, limits=LIMITS
        )
        self._room = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        await self._client.aclose()

    async def attest(self, instance: Instance, image: Image, *, now: float) -> Attested:
        """Fetch and verify. Raises RetryLater (no answer), Refused (an answer that is wrong)."""
        async with self._room:
            document = await self._ask(instance)
            found = await asyncio.to_thread(
                verify,
                document,
                at=now,
                expected=self._expected(instance, image),
                root=self._rules.root_pem,
            )
        if not found.debug:
            found.require_pcrs(image.pcrs)
        return Attested(instance.id, found.timestamp, found.pcrs)

    def _expected(self, instance: Instance, image: Image) -> Expected:
        """PCR0-2 are zeros in debug mode whatever runs; otherwise `attest` compares them after."""
        shown = (n for n in image.pcrs if not (self._rules.allow_debug and n <= 2))
        return Expected(
            pcrs={number: image.pcrs[number] for number in shown},
            instance_id=instance.id,
            max_age_seconds=self._rules.max_age_seconds,
            allow_debug=self._rules.allow_debug,
        )

    async def _ask(self, instance: Instance) -> bytes:
        url = f"http://{instance.public_ip}:{self._rules.port}{self._rules.path}"
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise RetryLater(f"{url} answers {answer.status_code}")
                return await _bounded(answer, url)
        except (httpx.HTTPError, OSError, TimeoutError) as broken:
            what = str(broken) or type(broken).__name__
            raise RetryLater(f"{url} does not answer: {what}") from None


async def _bounded(answer: httpx.Response, url: str) -> bytes:
    body = b""
    async for chunk in answer.aiter_raw():  # undecoded: gzip could make much of little
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RetryLater(f"{url} answers more than {MAX_BODY_BYTES} bytes")
    return body
