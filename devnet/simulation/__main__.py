"""`python -m devnet.simulation SEEDS`: storms by the hundred, and what they found.

python -m devnet.simulation 1000            seeds 1 to 1000, on all cores
python -m devnet.simulation 1 --seed 42     that one seed; --trace prints every event
python -m devnet.simulation 100 --wire      with JSON-RPC, nonces and fees between agent and chain
python -m devnet.simulation 100 --market marketv1    on Marlin's market, over JSON-RPC
python -m devnet.simulation 100 --hosts 2   two hosts, cut off, and a database that forgets
python -m devnet.simulation 100 --days 3    jobs that live up to three days, most of it in peace
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from devnet.simulation.marketv1.storm import MarketV1Storm
from devnet.simulation.pair import PairStorm
from devnet.simulation.scenario import scenario
from devnet.simulation.storm import Result, Storm, quiet
from devnet.simulation.watch import NAMES


def storm_of(
    seed: int,
    jobs: int,
    *,
    wire: bool,
    market: str,
    hosts: int = 1,
    days: float = 0.0,
    trace: bool = False,
) -> Storm:
    """The storm of a seed on a market; on MarketV1 there is always JSON-RPC between."""
    if hosts == 2:
        return PairStorm(scenario(seed, jobs, days=days), trace=trace)
    if market == "marketv1":
        return MarketV1Storm(scenario(seed, jobs, wire=True, days=days), trace=trace)
    return Storm(scenario(seed, jobs, wire=wire, days=days), trace=trace)


def play(
    seed: int,
    jobs: int,
    *,
    wire: bool = False,
    market: str = "registry",
    hosts: int = 1,
    days: float = 0.0,
) -> Result:
    """One run, in whichever process."""
    quiet()
    return storm_of(seed, jobs, wire=wire, market=market, hosts=hosts, days=days).run()


def play_all(
    seeds: Sequence[int],
    jobs: int,
    processes: int,
    *,
    wire: bool = False,
    market: str = "registry",
    hosts: int = 1,
    days: float = 0.0,
) -> Iterator[Result]:
    """All runs, in the order of their seeds."""
    one = partial(play, jobs=jobs, wire=wire, market=market, hosts=hosts, days=days)
    if processes == 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(one, seeds, chunksize=4)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when an invariant was violated."""
    chosen = _parser().parse_args(arguments)
    seeds = range(chosen.seed, chosen.seed + chosen.seeds)
    if chosen.trace:
        return _trace(chosen)
    begun, results = time.monotonic(), []
    how = {name: getattr(chosen, name) for name in ("wire", "market", "hosts", "days")}
    for result in play_all(seeds, chosen.jobs, chosen.processes, **how):
        results.append(result)
        for line in failure(result, chosen.jobs, **how):
            _say(line)
    for line in summary(results, chosen.jobs, time.monotonic() - begun):
        _say(line)
    return 1 if any(result.violations for result in results) else 0


def failure(
    result: Result,
    jobs: int,
    *,
    wire: bool = False,
    market: str = "registry",
    hosts: int = 1,
    days: float = 0.0,
) -> Iterator[str]:
    """What a run violated, and the line that plays it again."""
    if result.violations:
        how = f"--seed {result.seed} --jobs {jobs}{' --wire' if wire else ''}"
        how += "" if hosts == 1 else f" --hosts {hosts}"
        how += f" --days {days:g}" if days else ""
        how += "" if market == "registry" else f" --market {market}"
        again = f"python -m devnet.simulation 1 {how}"
        yield f"seed {result.seed} violates; again: {again}"
        yield from (f"  {violation}" for violation in result.violations[:10])


def summary(results: Sequence[Result], jobs: int, seconds: float) -> Iterator[str]:
    """Runs, simulated time, faults by kind, what the starts came to, violations by invariant."""
    faults, judged, broken = Counter[str](), Counter[str](), Counter[str]()
    for result in results:
        faults.update(result.faults)
        judged.update(result.judged)
        broken.update(violation.name for violation in result.violations)
    simulated = sum(result.seconds for result in results)
    machines = sum(result.machines for result in results)
    yield f"{len(results)} runs of {jobs} jobs, {simulated / 86400:.1f} days in {seconds:.0f} s"
    served = sum(result.job_days for result in results)
    transactions = sum(result.transactions for result in results)
    yield f"{served:.1f} job-days, {machines} instances, {transactions} transactions"
    yield "faults:"
    yield from (f"  {count:7d}  {kind}" for kind, count in sorted(faults.items()) if count)
    yield "assignments:"
    yield from (f"  {count:7d}  {what}" for what, count in sorted(judged.items()) if count)
    yield f"violations: {sum(broken.values())}"
    yield from (f"  {broken[name]:7d}  {name}" for name in NAMES if broken[name])


def _trace(chosen: argparse.Namespace) -> int:
    quiet()
    how = {name: getattr(chosen, name) for name in ("wire", "market", "hosts", "days")}
    storm = storm_of(chosen.seed, chosen.jobs, **how, trace=True)
    result = storm.run()
    for line in (*storm.lines, *failure(result, chosen.jobs, **how)):
        _say(line)
    return 1 if result.violations else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devnet.simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("seeds", type=int, nargs="?", default=100, help="how many (100)")
    parser.add_argument("--seed", type=int, default=1, help="the first one (1)")
    parser.add_argument("--jobs", type=int, default=100, help="jobs a run (100)")
    cores = os.cpu_count() or 1
    parser.add_argument("--processes", type=int, default=cores, help=f"at once ({cores})")
    parser.add_argument("--wire", action="store_true", help="over JSON-RPC, with nonces and fees")
    parser.add_argument(
        "--market", choices=("registry", "marketv1"), default="registry", help="which one's model"
    )
    parser.add_argument("--hosts", type=int, choices=(1, 2), default=1, help="of the provider")
    parser.add_argument("--days", type=float, default=0.0, help="that a job lives at most")
    parser.add_argument("--trace", action="store_true", help="print one run's events")
    return parser


if __name__ == "__main__":
    sys.exit(main())
