"""Whether what a command needs beside the program is installed."""

from __future__ import annotations

from importlib.util import find_spec

from faults import UsageFault

DEVNET = ("eth", "eth_tester", "flask", "moto")


def require_devnet() -> None:
    """Raises UsageFault: a devnet's packages are not installed."""
    missing = [name for name in DEVNET if find_spec(name) is None]
    if missing:
        raise UsageFault(
            f"a devnet needs more packages ({', '.join(missing)}): pip install "
            "'oyster-provider[devnet]', or '.[devnet]' in a checkout"
        )
