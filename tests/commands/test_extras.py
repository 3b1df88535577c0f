"""Commands that need more than an installation has say so."""

from __future__ import annotations

import pytest

from commands import extras
from faults import UsageFault

pytestmark = pytest.mark.unit


def test_devnet__its_packages_are_not_there__says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extras.require_devnet()
    monkeypatch.setattr(extras, "DEVNET", ("json", "no_such_package"))
    with pytest.raises(UsageFault, match=r"no_such_package.*oyster-provider\[devnet\]"):
        extras.require_devnet()
