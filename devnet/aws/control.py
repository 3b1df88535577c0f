"""Switch the simulated AWS's faults, and its machines', in process or over HTTP.

`POST /_devnet/<command>` with a JSON object; the same commands are methods of `Faulty`:

    faults            {field: value}: fields of `ec2.Faults`; answers with all of them
    timings           {field: seconds}
    calls             {}: how often each EC2 action was asked for
    instances         {}: what is launched, with its directory
    event             {instance, code, in_seconds}: EC2 announces it (instance-retirement,
                      instance-stop, instance-reboot, system-reboot, system-maintenance), and stops
                      what it retires then
    machine           {instance, name, ...}: kill_host (the host program), enclave_die,
                      enclave_hang, enclave_lie, nitro (faults of nitro-cli and the allocator),
                      reboot, hardware_fails (dark for good, while EC2 lists it as running)
"""

from __future__ import annotations

import json
import urllib.request
from dataclasses import asdict, fields, replace
from typing import Any

from devnet.aws.ec2 import Event, Faults, HonestEc2
from devnet.aws.machines import Machines


class Control:
    """The server's side."""

    def __init__(self, ec2: HonestEc2, machines: Machines | None) -> None:
        self._ec2, self._machines = ec2, machines

    def handle(self, path: str, body: bytes) -> tuple[int, Any]:
        """(HTTP status, JSON)."""
        command = path.removeprefix("/_devnet/")
        arguments = json.loads(body or b"{}")
        methods = {
            "faults": self._faults,
            "timings": self._timings,
            "calls": lambda _: dict(self._ec2.calls),
            "instances": self._instances,
            "event": self._event,
            "machine": self._machine,
        }
        if command not in methods:
            return 404, {"error": f"no command {command!r}; there are {', '.join(methods)}"}
        try:
            return 200, methods[command](arguments)
        except (KeyError, TypeError, ValueError, OSError) as error:
            return 400, {"error": repr(error)}

    def _faults(self, given: dict[str, Any]) -> dict[str, Any]:
        known = {one.name for one in fields(Faults)}
        if not given.keys() <= known:
            raise ValueError(f"no such faults: {sorted(given.keys() - known)}")
        with self._ec2.lock:
            for name, value in given.items():
                setattr(self._ec2.faults, name, _as_kept(name, value))
            self._ec2.refill()
        return _as_said(self._ec2.faults)

    def _timings(self, given: dict[str, Any]) -> dict[str, Any]:
        self._ec2.timings = replace(self._ec2.timings, **given)
        return asdict(self._ec2.timings)

    def _instances(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        kept = ("id", "region", "zone", "instance_type", "state", "public_ip")
        times = ("launched_at", "running_at")  # unix seconds
        return [
            {name: getattr(one, name) for name in (*kept, *times)}
            for one in list(self._ec2.records.values())
        ]

    def _event(self, given: dict[str, Any]) -> dict[str, Any]:
        event = Event(str(given["code"]), self._ec2.clock() + float(given["in_seconds"]))
        self._ec2.schedule(str(given["instance"]), event)
        return asdict(event)

    def _machine(self, given: dict[str, Any]) -> dict[str, Any]:
        if self._machines is None:
            raise ValueError("no machines run behind this EC2")
        instance, name = given.pop("instance"), given.pop("name")
        if name == "hardware_fails":
            self._machines.ended(self._ec2.break_hardware(instance))
            return {"broken": instance}
        return self._machines.command(instance, name, given)


class Faulty:
    """The client's side: the devnet's control endpoint from any process."""

    def __init__(self, control_url: str) -> None:
        self._url = control_url.rstrip("/")

    def faults(self, **given: Any) -> dict[str, Any]:
        """Set faults by name; all of them as they are now."""
        return dict(self._ask("faults", given))

    def timings(self, **given: float) -> dict[str, float]:
        return dict(self._ask("timings", given))

    def calls(self) -> dict[str, int]:
        return dict(self._ask("calls", {}))

    def instances(self) -> list[dict[str, Any]]:
        return list(self._ask("instances", {}))

    def event(self, instance: str, code: str, in_seconds: float) -> dict[str, Any]:
        """Have EC2 announce what it will do to an instance."""
        asked = {"instance": instance, "code": code, "in_seconds": in_seconds}
        return dict(self._ask("event", asked))

    def machine(self, instance: str, name: str, **given: Any) -> dict[str, Any]:
        """Do something to what runs on an instance."""
        return dict(self._ask("machine", {"instance": instance, "name": name, **given}))

    def _ask(self, command: str, given: Any) -> Any:
        def plain(value: Any) -> Any:
            return sorted(value) if isinstance(value, (set, frozenset)) else value

        body = json.dumps({k: plain(v) for k, v in given.items()}).encode()
        url = f"{self._url}/{command}"
        with urllib.request.urlopen(  # noqa: S310  # the devnet's own loopback address
            urllib.request.Request(url, data=body, method="POST"),  # noqa: S310  # as above
            timeout=30,
        ) as answer:
            return json.load(answer)


def _as_kept(name: str, value: Any) -> Any:
    if name == "sold_out":
        return {(str(kind), str(zone)) for kind, zone in value}
    return set(value) if name == "impaired" else value


def _as_said(faults: Faults) -> dict[str, Any]:
    said = asdict(faults)
    return {k: sorted(v) if isinstance(v, set) else v for k, v in said.items()}
