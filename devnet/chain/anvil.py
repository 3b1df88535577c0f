"""anvil as the devnet's node, where it is installed: `python -m devnet.chain.anvil`.

Takes the arguments of `devnet.chain.node` and says the same hello, so that the devnet need not know
which of the two it runs. anvil itself is Foundry's; nothing of it is installed from here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import time

from devnet.processes import free_port

READY_SECONDS = 20.0
POLL_SECONDS = 0.05


def main(argv: list[str] | None = None) -> None:
    """Run anvil until told to stop; the first line on stdout is JSON with the URL."""
    parser = argparse.ArgumentParser(prog="python -m devnet.chain.anvil", description=__doc__)
    parser.add_argument("--chain-id", type=int, default=31337)
    parser.add_argument("--block-time", type=float, default=1.0, help="seconds")
    parser.add_argument("--behind", type=float, default=0.0, help="seconds its clock starts late")
    args = parser.parse_args(argv)
    program = shutil.which("anvil")
    if program is None:
        sys.exit("anvil is not installed: 'npm install -g @foundry-rs/anvil', or --chain py-evm")
    port = free_port()
    command = [program, "--silent", "--port", str(port), "--chain-id", str(args.chain_id)]
    command += ["--block-time", str(args.block_time), "--mixed-mining"]
    command += ["--timestamp", str(int(time.time() - args.behind))]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr) as anvil:
        _wait_for(port, anvil)
        hello = {"url": f"http://127.0.0.1:{port}", "chainId": args.chain_id}
        sys.stdout.write(json.dumps(hello) + "\n")
        sys.stdout.flush()
        sys.exit(anvil.wait())


def _wait_for(port: int, anvil: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and anvil.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(POLL_SECONDS)
    anvil.kill()
    sys.exit("anvil did not open its port")


if __name__ == "__main__":
    main()
