"""`oyster-provider provider ...`: this provider's entry on Marlin's market, the URL of its rates.

The one thing for which the provider's own key is needed there; serving and settling take any. So
these run where that key is, with a configuration whose wallet it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

import foreign_json
from commands.terminal import ConfigOption, DryRunOption, JsonOption, YesOption, say

if TYPE_CHECKING:
    from commands.context import Desk
    from commands.sending import Step

app = typer.Typer(
    no_args_is_help=True, help="This provider's entry on Marlin's market: the URL of its rates."
)

UrlOption = Annotated[
    str, typer.Option("--url", help="Where /spec, /bandwidth and /ip answer, without a last slash.")
]


PLAIN = {"Accept-Encoding": "identity"}  # and nothing is unpacked
MOST_BYTES = 16 << 20  # as many cards as a rates file may have are ten megabytes


@app.command()
def add(
    url: UrlOption,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Enter this provider and its URL; the URL must answer /spec already."""
    _change(config, url, yes=yes, dry_run=dry_run, as_json=as_json, new=True)


@app.command()
def update(
    url: UrlOption,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Change the URL; jobs are as they were."""
    _change(config, url, yes=yes, dry_run=dry_run, as_json=as_json, new=False)


@app.command()
def remove(
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take this provider off the list; jobs are as they were, and can still be opened by name."""
    from agent.markets.marketv1.calls import Calls
    from commands.sending import How, Step

    def steps(desk: Desk) -> Step:
        text = "take this provider off the market's list; its jobs are served on"
        return Step(Calls(desk.registry).provider_remove(), text)

    _send(config, steps, How(yes, dry_run, as_json))


@app.command()
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What the market's list says of this provider, and whether its URL answers."""
    from commands.context import Need, at_desk
    from commands.looking import looking
    from commands.terminal import print_json

    async def work(desk: Desk) -> dict[str, Any]:
        url = await desk.marketv1.provider_url(desk.provider, await desk.head())
        wrong = unanswered(url) if url else "not registered"
        return {"provider": desk.provider, "url": url, "answers": not wrong, "wrong": wrong}

    found = at_desk(looking(config), work, Need.CARDS)
    if as_json:
        print_json(found)
        return
    say(f"{found['provider']}  {found['url'] or '-'}")
    say("answers /spec" if found["answers"] else f"! {found['wrong']}")


def _change(config: Any, url: str, *, yes: bool, dry_run: bool, as_json: bool, new: bool) -> None:
    from agent.markets.marketv1.calls import Calls
    from commands.sending import How, Step
    from faults import Refused

    check_url(url)

    def steps(desk: Desk) -> Step:
        wrong = unanswered(url)
        if wrong:
            todo = "start the agent with status.public_listen behind this URL first"
            raise Refused(f"{wrong}; {todo}")
        calls = Calls(desk.registry)
        if new:
            return Step(calls.provider_add(url), f"enter {desk.provider} with {url}")
        return Step(calls.provider_update(url), f"change the URL of {desk.provider} to {url}")

    _send(config, steps, How(yes, dry_run, as_json))


def _send(config: Any, step_of: Any, how: Any) -> None:
    from agent.wiring.adapters import open_signer
    from commands.context import Need, at_desk
    from commands.sending import carry_out
    from faults import UsageFault

    async def work(desk: Desk) -> None:
        wallet = (await open_signer(desk.config)).address
        if wallet != desk.provider:
            text = f"the wallet is {wallet}, and chain.provider is {desk.provider}"
            raise UsageFault(f"{text}: only the provider's own key can change its entry")
        await carry_out(desk, [step_of(desk)], how)

    at_desk(config, work, Need.CARDS)


def check_url(url: str) -> None:
    """Raises UsageFault: Marlin's tools put paths behind the URL as it stands, so it must be an
    http or https URL of a host, without a slash, a query or a fragment at its end."""
    from urllib.parse import urlsplit

    from faults import UsageFault

    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    printable = url.isascii() and url.isprintable() and " " not in url
    if not sound or not printable or len(url) > 512:
        raise UsageFault(f"{url[:80]!r} is not an http:// or https:// URL of a host")
    if url.endswith("/"):
        raise UsageFault(f"{url!r} ends with a slash: tools append /ip, and //ip is not found")
    if "?" in url or "#" in url or "@" in parts.netloc:
        raise UsageFault(f"{url!r} must be a plain URL: no query, no fragment, no user info")


def unanswered(url: str) -> str:
    """Why the URL does not give rate cards, as Marlin's tools would read them; empty: it does."""
    import httpx

    status = 0
    try:
        with httpx.stream("GET", f"{url}/spec", headers=PLAIN, timeout=10) as answer:
            status = answer.status_code
            found = foreign_json.loads(_at_most(answer.iter_raw()))
        regions = {one["region"] for one in found["min_rates"]}
        cards = [card for one in found["min_rates"] for card in one["rate_cards"]]
        sound = all(int(card["min_rate"], 16) > 0 and card["memory"] > 0 for card in cards)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{url}/spec does not answer ({type(error).__name__})"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if not status:  # a name that no resolver takes is a UnicodeError
            return f"{url}/spec does not answer ({type(error).__name__})"
        return f"{url}/spec answers {status}, and no rate cards"
    if status != 200 or not sound or not set(found["allowed_regions"]) <= regions:
        return f"{url}/spec answers {status} with rate cards that no tool can use"
    return "" if cards else f"{url}/spec shows no rate card: nobody could open a job"


def _at_most(pieces: Iterable[bytes]) -> bytes:
    """All of a plain answer. Raises ValueError: it is larger than rate cards are."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > MOST_BYTES:
            raise ValueError("too large")
    return bytes(found)
