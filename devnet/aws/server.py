"""The devnet's AWS: moto behind an EC2 that behaves, one HTTP server on loopback for everyone.

Any boto3 client in any process reaches it by AWS_ENDPOINT_URL. It is a simulation; only the user
data and the host programs that it starts on "instances" are real. Control goes over the same
server: `POST /_devnet/<command>` (`control.py`); `/_devnet/imds/<id>/` is each instance's
metadata service.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from devnet.aws import imds, list_prices, moto_state, wire
from devnet.aws.answers import Answers
from devnet.aws.control import Control
from devnet.aws.ec2 import (
    ADDRESS_QUOTA,
    PENDING,
    RUNNING,
    VCPU_QUOTA,
    Ec2Error,
    HonestEc2,
    Record,
    Timings,
)
from devnet.aws.http import Quiet, Request, json_answer, xml
from devnet.aws.machines import Machines

_TICK_SECONDS = 0.02
# How often the server looks whether it is to stop.
_STOP_SECONDS = 0.05
_MOST_USER_DATA = 16384
_PROFILE_CHANGES = frozenset({"CreateInstanceProfile", "AddRoleToInstanceProfile"})


class _Lost(Exception):
    """The reply never arrives."""


class Aws:
    """A context manager: the server is up inside. `machines` may be None: books only."""

    def __init__(
        self,
        timings: Timings,
        machines: Machines | None = None,
        *,
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ec2 = HonestEc2(clock, timings)
        self.machines = machines
        self._answers = Answers(self.ec2, machines)
        self._imds, self._control = imds.Imds(self.ec2), Control(self.ec2, machines)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", port, self._wsgi, threaded=True, request_handler=Quiet
        )
        self.ec2.port = int(self._server.server_port)
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(_STOP_SECONDS,), daemon=True),
            threading.Thread(target=self._life, daemon=True),
        ]

    @property
    def endpoint(self) -> str:
        """For AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Aws:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._threads[1].join()
        if self.machines is not None:
            self.machines.close()
        self._server.shutdown()
        self._server.server_close()

    def _life(self) -> None:
        """Time passes: states change, machines start and end."""
        while not self._ending.wait(_TICK_SECONDS):
            self.tick()

    def tick(self) -> None:
        """What is due now happens."""
        for record in self.ec2.advance():
            moto_state.set_state(record.region, record.id, record.state)
            if self.machines and record.off:
                self.machines.ended(record)
            if self.machines and record.state == RUNNING:
                try:
                    self.machines.started(record)
                except OSError as error:  # this machine is at its limits; the others go on
                    sys.stderr.write(f"devnet: {record.id} cannot be started: {error}\n")
        for record in self.ec2.forgotten():
            moto_state.forget(record.region, record.id)
        if self.machines:
            for record in list(self.ec2.records.values()):
                if record.state == RUNNING:
                    reached = moto_state.addresses(record.region, record.id)
                    self.machines.reach(record.id, reached)

    def _wsgi(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        request = Request(environ)
        try:
            status, headers, body = self._answer(request)
        except Ec2Error as error:
            status, headers = error.status, [("Content-Type", "text/xml")]
            body = wire.error(error.code, error.message, s3=request.service == "s3")
        except _Lost:
            with suppress(OSError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        start(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body] if isinstance(body, bytes) else body

    def _answer(self, request: Request) -> tuple[int, list[tuple[str, str]], Any]:
        if request.path.startswith("/_devnet/imds/"):
            instance, _, path = request.path.removeprefix("/_devnet/imds/").partition("/")
            status, text = self._imds.answer(instance, request.method, path, request.headers())
            return (
                status,
                [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))],
                text,
            )
        if request.path.startswith("/_devnet/"):
            return json_answer(self._control.handle(request.path, request.body))
        if request.service == "ec2":
            return self._ec2(request)
        if request.service == "servicequotas":
            return self._quotas(request)
        if request.service == "pricing":
            return json_answer(list_prices.answer(request.body))
        if request.service == "s3":
            self._check_s3(request)
            return self._s3(request)
        if request.service == "iam" and request.params.get("Action") in _PROFILE_CHANGES:
            self.ec2.profile_changed(request.params.get("InstanceProfileName", ""))
        return self._ask_moto(request)

    # S3

    def _check_s3(self, request: Request) -> None:
        if self.ec2.faults.s3_down:
            raise Ec2Error(503, "SlowDown", "Please reduce your request rate.")
        host = self._imds.host_of(request.key_id)
        if host is not None and not imds.may(host, request.method, request.path):
            raise Ec2Error(403, "AccessDenied", "Access Denied")

    def _s3(self, request: Request) -> tuple[int, list[tuple[str, str]], Any]:
        status, headers, body = self._ask_moto(request)
        if status == 404 and self._imds.host_of(request.key_id) is not None:
            raise Ec2Error(403, "AccessDenied", "Access Denied")  # a host may not list
        return status, headers, body

    # EC2

    def _ec2(self, request: Request) -> tuple[int, list[tuple[str, str]], Any]:
        action = request.params.get("Action", "")
        self.ec2.admit(request.region, action)
        if request.params.get("DryRun", "").lower() == "true":
            if action == "RunInstances":
                self._check_profile(request)
            return self._ask_moto(request)
        if action == "RunInstances":
            answer = self._run(request)
        else:
            self.ec2.check_visible(wire.listed(request.params, "InstanceId"))
            self.ec2.check_visible(wire.listed(request.params, "ResourceId"))
            answer = self._other(request, action)
        if self.ec2.reply_is_lost(action):
            raise _Lost
        return answer

    def _other(self, request: Request, action: str) -> tuple[int, list[tuple[str, str]], Any]:
        if action == "AllocateAddress":
            self._check_addresses(request.region)
        answer = self._ask_moto(request)
        if answer[0] != 200:
            return answer
        edited = self._answers.of(action, answer[2])
        return answer if edited is answer[2] else xml(edited)

    def _check_profile(self, request: Request) -> None:
        profile = _profile(request.params)
        role = moto_state.role_of(profile) is not None
        self.ec2.check_profile(profile, moto_state.has_profile(profile), role)

    def _run(self, request: Request) -> tuple[int, list[tuple[str, str]], Any]:
        params = request.params
        with self.ec2.lock:
            known = self.ec2.known_launch(request.region, params)
            if known is not None:
                return xml(self._answers.shown(known[1]))
            kind = params.get("InstanceType", "m1.small")
            vcpus = _checked_vcpus(kind, params)
            self._check_profile(request)
            zone = self._zone(request, kind)
            self.ec2.check_capacity(kind, zone, vcpus)
            status, headers, body = self._ask_moto(request)
            if status != 200:
                return status, headers, body
            for item in wire.children(body, "instancesSet/item"):
                self._remember(request, wire.text(item, "instanceId"), zone, vcpus, body)
            return xml(self._answers.shown(body))

    def _remember(
        self, request: Request, instance: str, zone: str, vcpus: int, body: bytes
    ) -> None:
        params, region = request.params, request.region
        address = moto_state.set_public_ip(region, instance, self.ec2.next_address())
        record = Record(
            id=instance,
            region=region,
            zone=zone,
            instance_type=params.get("InstanceType", "m1.small"),
            vcpus=vcpus,
            launched_at=self.ec2.clock(),
            enclave=params.get("EnclaveOptions.Enabled", "").lower() == "true",
            public_ip=address,
            profile=params.get("IamInstanceProfile.Arn") or _profile(params),
            user_data=base64.b64decode(params.get("UserData", "")),
        )
        moto_state.set_state(region, instance, PENDING)
        self.ec2.launched(record, params, body)

    def _zone(self, request: Request, kind: str) -> str:
        """The zone asked for, or like EC2 one that has room."""
        params = request.params
        subnet = params.get("SubnetId") or params.get("NetworkInterface.1.SubnetId")
        if subnet:
            return moto_state.zone_of_subnet(request.region, subnet)
        asked = params.get("Placement.AvailabilityZone")
        if asked:
            return asked
        every = moto_state.zones(request.region)
        zone = next((one for one in every if not self.ec2.sold_out(kind, one)), every[0])
        request.body += f"&Placement.AvailabilityZone={zone}".encode()
        return zone

    # Quotas

    def _check_addresses(self, region: str) -> None:
        if moto_state.address_count(region) >= self.ec2.faults.address_quota:
            text = "The maximum number of addresses has been reached."
            raise Ec2Error(400, "AddressLimitExceeded", text)

    def _quotas(self, request: Request) -> tuple[int, list[tuple[str, str]], Any]:
        asked = json.loads(request.body or b"{}")
        faults = self.ec2.faults
        values = {VCPU_QUOTA: faults.vcpu_quota, ADDRESS_QUOTA: faults.address_quota}
        quotas = [
            {"ServiceCode": "ec2", "QuotaCode": code, "Value": float(value), "Adjustable": True}
            for code, value in values.items()
        ]
        target = str(request.environ.get("HTTP_X_AMZ_TARGET", "")).rpartition(".")[2]
        if target == "ListServiceQuotas":
            return json_answer((200, {"Quotas": quotas}))
        found = [one for one in quotas if one["QuotaCode"] == asked.get("QuotaCode")]
        if not found or asked.get("ServiceCode") != "ec2":
            return json_answer(
                (400, {"__type": "NoSuchResourceException", "Message": "no such quota"})
            )
        return json_answer((200, {"Quota": found[0]}))

    # moto

    def _ask_moto(self, request: Request) -> tuple[int, list[tuple[str, str]], Any]:
        environ = dict(request.environ)
        environ["wsgi.input"] = io.BytesIO(request.body)
        environ["CONTENT_LENGTH"] = str(len(request.body))
        seen: list[Any] = []
        chunks = self._moto(environ, lambda status, headers, *_: seen.extend((status, headers)))
        body = b"".join(chunks)
        return int(seen[0].split(" ")[0]), list(seen[1]), body


def _profile(params: dict[str, str]) -> str:
    """The instance profile's name, however it is named."""
    arn = params.get("IamInstanceProfile.Arn", "")
    return params.get("IamInstanceProfile.Name", "") or arn.rpartition("/")[2]


def _checked_vcpus(kind: str, params: dict[str, str]) -> int:
    """Raises Ec2Error for what EC2 refuses before it looks for room."""
    if len(base64.b64decode(params.get("UserData", ""))) > _MOST_USER_DATA:
        text = f"User data is limited to {_MOST_USER_DATA} bytes"
        raise Ec2Error(400, "InvalidParameterValue", text)
    try:
        return moto_state.shape(kind).vcpus
    except KeyError:
        text = f"Invalid value '{kind}' for InstanceType."
        raise Ec2Error(400, "InvalidParameterValue", text) from None


def main() -> None:
    """`python -m devnet.aws.server --directory D [--port P] [--speed F]`: a child of the devnet."""
    import argparse
    import signal

    from devnet.aws.instances import Fleet

    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--speed", type=float, default=0.1, help="1 is as slow as real, 0 at once")
    parser.add_argument("--baked", action="store_true", help="no packages are installed at boot")
    parser.add_argument("--nitro", type=Path, help="what enclaves are booted with is here")
    options = parser.parse_args()
    timings = Timings().scaled(options.speed)
    fleet = Fleet(options.directory, timings, baked=options.baked, nitro=options.nitro)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    with Aws(timings, fleet, port=options.port) as aws:
        fleet.endpoint = aws.endpoint
        hello = {
            "endpoint": aws.endpoint,
            "control": f"{aws.endpoint}/_devnet/",
            "attestation_root": str(fleet.attestation_root),
        }
        print(json.dumps(hello), flush=True)  # noqa: T201 - the devnet reads it
        ending.wait()


if __name__ == "__main__":
    main()
