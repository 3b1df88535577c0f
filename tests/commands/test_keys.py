"""`keys new|import|show` through the program, bad input included; the key is never shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from agent.chain import wallet

from .program import in_its_dialect

pytestmark = pytest.mark.unit

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    sealed = wallet.LocalSigner.to_keystore

    def quickly(self: wallet.LocalSigner, password: str, cost: int = 2) -> object:
        return sealed(self, password, cost)

    monkeypatch.setattr(wallet.LocalSigner, "to_keystore", quickly)

    def ran(*options: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["oyster-provider", "keys", *map(str, options)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        out = "".join(said)
        assert KEY not in out
        in_its_dialect(["keys", *map(str, options)], said.out)
        return int(end.value.code or 0), out

    return ran


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    wallet.write_secret(tmp_path / "password", "long enough")
    return tmp_path / "password"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    wallet.write_secret(tmp_path / "bare", KEY)
    return tmp_path / "bare"


def test_new__keystore__opens_with_the_password(run: Run, tmp_path: Path, secret: Path) -> None:
    out = tmp_path / "key.json"
    code, said = run("new", "--out", out, "--password-file", secret, "--json")
    assert code == 0
    assert wallet.open_keystore(out, "long enough").address == json.loads(said)["address"]
    assert out.stat().st_mode & 0o777 == 0o600
    code, said = run("new", "--out", out, "--password-file", secret)
    assert (code, "never overwritten" in said) == (2, True)
    code, said = run("show", out, "--password-file", secret, "--json")
    assert json.loads(said)["opened"] is True


def test_new__raw__is_a_bare_key_without_password(run: Run, tmp_path: Path, secret: Path) -> None:
    out = tmp_path / "key"
    assert run("new", "--out", out, "--raw", "--password-file", secret)[0] == 2
    code, said = run("new", "--out", out, "--raw")
    assert (code, wallet.open_raw(out).address in said) == (0, True)


def test_import_and_show__existing_key__keeps_its_address(
    run: Run, tmp_path: Path, secret: Path, bare: Path
) -> None:
    out = tmp_path / "key.json"
    code, said = run("import", bare, "--out", out, "--password-file", secret)
    assert (code, ADDRESS in said) == (0, True)
    for path in (out, bare):
        code, said = run("show", path)
        assert (code, ADDRESS in said) == (0, True)


def test_bad_input__each__is_one_line_and_exit_2(
    run: Run, tmp_path: Path, secret: Path, bare: Path
) -> None:
    wallet.write_secret(tmp_path / "empty", "")
    wallet.write_secret(tmp_path / "wrong", "other")
    sealed = tmp_path / "sealed"
    run("import", bare, "--out", sealed, "--password-file", secret)
    bare.chmod(0o644)
    for options in (
        ("show", bare),
        ("show",),
        ("show", sealed, "--kms-key-id", "x"),
        ("show", tmp_path / "none"),
        ("show", sealed, "--password-file", tmp_path / "wrong"),
        ("import", bare, "--out", tmp_path / "x", "--password-file", secret),
        ("new", "--out", tmp_path / "x", "--password-file", tmp_path / "empty"),
        ("new", "--out", tmp_path / "no" / "folder", "--raw"),
    ):
        code, said = run(*options)
        assert code == 2, (options, said)
        assert "Traceback" not in said


def test_show__a_keystore__says_whether_its_password_opened_it(
    run: Run, secret: Path, tmp_path: Path
) -> None:
    sealed = tmp_path / "keystore"
    assert run("new", "--out", sealed, "--password-file", secret)[0] == 0
    assert "opened   no" in run("show", sealed)[1]
    assert "opened   yes" in run("show", sealed, "--password-file", secret)[1]


@pytest.mark.parametrize("password", ["pw1", "1234567"])
def test_new__a_password_that_is_guessed_at_once__is_not_taken(
    run: Run, tmp_path: Path, password: str
) -> None:
    wallet.write_secret(tmp_path / "short", password)
    out = tmp_path / "key.json"
    code, said = run("new", "--out", out, "--password-file", tmp_path / "short")
    assert (code, out.exists()) == (2, False)
    assert f"a password of {len(password)} characters is guessed in no time" in said
    assert password not in said.replace(str(tmp_path), "")
