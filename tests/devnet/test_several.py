"""Several hosts of a devnet: what is refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet import several, state
from devnet.state import Devnet
from devnet.up import Options, running
from faults import RetryLater, UsageFault
from tests.commands.program import oyster_here

pytestmark = pytest.mark.unit


def test_hosts__without_a_postgresql__one_clear_line_and_nothing_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several, "programs", lambda: None)
    found = pytest.raises(RetryLater, match="apt-get install postgresql")
    with found, running(Options(tmp_path, hosts=2)):
        pass
    assert not (tmp_path / state.FILE).exists()
    done = oyster_here("devnet", "up", "--hosts", "2", "--dir", str(tmp_path / "net"))
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)


@pytest.mark.parametrize("count", [0, -1, 6, 100])
def test_hosts__too_many_or_none__are_refused(count: int) -> None:
    with pytest.raises(UsageFault, match="from 1 to 5"):
        several.names_of(count)


@pytest.mark.parametrize(("hosts", "said"), [({}, "--hosts 2"), ({"a": {}, "b": {}}, "a, b")])
def test_kill__a_host_that_is_not_there__says_which_are(
    hosts: dict[str, dict[str, str]], said: str, tmp_path: Path
) -> None:
    net = Devnet(
        1, "", (), 1, "", "", "", 0, "", "", "", ("us-east-1",), "", {}, {"provider": "x"},
        hosts=hosts,
    )  # fmt: skip
    for act in (several.kill, several.start, several.freeze, several.cut, several.heal):
        with pytest.raises(UsageFault, match=said):
            act(tmp_path, net, "x")
