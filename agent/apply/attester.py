"""Asks a running enclave to prove itself, over the network, the way an auditor would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agent.apply.short_answer import Place, ask
from agent.ports import Attested, Clock, EnclaveEarly, Image
from cloud.model import Instance
from enclave.attest.document import AttestationEarly, Expected, verify

MAX_ANSWER_BYTES = 64 * 1024  # a document has at most 12 KiB; a hostile enclave may send more
TIMEOUT_SECONDS = 10.0
# Questions in flight: bounds sockets when thousands are due together, and is well above what
# enclaves that never end their answers can hold.
AT_ONCE = 256


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

    def __init__(self, rules: AttestationRules) -> None:
        self._rules = rules
        self._room = asyncio.Semaphore(AT_ONCE)

    async def attest(
        self, instance: Instance, image: Image, *, clock: Clock, debug: bool = False
    ) -> Attested:
        """Fetch and verify. Raises RetryLater (no answer), EnclaveEarly, Refused (it is wrong)."""
        async with self._room:
            document = await ask(self._place(instance))
            arrived_at = clock.now()
            try:
                found = await asyncio.to_thread(
                    verify,
                    document,
                    at=arrived_at,
                    expected=self._expected(instance, image, debug or self._rules.allow_debug),
                    root=self._rules.root_pem,
                )
            except AttestationEarly as early:
                raise EnclaveEarly(str(early)) from None
        if not found.debug:
            found.require_pcrs(image.pcrs)
        return Attested(instance.id, found.timestamp, found.pcrs)

    def _expected(self, instance: Instance, image: Image, debug: bool) -> Expected:
        """PCR0-2 are zeros in debug mode whatever runs; otherwise `attest` compares them after.
        PCR4 names the instance in either."""
        shown = (n for n in image.pcrs if not (debug and n <= 2))
        return Expected(
            pcrs={number: image.pcrs[number] for number in shown},
            instance_id=instance.id,
            max_age_seconds=self._rules.max_age_seconds,
            allow_debug=debug,
        )

    def _place(self, instance: Instance) -> Place:
        rules = self._rules
        return Place(
            instance.public_ip or "", rules.port, rules.path, TIMEOUT_SECONDS, MAX_ANSWER_BYTES
        )
