"""`oyster-provider init`: asks what it needs and writes the commented configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.terminal import DryRunOption, JsonOption, print_json, say
from faults import UsageFault

# The names of chains whose ids people would look up (chainlist.org).
CHAINS = {
    "arbitrum": 42161, "arbitrum-sepolia": 421614, "bnb": 56, "ethereum": 1, "sepolia": 11155111,
}  # fmt: skip
MARKETS = ("registry", "marketv1")


def init(
    file: Annotated[
        Path, typer.Argument(help="Where to write it; an existing file stays as it is.")
    ] = Path("/etc/oyster-provider/config.toml"),
    chain_id: Annotated[int | None, typer.Option(help="The chain's id.")] = None,
    market: Annotated[
        str | None, typer.Option(help="registry, or marketv1: Marlin's live market.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(help="The market's contract; Marlin's own are known on their chains."),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(help="On marketv1: whose jobs are served; then no key is needed to serve."),
    ] = None,
    rpc_url: Annotated[
        list[str] | None, typer.Option(help="A JSON-RPC node, best first; repeat it.")
    ] = None,
    region: Annotated[list[str] | None, typer.Option(help="An AWS region; repeat it.")] = None,
    offer: Annotated[
        list[str] | None,
        typer.Option(help="REGION/TYPE=PRICE, such as us-east-1/c6a.xlarge=0.17/h; repeat it."),
    ] = None,
    keystore: Annotated[str | None, typer.Option(help="Keystore file or credential:NAME.")] = None,
    password: Annotated[str | None, typer.Option(help="Its password's file or credential.")] = None,
    key_file: Annotated[str | None, typer.Option(help="Raw key file instead, for tests.")] = None,
    kms_key: Annotated[str | None, typer.Option(help="KMS key id instead.")] = None,
    state_dir: Annotated[str | None, typer.Option(help="Folder of journal and images.")] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented configuration, mode 0600, after checking it. Asks for what is not given."""
    from agent.config import parse
    from agent.config.template import render, write

    ask = _Asker(sys.stdin.isatty())
    answers: dict[str, dict[str, Any]] = {
        "": {"state_dir": state_dir} if state_dir else {},
        "chain": {
            **_market(ask, chain_id, market, registry),
            "rpc_urls": ask("JSON-RPC URLs, best first", "--rpc-url", rpc_url, convert=_many),
        },
        "wallet": {},
        "aws": {"regions": ask("AWS regions", "--region", region, convert=_many)},
    }
    key = _given_key(keystore, password, key_file, kms_key)
    if answers["chain"]["market"] == "marketv1":
        answers["chain"] |= _provider(ask, provider, key)
        answers["wallet"] = _gas_key(ask, key)
    else:
        answers["chain"] |= {"provider": provider} if provider else {}
        answers["wallet"] = _wallet(ask, key)
    offers = offer or (ask.more("Offers (REGION/TYPE=PRICE), or empty") if ask.asked else [])
    text = render(answers, [_offer(item) for item in offers])
    parse(text, name=str(file), base=file.absolute().parent)
    if dry_run:
        typer.echo(text, nl=False)
        return
    write(file, text)
    if as_json:
        print_json({"config": str(file)})
    else:
        say(f"wrote {file}; look it over, then: oyster-provider doctor --config {file}")


class _Asker:
    """Takes what was given, else asks a person, else says which option is missing."""

    def __init__(self, person: bool) -> None:
        self._person = person
        self.asked = False  # whoever gave all that is needed is asked nothing

    def __call__(
        self,
        question: str,
        option: str,
        given: Any,
        *,
        convert: Callable[[str], Any] = str,
    ) -> Any:
        if given is not None and given != []:
            return given
        if not self._person:
            raise UsageFault(f"{option} is missing, and nobody is there to ask")
        self.asked = True
        while True:
            try:
                return convert(typer.prompt(question, err=True))
            except UsageFault as wrong:
                say(f"{wrong}; again", err=True)

    def one_of(self, question: str, choices: Sequence[str]) -> str:
        """One of these words, of a person; the first where nobody is there."""
        if not self._person:
            return choices[0]
        self.asked, asked = True, ""
        while asked not in choices:
            shown = f"{question} ({' or '.join(choices)})"
            asked = typer.prompt(shown, default=choices[0], err=True).strip()
        return asked

    def more(self, question: str) -> list[str]:
        """What may be left out, of a person who answers questions anyway."""
        return _many(typer.prompt(question, default="", show_default=False, err=True))


def _market(
    ask: _Asker, chain_id: int | None, market: str | None, registry: str | None
) -> dict[str, Any]:
    """Chain, kind of market, and its contract where that is not known by the chain."""
    from agent.config.presets import preset_of

    chain = ask("Chain id, or arbitrum", "--chain-id", chain_id, convert=_whole)
    kind = market or ("registry" if registry else ask.one_of("Market", MARKETS))
    found = {"chain_id": chain, "market": _kind(kind)}
    if registry is None and preset_of(kind, chain) is not None:
        return found
    contract = ask("Address of the market's contract", "--registry", registry)
    return {**found, "registry": contract}


def _kind(text: str) -> str:
    if text not in MARKETS:
        raise UsageFault(f"--market {text}: there are {' and '.join(MARKETS)}")
    return text


def _given_key(
    keystore: str | None, password: str | None, key_file: str | None, kms: str | None
) -> dict[str, str]:
    """What options say of a key, as settings of [wallet]."""
    if kms:
        return {"kms_key_id": kms}
    if key_file:
        return {"key_file": key_file}
    found = {"keystore_file": keystore, "password_file": password}
    return {name: text for name, text in found.items() if text}


def _wallet(ask: _Asker, key: dict[str, str]) -> dict[str, str]:
    """The provider's own key."""
    if key and "keystore_file" not in key and "password_file" not in key:
        return key
    keystore, password = key.get("keystore_file"), key.get("password_file")
    return {
        "keystore_file": ask("Keystore (a file or credential:NAME)", "--keystore", keystore),
        "password_file": ask("Its password (a file or credential:NAME)", "--password", password),
    }


def _provider(ask: _Asker, provider: str | None, key: dict[str, str]) -> dict[str, str]:
    """Whose jobs are served; where it is not said, the key's own account."""
    if provider is None and not key:
        provider = ask("Provider's account, whose jobs are served (0x...)", "--provider", None)
    return {"provider": provider} if provider else {}


def _gas_key(ask: _Asker, key: dict[str, str]) -> dict[str, str]:
    """Any account that pays gas for settlements, or none: then nothing is settled from here."""
    if key or not ask.asked:
        return _wallet(ask, key) if key else {}
    asked = ask.more("Keystore of any account that pays gas for settling, or empty for none")
    return _wallet(ask, {"keystore_file": asked[0]}) if asked else {}


def _whole(text: str) -> int:
    if text.strip().lower() in CHAINS:
        return CHAINS[text.strip().lower()]
    if not text.strip().isdecimal():
        raise UsageFault(f"{text!r} is not a chain's number, nor one of {', '.join(CHAINS)}")
    return int(text)


def _many(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _offer(text: str) -> dict[str, str]:
    kind, equals, price = text.partition("=")
    if not equals:
        raise UsageFault(f"--offer {text}: write REGION/TYPE=PRICE, us-east-1/c6a.xlarge=0.17/h")
    return {"type": kind, "price": price}
