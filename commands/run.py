"""`oyster-provider run`: the agent, until it is told to stop."""

from __future__ import annotations

from commands.terminal import ConfigOption


def run(config: ConfigOption = None) -> None:
    """Serve jobs until SIGTERM; SIGHUP reloads policy and prices. Enclaves outlive the agent."""
    import asyncio

    from agent.config import load
    from agent.daemon import configure_log, keep_to_itself, serve

    loaded = load(config)
    keep_to_itself()
    configure_log(loaded)
    asyncio.run(serve(loaded, config))
