"""moto's answers about instances as the honest EC2 gives them: its states, reasons and events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element

from devnet.aws import moto_state, wire
from devnet.aws.ec2 import SHUTTING_DOWN, TERMINATED, HonestEc2
from devnet.aws.machines import Machines

_TIME = "%Y-%m-%dT%H:%M:%S.000Z"


class Answers:
    """Edits answers; a change of state that moto has made is made in the simulation as well."""

    def __init__(self, ec2: HonestEc2, machines: Machines | None) -> None:
        self._ec2, self._machines = ec2, machines

    def of(self, action: str, body: bytes) -> bytes:
        """The answer to `action`, whatever it is."""
        if action == "DescribeInstances":
            return self.seen(body)
        edits = {
            "DescribeInstanceStatus": (self._edit_status, "instanceStatusSet"),
            "TerminateInstances": (self._edit_ended, "instancesSet"),
            "StopInstances": (self._edit_stopped, "instancesSet"),
            "StartInstances": (self._edit_started, "instancesSet"),
        }
        if action not in edits:
            return body
        edit, parent = edits[action]
        return wire.edited(body, "item", edit, parent)

    def seen(self, body: bytes) -> bytes:
        """Instances as listed: late ones missing."""

        def edit(item: Element) -> bool:
            return not self._ec2.hidden(wire.text(item, "instanceId")) and self._edit(item)

        return _each_instance(body, edit)

    def shown(self, body: bytes) -> bytes:
        """Instances as the launch itself shows them."""
        return _each_instance(body, self._edit)

    def _edit(self, item: Element) -> bool:
        record = self._ec2.records.get(wire.text(item, "instanceId"))
        if record is not None:
            wire.put(item, "enclaveOptions/enabled", str(record.enclave).lower())
            wire.put_state(item, "instanceState", record.state)
            if record.reason:
                wire.put(item, "stateReason/code", record.reason.partition(":")[0])
                wire.put(item, "stateReason/message", record.reason)
            shown = moto_state.addresses(record.region, record.id)
            if shown and wire.text(item, "ipAddress"):
                wire.put(item, "ipAddress", shown[0])
        return True

    def _edit_status(self, item: Element) -> bool:
        instance = wire.text(item, "instanceId")
        status = self._ec2.status_of(instance)
        for kind in ("systemStatus", "instanceStatus"):
            wire.put(item, f"{kind}/status", status)
        record = self._ec2.records.get(instance)
        for event in record.events if record else ():
            wire.append(item, "eventsSet/item", {
                "instanceEventId": f"instance-event-{instance[2:]}",
                "code": event.code,
                "description": event.description,
                "notBefore": f"{datetime.fromtimestamp(event.not_before, UTC):{_TIME}}",
            })  # fmt: skip
        return not self._ec2.hidden(instance)

    def _edit_ended(self, item: Element) -> bool:
        record = self._ec2.records.get(wire.text(item, "instanceId"))
        if record is None:
            return True
        wire.put_state(item, "previousState", record.state)
        if record.state not in (SHUTTING_DOWN, TERMINATED):
            self._ec2.terminate(record.id)
            if self._machines:
                self._machines.ended(record)
        now = self._ec2.records[record.id].state
        moto_state.set_state(record.region, record.id, now)
        wire.put_state(item, "currentState", now)
        return True

    def _edit_stopped(self, item: Element) -> bool:
        return self._moved(item, self._ec2.stop)

    def _edit_started(self, item: Element) -> bool:
        return self._moved(item, self._ec2.start)

    def _moved(self, item: Element, move: Callable[[str], None]) -> bool:
        """A change of state that may be refused, as EC2 shows it."""
        record = self._ec2.records.get(wire.text(item, "instanceId"))
        if record is None:
            return True
        try:
            move(record.id)
        finally:  # moto has done its own already
            now = self._ec2.records[record.id]
            moto_state.set_state(record.region, record.id, now.state)
        if self._machines and now.off and not record.off:
            self._machines.ended(record)
        wire.put_state(item, "previousState", record.state)
        wire.put_state(item, "currentState", now.state)
        return True


def _each_instance(body: bytes, edit: Any) -> bytes:
    listed = b"<DescribeInstancesResponse" in body
    parent = "reservationSet/item/instancesSet" if listed else "instancesSet"
    return wire.edited(body, "item", edit, parent)
