"""A journal's file that somebody moves or deletes while it is open."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.journal.in_place import InPlace

pytestmark = pytest.mark.unit


def test_file__moved_deleted_or_replaced_in_use__is_gone_until_it_is_back(tmp_path: Path) -> None:
    file, aside = tmp_path / "journal.sqlite", tmp_path / "aside"
    file.write_text("lines")
    place = InPlace(file)
    file.write_text("more lines")
    assert not place.is_gone()
    file.rename(aside)
    assert place.is_gone()
    file.write_text("a command's")
    assert place.is_gone()
    aside.rename(file)
    assert not place.is_gone()
    file.unlink()
    assert place.is_gone()


def test_server__has_no_file__is_never_gone() -> None:
    assert not InPlace(None).is_gone()
