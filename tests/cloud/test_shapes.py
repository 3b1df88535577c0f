"""Items read by their shape: parsed once, and nothing taken for what it is not."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from cloud import shapes
from cloud.shapes import Items, Leaf, NotPlain, Shapes, Structure

pytestmark = pytest.mark.unit

TAG: Structure = {"key": ("Key", Leaf()), "value": ("Value", Leaf())}
HOST: Structure = {
    "id": ("Id", Leaf()),
    "cores": ("Cores", Leaf(int)),
    "tags": ("Tags", Items(TAG)),
    "state": ("State", {"name": ("Name", Leaf())}),
}
ITEM = (
    "<item><id>i-1</id><other>o</other><cores>4</cores><state><code>16</code><name>up</name>"
    "</state><tags><item><key>a</key><value>b</value></item><item><key>c</key><value/></item>"
    "</tags></item>"
)
READ = {
    "Id": "i-1",
    "Cores": 4,
    "State": {"Name": "up"},
    "Tags": [{"Key": "a", "Value": "b"}, {"Key": "c", "Value": ""}],
}


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was parsed."""
    seen: list[str] = []
    tree = shapes._tree

    def note(item: str | bytes) -> ET.Element:
        seen.append(item if isinstance(item, str) else item.decode())
        return tree(item)

    monkeypatch.setattr(shapes, "_tree", note)
    return seen


def test_read__items_of_one_shape__are_parsed_once(parsed: list[str]) -> None:
    hosts = Shapes(HOST)
    assert hosts.read(ITEM.encode()) == READ
    other = ITEM.replace("i-1", "x>y").replace(">4<", ">16<").replace(">up<", "><")
    read = hosts.read(other.encode())
    assert (read["Id"], read["Cores"], read["State"], read["Tags"]) == (
        "x>y", 16, {"Name": ""}, READ["Tags"],
    )  # fmt: skip
    assert len(parsed) == 1
    assert hosts.read(ITEM.replace("</cores>", "</cores>\n  ").encode()) == READ
    assert len(parsed) == 1


@pytest.mark.parametrize("text", ["a&amp;b", "ü", "\t", "\r\n"])
def test_read__a_text_that_is_not_tame__is_parsed_by_itself(parsed: list[str], text: str) -> None:
    hosts = Shapes(HOST)
    hosts.read(ITEM.encode())
    item = ITEM.replace("i-1", text)
    assert hosts.read(item.encode())["Id"] == ET.fromstring(item).findtext("id")
    assert parsed[1:] == [item]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<id>", "text<id>"),
        ("</id>", "</id>text"),
        ("<tags>", "<tags>text"),
        ("</tags>", "text</tags>"),
        ("<value/>", "<value/>text"),
        ("</item></tags></item>", "</item></tags></item>text"),
        ("<id>", '<id a="1">'),
        ("<id>", '<id a="x>y">'),
        ("</id>", "</id"),
        ("i-1", "]]>"),
        ("i-1", "<!-- c -->"),
        ("i-1", "<![CDATA[i-1]]>"),
        ("i-1", "<?p i-1?>"),
        ("i-1", "\x0b"),
        ("</id>", "</di>"),
        ("<id>i-1</id>", "<id>i-1</id><id>i-2</id>"),
        ("</item></tags></item>", "</item></tags></item><more/>"),
        ("<cores>4", "<cores>many"),
        ("<item><id>", "text<item><id>"),
    ],
)
def test_read__not_plain__is_refused_also_where_its_shape_is_known(old: str, new: str) -> None:
    hosts = Shapes(HOST)
    hosts.read(ITEM.encode())
    item = ITEM.replace(old, new)
    assert item != ITEM
    for _ in range(2):
        with pytest.raises((NotPlain, ET.ParseError, ValueError)):
            hosts.read(item.encode())


def test_shapes__more_than_are_kept__are_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "SHAPES_LIMIT", 3)
    hosts = Shapes(HOST)
    for count in [*range(8), 0]:
        item = f"<item><id>{count}</id>{''.join(f'<x{n}/>' for n in range(count))}</item>"
        assert hosts.read(item.encode()) == {"Id": f"{count}"}
        assert len(hosts._known) <= 3
