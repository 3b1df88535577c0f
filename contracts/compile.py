"""Makes `contracts/artifacts/` from the Vyper sources: `python -m contracts.compile`.

Needs the development dependency vyper, at exactly the version that the sources name.
"""

from __future__ import annotations

import json
from pathlib import Path

SOURCES = Path(__file__).parent
ARTIFACTS = SOURCES / "artifacts"
CONTRACTS = ("IsolatedInstanceRegistry", "MarketV1", "TestToken")


def compile_contract(name: str) -> dict[str, object]:
    """The artifact of one contract: abi, bytecode and the compiler's version."""
    import vyper
    from vyper.cli.vyper_compile import compile_files

    source = SOURCES / f"{name}.vy"
    outputs = compile_files([str(source)], ["abi", "bytecode"], paths=[str(SOURCES)])
    (output,) = outputs.values()
    return {
        "contractName": name,
        "compiler": f"vyper {vyper.__version__}",
        "abi": output["abi"],
        "bytecode": output["bytecode"],
    }


def render(artifact: dict[str, object]) -> str:
    """An artifact as it is committed."""
    return json.dumps(artifact, indent=1) + "\n"


def main() -> None:
    """Write every artifact."""
    ARTIFACTS.mkdir(exist_ok=True)
    for name in CONTRACTS:
        (ARTIFACTS / f"{name}.json").write_text(render(compile_contract(name)), "utf-8")


if __name__ == "__main__":
    main()
