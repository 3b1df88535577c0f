"""EC2's query protocol: a request's parameters, moto's XML answers edited, error answers."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from devnet.aws.ec2 import NAMES

_SPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
_SCOPE = re.compile(r"Credential=([^/,]+)/[0-9]{8}/([^/,]+)/([^/,]+)/aws4_request")


def scope(authorization: str, query: str) -> tuple[str, str, str]:
    """(access key id, region, service) of a signed request; empty when it is not signed."""
    found = _SCOPE.search(authorization)
    if found is None:
        credential = urllib.parse.parse_qs(query).get("X-Amz-Credential", [""])[0]
        found = _SCOPE.search(f"Credential={credential}")
    return (found.group(1), found.group(2), found.group(3)) if found else ("", "", "")


def parameters(body: bytes) -> dict[str, str]:
    """The form fields, one value each."""
    return dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))


def listed(params: Mapping[str, str], name: str) -> list[str]:
    """Values of `name.1`, `name.2`..."""
    return [value for key, value in params.items() if re.fullmatch(rf"{name}\.\d+", key)]


def error(code: str, message: str, *, s3: bool = False) -> bytes:
    """EC2's error document, or S3's."""
    if s3:
        body = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
        return f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode()
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error>'
        f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error></Errors>"
        "<RequestID>00000000-0000-4000-8000-000000000000</RequestID></Response>"
    ).encode()


def children(answer: bytes, path: str) -> list[ET.Element]:
    """Elements below `path` (slashes, no namespaces)."""
    return _find(_parse(answer), path)


def edited(
    answer: bytes, item_path: str, edit: Callable[[ET.Element], bool], parent_path: str
) -> bytes:
    """The answer with each item edited; items for which `edit` says False are taken out."""
    root = _parse(answer)
    for parent in _find(root, parent_path):
        for item in _find(parent, item_path):
            if not edit(item):
                parent.remove(item)
    _drop_empty_reservations(root)
    space = re.match(r"\{([^}]*)\}", root.tag)
    ET.register_namespace("", space.group(1) if space else _SPACE)
    whole: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return whole


def text(item: ET.Element, path: str) -> str:
    """Text of the first element at `path`, or an empty one."""
    found = _find(item, path)
    return (found[0].text or "") if found else ""


def put(item: ET.Element, path: str, value: str) -> None:
    """Set the text of `path` below `item`, making what is missing."""
    for name in path.split("/"):
        below = _find(item, name)
        item = below[0] if below else ET.SubElement(item, _space(item) + name)
    item.text = value


def append(item: ET.Element, path: str, texts: Mapping[str, str]) -> None:
    """Add one element at the end of `path`, with these texts below it."""
    *parents, name = path.split("/")
    for parent in parents:
        below = _find(item, parent)
        item = below[0] if below else ET.SubElement(item, _space(item) + parent)
    added = ET.SubElement(item, _space(item) + name)
    for key, value in texts.items():
        ET.SubElement(added, _space(item) + key).text = value


def put_state(item: ET.Element, path: str, code: int) -> None:
    put(item, f"{path}/code", str(code))
    put(item, f"{path}/name", NAMES[code])


def _drop_empty_reservations(root: ET.Element) -> None:
    for parent in _find(root, "reservationSet"):
        for item in _find(parent, "item"):
            if not _find(item, "instancesSet/item"):
                parent.remove(item)


def _parse(answer: bytes) -> ET.Element:
    return ET.fromstring(answer)  # noqa: S314 - moto's own answer, made in this process


def _find(item: ET.Element, path: str) -> list[ET.Element]:
    found = [item]
    for name in path.split("/"):
        found = [below for each in found for below in each if below.tag.endswith("}" + name)]
    return found


def _space(item: ET.Element) -> str:
    return item.tag[: item.tag.index("}") + 1]
