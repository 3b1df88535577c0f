"""`oyster-provider notify ...`: does word of trouble arrive?"""

from __future__ import annotations

import typer

from commands.terminal import ConfigOption, JsonOption, print_json, say

app = typer.Typer(no_args_is_help=True, help="Word of trouble by mail, chat and webhooks.")


@app.command("test")
def try_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Send one message to every place of notify.urls_file; exit 4 when one does not take it."""
    import asyncio

    from agent.config import load
    from agent.status.notify_send import notifier_of
    from agent.status.notify_when import Message
    from commands.context import quiet
    from faults import UsageFault

    quiet()
    notifier = notifier_of(load(config))
    if notifier is None:
        raise UsageFault("notify.urls_file is empty, so nobody is told; see docs/configuration.md")
    text = "This is a test: word of trouble arrives here."
    asyncio.run(notifier.send(Message("oyster-provider: a test", text)))
    if as_json:
        print_json({"places": notifier.count})
    else:
        say(f"sent to {notifier.count} places; see that it arrived")
