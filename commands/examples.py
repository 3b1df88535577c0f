"""One example for the `--help` of every command, all in one place so that none is forgotten."""

from __future__ import annotations

import inspect

import typer

EXAMPLES = {
    "setup": "setup config.toml",
    "init": "init config.toml --region us-east-1 --offer us-east-1/c6a.xlarge=0.17/h",
    "doctor": "doctor --json",
    "run": "run --config /etc/oyster-provider/config.toml",
    "exit": "exit 12 --dry-run",
    "pause": "pause --dry-run",
    "resume": "resume",
    "status": "status",
    "capacity": "capacity --json",
    "runbook": "runbook gas-low",
    "rehearse": "rehearse us-east-1/c6a.xlarge --image ipfs://CID",
    "report": "report --since 2026-01-31 --csv",
    "stake": "stake 500 --dry-run",
    "unstake": "unstake --all",
    "register": "register us-east-1/c6a.xlarge 0.17/h --stake 500",
    "demo": "demo",
    "takeover": "takeover --from-tags managedBy=marlin --dry-run",
    "import": "import --rates rates.json --bandwidth bandwidth.json --dry-run",
    "contracts deploy": "contracts deploy --rpc-url http://127.0.0.1:8545 --key-file key "
    "--quorum 2 --stake-per-job 100000000000000000000 --job-bootstrapping 300 --job-startup 300 "
    "--job-exit-cooldown 600 --auditor 0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "attestation verify": "attestation verify document.bin --instance-id i-0123456789abcdef0",
    "image inspect": "image inspect app.eif",
    "image fetch": "image fetch ipfs://CID -o app.eif",
    "cloud setup": "cloud setup --dry-run",
    "cloud teardown": "cloud teardown --dry-run",
    "cloud bake": "cloud bake --region us-east-1 --architecture arm64",
    "cloud policy": "cloud policy agent --account 123456789012",
    "devnet up": "devnet up --detach",
    "devnet status": "devnet status",
    "devnet down": "devnet down",
    "devnet env": 'eval "$(oyster-provider devnet env)"',
    "devnet kill": "devnet kill a",
    "devnet start": "devnet start a",
    "devnet freeze": "devnet freeze a",
    "devnet thaw": "devnet thaw a",
    "devnet cut": "devnet cut a",
    "devnet heal": "devnet heal a",
    "devnet image build": "devnet image build ./app -o app.eif",
    "devnet ipfs add": "devnet ipfs add app.eif",
    "devnet job open": "devnet job open us-east-1/c6a.xlarge ipfs://CID --rate 2/h",
    "devnet job deposit": "devnet job deposit 0 2.50",
    "devnet job withdraw": "devnet job withdraw 0 1.00",
    "devnet job revise": "devnet job revise 0 2/h",
    "devnet job update": "devnet job update 0 ipfs://CID",
    "devnet job notice": "devnet job notice 0",
    "devnet job close": "devnet job close 0",
    "provider add": "provider add --url http://203.0.113.7:8080 --dry-run",
    "provider update": "provider update --url http://203.0.113.7:8080",
    "provider remove": "provider remove",
    "provider show": "provider show",
    "devnet job request": "devnet job request us-east-1/c6a.xlarge ipfs://CID --deposit 2.50",
    "devnet job stop": "devnet job stop 1",
    "devnet job fund": "devnet job fund 1 2.50",
    "devnet job fault": "devnet job fault 1 --votes 2",
    "devnet job show": "devnet job show 1 --until running",
    "service install": "service install --root /mnt/image",
    "service reload": "service reload --pid 4242",
    "service status": "service status",
    "service uninstall": "service uninstall",
    "keys new": "keys new --out keystore",
    "keys import": "keys import bare.key --out keystore",
    "keys show": "keys show keystore --password-file password",
    "journal copy": "journal copy --json",
    "hosts list": "hosts list --json",
    "hosts yield": "hosts yield",
    "offers set": "offers set us-east-1/c6a.xlarge 0.17/h --dry-run",
    "offers rules": "offers rules",
    "offers remove": "offers remove us-east-1/c6a.xlarge",
    "offers list": "offers list us-east-1/c6a.xlarge",
    "notify test": "notify test",
    "config check": "config check",
    "config diff": "config diff --json",
    "jobs list": "jobs list",
    "jobs show": "jobs show 12",
    "jobs logs": "jobs logs 12 --json",
    "jobs confirm-terminations": "jobs confirm-terminations 12",
}  # fmt: skip


def add_examples(app: typer.Typer, above: str = "") -> None:
    """Write each command's example below its help, whose lines a terminal breaks where it ends."""
    for command in app.registered_commands:
        command.help = command.help or _unbroken(inspect.getdoc(command.callback) or "")
        own = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        example = EXAMPLES.get(f"{above}{own}")
        if example:
            whole = example if "oyster-provider" in example else f"oyster-provider {example}"
            command.epilog = f"Example: {whole}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_examples(group.typer_instance, f"{above}{group.name} ")


def _unbroken(text: str) -> str:
    """Each paragraph as one line: broken as in its source, half of its lines would be a word or two
    on eighty columns."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
