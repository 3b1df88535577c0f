"""`oyster-provider image fetch`: its options, its progress bar, its report."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from commands.terminal import say
from enclave.fetch.download import FetchLimits, Progress, Reach
from enclave.fetch.fetcher import fetch_file
from enclave.fetch.store import StoredImage
from enclave.ipfs.gateway import Gateway, Source
from enclave.ipfs.kubo import KuboNode
from faults import UsageFault

# Public trustless gateways, asked when the operator names none.
DEFAULT_GATEWAYS = ("https://trustless-gateway.link", "https://ipfs.io", "https://dweb.link")

SLOW_SECONDS = 15.0


def fetch(
    url: str,
    output: Path,
    *,
    gateways: Sequence[str],
    node: str | None,
    allowed_hosts: Sequence[str],
    limits: FetchLimits,
) -> StoredImage:
    """Fetch to `output`, showing progress on a terminal. Raises what `fetch_file` raises."""
    if output.is_dir() or not output.parent.is_dir():
        raise UsageFault(f"{output} can't be written: name a file in a folder that exists")
    nodes: list[Source] = [KuboNode(node)] if node else []
    sources = [*nodes, *map(Gateway, gateways or (() if node else DEFAULT_GATEWAYS))]
    reach = Reach(sources, frozenset(host.lower() for host in allowed_hosts))
    with _bar() as bar, _patience(bar, limits.max_seconds) as progress:
        return fetch_file(url, output, reach, limits, progress=progress)


@contextmanager
def _patience(bar: Progress | None, seconds: float) -> Iterator[Progress]:
    """Say once, when no byte came for a while, that this can be so and how long it is waited."""
    text = (
        f"no byte for {SLOW_SECONDS:.0f} s: gateways may look for providers for a minute and more;"
        f" waiting up to {seconds:.0f} s in all (--timeout)"
    )
    timer = threading.Timer(SLOW_SECONDS, say, (text,), {"err": True})
    timer.daemon = True
    timer.start()

    def heard(done: int, size: int) -> None:
        timer.cancel()
        if bar is not None:
            bar(done, size)

    try:
        yield heard
    finally:
        timer.cancel()


def fetch_report(image: StoredImage) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "cid": image.cid,
        "size_bytes": image.size_bytes,
        "sha256": image.sha256,
        "seconds": image.seconds,
        "sources": list(image.sources),
        "architecture": image.architecture,
        "pcrs": {str(number): value for number, value in sorted(image.pcrs.items())},
    }


def fetch_lines(image: StoredImage) -> list[str]:
    return [
        f"{image.path}  {image.size_bytes} bytes in {image.seconds} s, {image.architecture}",
        f"cid     {image.cid}",
        f"sha256  {image.sha256}",
        *(f"PCR{number}    {value}" for number, value in sorted(image.pcrs.items())),
        f"from    {', '.join(image.sources)}",
    ]


@contextmanager
def _bar() -> Iterator[Progress | None]:
    """A progress bar on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Bar(*columns, console=console, transient=True) as shown:
        task = shown.add_task("fetch", total=None)
        yield lambda done, size: shown.update(task, completed=done, total=size)
