"""EC2 and S3 with thousands of hosts: the answers that grow with them, as bytes made once.

Forms are AWS's (EC2 API reference, DescribeInstances and DescribeInstanceStatus; S3 API reference,
ListObjectsV2). An instance has the size of a real one's answer, about 5 KiB. What does not grow
with the hosts is moto's.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from bench.crowd import EC2_TYPE, IMAGE_BYTES, IMAGES, REGIONS, Crowd, Image, ScaledClock
from cloud.layout import DESIRED, STATUS, host_of, image_key
from cloud.layout import IMAGES as IMAGE_PREFIX
from cloud.model import Identity, InstanceId, Region

PAGE = 1000


class Answer(NamedTuple):
    """Status, headers, body of an HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Cloud:
    """The regions' hosts. `answer` gives None for what is moto's to say."""

    def __init__(self, crowd: Crowd, clock: ScaledClock) -> None:
        self._crowd, self._clock = crowd, clock
        self._here: dict[Region, list[InstanceId]] = {one: [] for one in REGIONS}
        self._job: dict[InstanceId, Identity] = {}
        self._xml: dict[InstanceId, str] = {}
        self._launched_at: dict[InstanceId, float] = {}
        self._gone: set[InstanceId] = set()
        self._bodies: dict[InstanceId, bytes] = {}
        self._images = {image_key(Image(n).sha256): n for n in range(IMAGES)}
        self.calls: Counter[str] = Counter()
        self.looks: Counter[str] = Counter()  # that came to their last page
        self.pages: Counter[str] = Counter()  # calls that these took
        self._turned: Counter[tuple[str, Region]] = Counter()  # by looks that are not at their end
        self.launched: dict[int, float] = {}
        self.ended: dict[int, float] = {}
        self.ordered: dict[int, float] = {}
        for job in crowd.jobs:
            if crowd.special(job) != "assigned":
                self._bodies[crowd.instance(job)] = crowd.status_json(job)
                self._add(crowd.region(job), crowd.instance(job), crowd.identity(job))
        self._etags = {one: etag(body) for one, body in self._bodies.items()}

    def _add(self, region: Region, instance: InstanceId, identity: Identity) -> None:
        self._here[region].append(instance)
        self._job[instance] = identity
        self._xml[instance] = self._shown(instance)

    # EC2

    def ec2(self, region: str, params: Mapping[str, str]) -> Answer | None:
        action = params.get("Action", "")
        self.calls[action] += 1
        if action == "DescribeInstances":
            return self._listing(Region(region), params)
        if action == "DescribeInstanceStatus":
            return self._checks(Region(region), params)
        if action == "TerminateInstances":
            return self._terminate(params)
        return None

    def launch(self, region: str, params: Mapping[str, str], instance: InstanceId) -> None:
        """A RunInstances that moto answered with this instance."""
        tags = {
            value: params.get(name.removesuffix("Key") + "Value", "")
            for name, value in params.items()
            if name.startswith("TagSpecification.1.Tag.") and name.endswith(".Key")
        }
        identity = Identity.from_tags(tags)
        if identity is not None:
            self.launched.setdefault(identity.job, self._clock.now())
            self._launched_at[instance] = self._clock.now()
            self._add(Region(region), instance, identity)

    def _turn_page(self, action: str, region: Region, *, more: bool) -> None:
        """A look counts at its last page, with all pages: no window cuts it in two."""
        self._turned[action, region] += 1
        if not more:
            self.looks[action] += 1
            self.pages[action] += self._turned.pop((action, region))

    def _page(self, region: Region, params: Mapping[str, str]) -> tuple[list[InstanceId], str]:
        start = int(params.get("NextToken", "0"))
        hosts = self._here[region]
        more = start + PAGE < len(hosts)
        self._turn_page(params["Action"], region, more=more)
        token = f"<nextToken>{start + PAGE}</nextToken>" if more else ""
        return hosts[start : start + PAGE], token

    def _listing(self, region: Region, params: Mapping[str, str]) -> Answer:
        hosts, token = self._page(region, params)
        items = "".join(self._xml[one] for one in hosts)
        return _xml(f"<reservationSet>{items}</reservationSet>{token}", "DescribeInstances")

    def _checks(self, region: Region, params: Mapping[str, str]) -> Answer:
        hosts, token = self._page(region, params)
        items = "".join(
            _CHECK.format(id=one, zone=f"{region}a")
            for one in hosts
            if self._state(one)[1] == "running"
        )
        inside = f"<instanceStatusSet>{items}</instanceStatusSet>{token}"
        return _xml(inside, "DescribeInstanceStatus")

    def _terminate(self, params: Mapping[str, str]) -> Answer:
        for name, value in params.items():
            instance = InstanceId(value)
            if name.startswith("InstanceId.") and instance in self._job:
                self.ended.setdefault(self._job[instance].job, self._clock.now())
                self._gone.add(instance)
                self._xml[instance] = self._shown(instance)
        return _xml("<instancesSet/>", "TerminateInstances")

    def _state(self, instance: InstanceId) -> tuple[int, str]:
        if instance in self._gone:
            return 48, "terminated"
        identity = self._job[instance]
        first = instance not in self._launched_at
        stopped = first and self._crowd.special(identity.job) == "stopped"
        return (80, "stopped") if stopped else (16, "running")

    def _shown(self, instance: InstanceId) -> str:
        identity = self._job[instance]
        job, crowd = identity.job, self._crowd
        code, state = self._state(instance)
        tags = identity.tags() | {"Name": f"oyster job {job} generation 1"}
        return _INSTANCE.format(
            id=instance,
            n=f"{job:017x}",
            ip=crowd.address(job),
            zone=f"{crowd.region(job)}a",
            type=EC2_TYPE,
            code=code,
            state=state,
            at=_iso(self._launched_at.get(instance, crowd.assigned_at(job) + 1)),
            tags="".join(
                f"<item><key>{k}</key><value>{escape(v)}</value></item>" for k, v in tags.items()
            ),
        )

    # S3

    def s3(self, region: str, method: str, path: str, query: str) -> Answer | None:
        """`path` is /bucket/key."""
        key = unquote(path).lstrip("/").partition("/")[2]
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        if method == "GET" and "list-type" in asked:
            return self._list(Region(region), asked)
        host = host_of(key)
        if host is not None:
            self.calls[f"{method} {host[1]}"] += 1
            return self._mail(method, *host)
        if method == "HEAD" and key in self._images:
            self.calls["HEAD image"] += 1
            written = formatdate(self._crowd.born - 3600, usegmt=True)
            size = str(IMAGE_BYTES)
            marks = {"ETag": etag(key.encode()), "Last-Modified": written}
            return Answer(200, {**marks, "Content-Length": size}, b"")
        return None

    def _mail(self, method: str, instance: InstanceId, name: str) -> Answer:
        if method == "PUT":
            self.ordered.setdefault(self._job[instance].job, self._clock.now())
            return Answer(200, {"ETag": '"00"'}, b"")
        if method == "DELETE":
            self._bodies.pop(instance, None)
            return Answer(204, {}, b"")
        if method != "GET" or instance not in self._bodies or name != STATUS:
            return Answer(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
        written = self._written(instance)
        headers = {
            "ETag": self._etags[instance],
            "Last-Modified": formatdate(written, usegmt=True),
            "x-amz-meta-clock": f"{written}",
        }
        return Answer(200, headers, self._bodies[instance])

    def _written(self, instance: InstanceId) -> int:
        return self._crowd.written_at(self._job[instance].job, self._clock.now())

    def _list(self, region: Region, asked: Mapping[str, str]) -> Answer:
        """Two objects a host."""
        prefix = asked.get("prefix", "")
        self.calls["ListObjectsV2"] += 1
        if prefix.startswith(IMAGE_PREFIX):
            written = _iso(self._crowd.born - 3600)
            items = [_entry(key, written, '"1"', IMAGE_BYTES) for key in sorted(self._images)]
            return _xml(f"<IsTruncated>false</IsTruncated>{''.join(items)}", "", "ListBucketResult")
        start = int(asked.get("continuation-token", "0"))
        hosts = [one for one in self._here[region] if one in self._bodies]
        more = start + PAGE // 2 < len(hosts)
        self._turn_page("ListObjectsV2", region, more=more)
        token = f"<NextContinuationToken>{start + PAGE // 2}</NextContinuationToken>"
        items = [self._entries(prefix, one) for one in hosts[start : start + PAGE // 2]]
        inside = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token if more else ''}"
        return _xml(inside + "".join(items), "", "ListBucketResult")

    def _entries(self, prefix: str, instance: InstanceId) -> str:
        folder = f"{prefix}{instance}"
        born = _iso(self._crowd.assigned_at(self._job[instance].job))
        written, size = _iso(self._written(instance)), len(self._bodies[instance])
        return _entry(f"{folder}/{DESIRED}", born, '"d0"', 400) + _entry(
            f"{folder}/{STATUS}", written, self._etags[instance], size
        )


def _entry(key: str, written: str, etag: str, size: int) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{written}</LastModified><ETag>{escape(etag)}"
        f"</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Size>{size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _xml(inside: str, action: str, root: str = "") -> Answer:
    name = root or f"{action}Response"
    space = "http://s3.amazonaws.com/doc/2006-03-01/" if root else _EC2
    request = "" if root else "<requestId>8f7724cf-496f-496e-8fe3-example</requestId>"
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{space}">{request}{inside}'
    return Answer(200, {"Content-Type": "text/xml"}, f"{text}</{name}>".encode())


_EC2 = "http://ec2.amazonaws.com/doc/2016-11-15/"
_CHECKED = (
    "<{name}><status>ok</status><details><item><name>reachability</name><status>passed</status>"
    "</item></details></{name}>"
)
_CHECK = (
    "<item><instanceId>{id}</instanceId><availabilityZone>{zone}</availabilityZone>"
    "<instanceState><code>16</code><name>running</name></instanceState>"
    + "".join(_CHECKED.replace("{name}", n) for n in ("systemStatus", "instanceStatus"))
    + "</item>"
)
_INSTANCE = """<item>
            <reservationId>r-{n}</reservationId>
            <ownerId>123456789012</ownerId>
            <groupSet/>
            <instancesSet>
                <item>
                    <instanceId>{id}</instanceId>
                    <imageId>ami-0abcdef1234567890</imageId>
                    <instanceState>
                        <code>{code}</code>
                        <name>{state}</name>
                    </instanceState>
                    <privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName>
                    <dnsName>ec2-host.compute.amazonaws.com</dnsName>
                    <reason/>
                    <amiLaunchIndex>0</amiLaunchIndex>
                    <productCodes/>
                    <instanceType>{type}</instanceType>
                    <launchTime>{at}</launchTime>
                    <placement>
                        <availabilityZone>{zone}</availabilityZone>
                        <availabilityZoneId>use1-az1</availabilityZoneId>
                        <groupName/>
                        <tenancy>default</tenancy>
                    </placement>
                    <monitoring>
                        <state>disabled</state>
                    </monitoring>
                    <subnetId>subnet-0123456789abcdef0</subnetId>
                    <vpcId>vpc-0123456789abcdef0</vpcId>
                    <privateIpAddress>10.0.0.1</privateIpAddress>
                    <ipAddress>{ip}</ipAddress>
                    <sourceDestCheck>true</sourceDestCheck>
                    <groupSet>
                        <item>
                            <groupId>sg-0123456789abcdef0</groupId>
                            <groupName>oyster-host</groupName>
                        </item>
                    </groupSet>
                    <architecture>x86_64</architecture>
                    <rootDeviceType>ebs</rootDeviceType>
                    <rootDeviceName>/dev/xvda</rootDeviceName>
                    <blockDeviceMapping>
                        <item>
                            <deviceName>/dev/xvda</deviceName>
                            <ebs>
                                <volumeId>vol-{n}</volumeId>
                                <status>attached</status>
                                <attachTime>{at}</attachTime>
                                <deleteOnTermination>true</deleteOnTermination>
                            </ebs>
                        </item>
                    </blockDeviceMapping>
                    <virtualizationType>hvm</virtualizationType>
                    <clientToken>0123456789abcdef0123456789abcdef</clientToken>
                    <tagSet>{tags}</tagSet>
                    <hypervisor>xen</hypervisor>
                    <networkInterfaceSet>
                        <item>
                            <networkInterfaceId>eni-{n}</networkInterfaceId>
                            <subnetId>subnet-0123456789abcdef0</subnetId>
                            <vpcId>vpc-0123456789abcdef0</vpcId>
                            <description/>
                            <ownerId>123456789012</ownerId>
                            <status>in-use</status>
                            <macAddress>02:00:00:00:00:01</macAddress>
                            <privateIpAddress>10.0.0.1</privateIpAddress>
                            <privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName>
                            <sourceDestCheck>true</sourceDestCheck>
                            <groupSet>
                                <item>
                                    <groupId>sg-0123456789abcdef0</groupId>
                                    <groupName>oyster-host</groupName>
                                </item>
                            </groupSet>
                            <attachment>
                                <attachmentId>eni-attach-{n}</attachmentId>
                                <deviceIndex>0</deviceIndex>
                                <networkCardIndex>0</networkCardIndex>
                                <status>attached</status>
                                <attachTime>{at}</attachTime>
                                <deleteOnTermination>true</deleteOnTermination>
                            </attachment>
                            <association>
                                <publicIp>{ip}</publicIp>
                                <publicDnsName>ec2-host.compute.amazonaws.com</publicDnsName>
                                <ipOwnerId>amazon</ipOwnerId>
                            </association>
                            <privateIpAddressesSet>
                                <item>
                                    <privateIpAddress>10.0.0.1</privateIpAddress>
                                    <primary>true</primary>
                                    <association>
                                        <publicIp>{ip}</publicIp>
                                        <ipOwnerId>amazon</ipOwnerId>
                                    </association>
                                </item>
                            </privateIpAddressesSet>
                            <ipv6AddressesSet/>
                            <interfaceType>interface</interfaceType>
                        </item>
                    </networkInterfaceSet>
                    <iamInstanceProfile>
                        <arn>arn:aws:iam::123456789012:instance-profile/oyster-host</arn>
                        <id>AIPAEXAMPLE</id>
                    </iamInstanceProfile>
                    <ebsOptimized>false</ebsOptimized>
                    <enaSupport>true</enaSupport>
                    <cpuOptions>
                        <coreCount>2</coreCount>
                        <threadsPerCore>2</threadsPerCore>
                    </cpuOptions>
                    <capacityReservationSpecification>
                        <capacityReservationPreference>open</capacityReservationPreference>
                    </capacityReservationSpecification>
                    <hibernationOptions>
                        <configured>false</configured>
                    </hibernationOptions>
                    <enclaveOptions>
                        <enabled>true</enabled>
                    </enclaveOptions>
                    <metadataOptions>
                        <state>applied</state>
                        <httpTokens>required</httpTokens>
                        <httpPutResponseHopLimit>1</httpPutResponseHopLimit>
                        <httpEndpoint>enabled</httpEndpoint>
                        <httpProtocolIpv6>disabled</httpProtocolIpv6>
                        <instanceMetadataTags>disabled</instanceMetadataTags>
                    </metadataOptions>
                    <currentInstanceBootMode>uefi</currentInstanceBootMode>
                    <platformDetails>Linux/UNIX</platformDetails>
                    <usageOperation>RunInstances</usageOperation>
                    <privateDnsNameOptions>
                        <hostnameType>ip-name</hostnameType>
                    </privateDnsNameOptions>
                </item>
            </instancesSet>
        </item>
"""
