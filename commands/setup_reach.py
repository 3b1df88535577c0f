"""What the steps of `setup` share whatever the market: the answered nodes, and a key here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from commands.guide import Answers, Question, always, new_password
from faults import Refused, UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.chain.endpoints import Endpoints
    from agent.market.model import Address, BlockRef

NONE = "none"


def naming(file: Path) -> str:
    """How a command is told of this file: not at all where it looks by itself."""
    from agent.config.load import DEFAULT_PATH

    return "" if file == DEFAULT_PATH else f" -c {file}"


def urls_of(answers: Answers) -> list[str]:
    """The nodes, best first."""
    return answers.given["nodes"].replace(",", " ").split()


@asynccontextmanager
async def on_chain(answers: Answers) -> AsyncIterator[tuple[Endpoints, BlockRef]]:
    """The answered nodes and their newest block. Raises RetryLater, UsageFault."""
    from agent.chain.endpoints import Endpoints
    from agent.chain.head import Finality, HeadTracker
    from agent.clock import SystemClock

    endpoints = await Endpoints.open(urls_of(answers), SystemClock())
    try:
        yield endpoints, (await HeadTracker(endpoints, Finality(None)).poll()).block
    finally:
        await endpoints.close()


async def contract_of(answers: Answers, endpoints: Endpoints) -> Address:
    """The market's contract. Raises UsageFault: no address; Refused: nothing is there."""
    from agent.market.model import address

    contract = address(answers.given["registry"])
    if await endpoints.call("eth_getCode", contract, "latest") in ("0x", None):
        raise Refused(f"{contract} has no code on chain {endpoints.chain_id}")
    return contract


async def coin_of(owner: str, endpoints: Endpoints) -> int:
    """What the account has for gas, wei."""
    from agent.chain.rpc import number

    return await number(endpoints, "eth_getBalance", owner, "latest")


def key_questions(
    folder: Path, what: str, when: Callable[[Answers], bool] = always
) -> Sequence[Question]:
    """Keystore and password; the password is asked for `when` there is to be a key."""
    return [
        Question("keystore", what, str(folder / "keystore")),
        Question(
            "password", "its password's file, made when it is not there",
            str(folder / "keystore-password"), when,
        ),
    ]  # fmt: skip


def key_of(answers: Answers) -> tuple[Address, list[str]]:
    """Whose key it is, made where there is none; and what was made, or would be by a dry run.
    Raises UsageFault."""
    from agent.chain.wallet import new_signer, open_keystore, require_password, write_secret
    from agent.secret import read_secret

    keystore, password = key_files(answers)
    made, makes = [], "would make" if answers.trial else "made"
    if not keystore.exists():
        _folder_of(keystore)
        if not password.exists():
            _folder_of(password)
            new_password(password)
            made.append(f"{makes} {answers.path('password')}: nobody has to know it, back it up")
        require_password(read_secret(password))
        write_secret(keystore, json.dumps(new_signer().to_keystore(read_secret(password))))
        made.append(f"{makes} {answers.path('keystore')}")
    return open_keystore(keystore, read_secret(password)).address, made


def stands_in(answers: Answers) -> bool:
    """Whether a dry run's key stands for one that is not made yet: nobody must send it anything."""
    return answers.trial is not None and not answers.path("keystore").exists()


def key_files(answers: Answers) -> tuple[Path, Path]:
    """Keystore and password; of those that a dry run would make, their stand-ins."""
    keystore, password = answers.path("keystore"), answers.path("password")
    if answers.trial is None or not stands_in(answers):
        return keystore, password
    return answers.trial / "keystore", password if password.exists() else answers.trial / "password"


def _folder_of(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageFault(f"{file.parent}: {error.strerror}; name another place") from error


def signs(answers: Answers) -> bool:
    """Whether there is to be a key on this host."""
    return answers.given.get("keystore", NONE) != NONE


def wallet_of(answers: Answers) -> dict[str, str]:
    """The settings of [wallet]: none where nothing signs here."""
    if not signs(answers):
        return {}
    folder = (answers.file.parent / "credentials").absolute()
    return {
        f"{name}_file": _credential(answers.path(name), folder) for name in ("keystore", "password")
    }


def _credential(path: Path, folder: Path) -> str:
    """How the configuration names it: the service is handed what lies in the credentials folder,
    which its account can't read by itself."""
    return f"credential:{path.name}" if path.absolute().parent == folder else str(path.absolute())
