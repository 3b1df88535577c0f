"""`oyster-provider config ...`: is the file sound, and does the running agent go by it?"""

from __future__ import annotations

import typer

from commands.terminal import ConfigOption, JsonOption, how_many, print_json, say

app = typer.Typer(no_args_is_help=True, help="Look at the configuration file.")


@app.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Read the file as a start would, and say all that is wrong; exit 2 when something is."""
    from agent.config import ConfigFault, load
    from agent.config.load import path_of
    from agent.wiring.cards import card_files
    from faults import UsageFault

    path, problems = path_of(config), tuple[str, ...]()
    try:
        loaded = load(config)
        card_files(loaded)
    except ConfigFault as fault:
        problems = fault.problems
    except UsageFault as fault:
        problems = (str(fault),)
    if as_json:
        print_json({"path": str(path), "sound": not problems, "problems": list(problems)})
    elif not problems:
        regions, offers = len(loaded.aws.regions), len(loaded.offers)
        say(f"{path} is sound; regions: {regions}, offers: {offers}")
    else:
        say("\n".join(problems))
    if problems:
        raise UsageFault(f"{path}: {len(problems)} to mend; see docs/configuration.md")


@app.command()
def diff(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What the file says otherwise than the agent that runs; exit 3 when it does."""
    from agent.config import load
    from agent.config.load import path_of
    from commands.agent_asked import ask_agent, require_same_file
    from faults import Refused

    view = ask_agent(load(config).status.listen)
    require_same_file(view, path_of(config))
    lines = view["file"]
    if as_json:
        print_json({"agrees": not lines, "differences": lines})
    else:
        say("\n".join(lines) or "the agent goes by the file")
    if lines:
        count = how_many(len(lines), "setting")
        raise Refused(f"the file says {count} otherwise; systemctl reload oyster-provider")
