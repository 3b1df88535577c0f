"""boto3 clients, made once a region, and the one way to call them from asyncio.

boto3 blocks, so calls run on a small pool of threads of their own (the loop's default pool has
six threads on two cores, which uploads would fill). Credentials come by the SDK's own chain;
AWS_ENDPOINT_URL and its like are honoured, with path-style S3 keys, since a local endpoint has no
wildcard DNS.

EC2 and its like get one try: the SDK's retries would spend the launch budget without asking who
is urgent. `Calls.ask` tries again instead, through the budget, and only after a throttle, which is
a definite "not done". S3 is retried by the SDK: every call made to it is idempotent.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import boto3
from botocore.config import Config
from botocore.session import get_session

from cloud import lean, own_answers
from cloud.clock_of_aws import ClockOfAws
from cloud.errors import readable, translated
from cloud.keys_anew import KeysAnew
from cloud.kinds import NotAllowed, Throttled
from cloud.model import Region
from cloud.request_budget import WHENEVER, Budget, Clock, Urgency
from faults import UsageFault

if TYPE_CHECKING:
    from types_boto3_ec2.client import EC2Client
    from types_boto3_iam.client import IAMClient
    from types_boto3_s3.client import S3Client
    from types_boto3_service_quotas.client import ServiceQuotasClient
    from types_boto3_ssm.client import SSMClient
    from types_boto3_sts.client import STSClient

T = TypeVar("T")
Service = Literal["ec2", "s3", "iam", "sts", "ssm", "service-quotas", "pricing"]

THREADS = 16
THROTTLED_TRIES = 6  # through the budget, which slows down by half at each
# A connection that takes longer is down; RunInstances answers within a few seconds.
CONNECT_SECONDS, EC2_READ_SECONDS, S3_READ_SECONDS = 5, 20, 60
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


class Clients:
    """The clients of one set of credentials. Thread-safe; `close` ends the threads."""

    def __init__(self, endpoint_url: str | None = None, threads: int = THREADS) -> None:
        self._session: boto3.Session | None = None
        self._endpoint_url = endpoint_url or None
        self._made: dict[tuple[str, Region], Any] = {}
        self._lock = threading.Lock()  # making a client is not thread-safe, using one is
        self._reading = threading.Lock()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="aws")
        self._keys = KeysAnew(_session, self._account_of)
        self.clock = ClockOfAws()

    def ec2(self, region: Region) -> EC2Client:
        client: EC2Client = self._client("ec2", region)
        return client

    def s3(self, region: Region) -> S3Client:
        client: S3Client = self._client("s3", region)
        return client

    def iam(self, region: Region) -> IAMClient:
        client: IAMClient = self._client("iam", region)
        return client

    def sts(self, region: Region) -> STSClient:
        client: STSClient = self._client("sts", region)
        return client

    def ssm(self, region: Region) -> SSMClient:
        client: SSMClient = self._client("ssm", region)
        return client

    def quotas(self, region: Region) -> ServiceQuotasClient:
        client: ServiceQuotasClient = self._client("service-quotas", region)
        return client

    def pricing(self, region: Region) -> Any:
        """Untyped: its one answer that is used is JSON within JSON anyway."""
        return self._client("pricing", region)

    async def run(self, doing: str, call: Callable[[], T]) -> T:
        """`call()` on a thread; what botocore raises leaves as a fault that begins with `doing`.
        Keys that AWS refuses are looked for anew, for the calls after this one."""

        def work() -> T:
            try:
                with translated(doing), readable(doing):
                    return call()
            except NotAllowed:
                self._look_for_keys()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """End the threads and close the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for client in self._made.values():
            client.close()

    def _look_for_keys(self) -> None:
        with self._lock:
            session = self._session
            if session is None or not (self._made and self._keys.due(time.monotonic())):
                return
        if (other := self._keys.look(session)) is not None:
            with self._lock:  # who still calls with a client of before keeps it until then
                self._session, self._made = other, {}

    def _account_of(self, session: boto3.Session) -> str:
        region = next(region for _, region in self._made)
        sts = session.client(
            "sts",
            region_name=region,
            endpoint_url=self._endpoint_url,
            config=self._config("sts"),
        )
        return sts.get_caller_identity()["Account"]

    def _client(self, service: Service, region: Region) -> Any:
        with self._lock:
            if (service, region) not in self._made:
                self._made[service, region] = self._make(service, region)
            return self._made[service, region]

    def _make(self, service: Service, region: Region) -> Any:
        doing = f"making a client for {service} in {region}"
        with translated(doing):
            if self._session is None:
                self._session = _session()
            # boto3-stubs knows one overload a service; the methods above give the types back.
            make: Any = self._session.client
            try:
                client = make(
                    service,
                    region_name=region,
                    endpoint_url=self._endpoint_url,
                    config=self._config(service),
                )
            except ValueError as error:  # botocore's word for an endpoint that is no URL
                raise UsageFault(f"{doing}: {error}; see AWS_ENDPOINT_URL") from error
            lean.install(client, service, self._reading)
            own_answers.install(client)
            if service == "sts":
                client.meta.events.register("after-call.sts.GetCallerIdentity", self._keys.hear)
            if service in ("sts", "ec2"):  # who is asked all the time, and by whom all begins
                self.clock.listen(client)
            return client

    def _config(self, service: Service) -> Config:
        s3 = service == "s3"
        local = self._endpoint_url or any(os.environ.get(name) for name in ENDPOINT_VARIABLES)
        return Config(
            retries={"total_max_attempts": 4 if s3 else 1, "mode": "standard"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=S3_READ_SECONDS if s3 else EC2_READ_SECONDS,
            max_pool_connections=self._threads,
            user_agent_extra="oyster-provider",
            s3={"addressing_style": "path"} if local else None,
        )


def _session() -> boto3.Session:
    """The SDK's own, but for how it reads times: dateutil took half the CPU of every listing."""
    core = get_session()
    factory = core.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=lean.timestamp)
    return boto3.Session(botocore_session=core)


class Calls:
    """Clients behind the request budget; counts what was sent, by region and call."""

    def __init__(self, clients: Clients, clock: Clock, budget: Budget | None = None) -> None:
        self.clients = clients
        self.clock = clock
        self.budget = budget or Budget(clock)
        self.sent: Counter[tuple[Region, str]] = Counter()
        self.throttled: Counter[tuple[Region, str]] = Counter()

    async def ask(
        self,
        region: Region,
        name: str,
        doing: str,
        call: Callable[[], T],
        urgency: Urgency = WHENEVER,
    ) -> T:
        """`call()`, which is EC2's `name`, when it is its turn; throttled calls wait again.

        Raises the fault of what AWS answers; Throttled after THROTTLED_TRIES; TooLate.
        """
        for attempt in range(1, THROTTLED_TRIES + 1):
            await self.budget.turn(region, name, urgency)
            self.sent[region, name] += 1
            try:
                return await self.clients.run(doing, call)
            except Throttled:
                self.budget.refused(region, name)
                self.throttled[region, name] += 1
                if attempt == THROTTLED_TRIES:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")
