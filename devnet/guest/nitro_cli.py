"""Stands for nitro-cli: its JSON, its error texts, its exit codes; a process for an enclave.

Shapes and texts: AWS Nitro Enclaves User Guide, "Nitro CLI reference" and "error codes", and
aws-nitro-enclaves-cli (common/json_output.rs, common/document_errors.rs). What a real enclave
would refuse to boot is refused here too; what boots is measured for real and runs nothing.

Hosts ask every few seconds, fifty of them in a crowd, each time a process: what `describe-enclaves`
does not need is imported where it is used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from devnet.guest import allocator, place

VERSION = "1.4.2"
_MIB = 1 << 20
# run-enclave's own rule: memory at least four times the image.
_MEMORY_FACTOR = 4
_KILLED_SECONDS = 5.0
_CID_ANY = 0xFFFFFFFF
_CONSOLE_SECONDS = 0.1
_HELP = "https://docs.aws.amazon.com/enclaves/latest/user/cli-errors.html"
_UNSPECIFIED = (
    "Unspecified error. This is used as a catch-all error and should not be used in the code."
)
_ERRORS = {
    "E19": "File operation failure. Such error appears when the system fails to perform the "
    "requested file operations, such as opening the EIF file when launching an enclave, or seeking "
    "to a specific offset in the EIF file, or writing to the log file.\nFile: '{0}', failing "
    "operation: '{1}'.",
    "E22": "Insufficient CPUs available in the pool. User provided `{0}` is {1}, which is more "
    "than the configured CPU pool size.\nYou can increase the CPU pool size by editing the "
    "`cpu_count` value from '/etc/nitro_enclaves/allocator.yaml' and then enable the "
    "nitro-enclaves-allocator.service.",
    "E26": "Insufficient memory requested. User provided `{0}` is {1} MB, but based on the EIF "
    "file size, the minimum memory should be {2} MB",
    "E27": "Insufficient memory available. User provided `{0}` is {1} MB, which is more than the "
    "available hugepage memory.\nYou can increase the available memory by editing the "
    "`memory_mib` value from '/etc/nitro_enclaves/allocator.yaml' and then enable the "
    "nitro-enclaves-allocator.service.",
    "E29": "Ioctl failure. Such error is used as a general ioctl error and appears whenever an "
    "ioctl fails. In this case, the error backtrace provides detailed information on what "
    "specifically failed during the ioctl.",
    "E36": "Enclave boot failure. Such error appears when attempting to receive the `ready` signal "
    "from a freshly booted enclave. It arises in several contexts, for instance, when the enclave "
    "is booted from an invalid EIF file and the enclave process immediately exits, failing to "
    "submit the `ready` signal. In this case, the error backtrace provides detailed information "
    "on what specifically failed during the enclave boot process.",
    "E39": "Enclave process connection failure. Such error appears when the enclave manager "
    "fails to connect to at least one enclave process for retrieving the description information.",
    "E44": "Enclave console connection failure. Such error appears when the Nitro CLI process "
    "fails to establish a connection to a running enclave's console.",
    "E40": "Socket path not found. Such error appears when the Nitro CLI process fails to build "
    "the corresponding socket path starting from a given enclave ID.",
}


def main() -> None:
    """As the wrapper was called."""
    options = _parser().parse_args()
    options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nitro-cli")
    parser.add_argument("--version", action="version", version=f"Nitro CLI {VERSION} (simulated)")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run-enclave")
    run.add_argument("--eif-path", required=True)
    run.add_argument("--cpu-count", type=int, required=True)
    run.add_argument("--memory", type=int, required=True)
    run.add_argument("--enclave-cid", type=int)
    run.add_argument("--enclave-name")
    run.add_argument("--debug-mode", action="store_true")
    run.set_defaults(run=_run)
    describe = commands.add_parser("describe-enclaves")
    describe.set_defaults(run=_describe)
    end = commands.add_parser("terminate-enclave")
    which = end.add_mutually_exclusive_group(required=True)
    which.add_argument("--enclave-id")
    which.add_argument("--all", action="store_true")
    end.set_defaults(run=_terminate)
    console = commands.add_parser("console")
    console.add_argument("--enclave-id", required=True)
    console.set_defaults(run=_console)
    eif = commands.add_parser("describe-eif")
    eif.add_argument("--eif-path", required=True)
    eif.set_defaults(run=_describe_eif)
    return parser


# Enclaves are known by one file each, written by the enclave's own process.


def enclaves() -> list[dict[str, Any]]:
    """Those that live; the file of one that died is taken away."""
    found = []
    for path in sorted((place.root() / "run/nitro_enclaves").glob("*.json")):
        try:
            one = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if place.start_time(one["ProcessID"]) == one["start"]:
            found.append(one)
        else:
            path.unlink(missing_ok=True)
    return found


def _describe(_: argparse.Namespace) -> None:
    answer = _fault("describe")
    if answer == "empty":  # seen: a list without an enclave that runs
        _print([])
        return
    if answer:
        _fail(answer)
    _print([{k: v for k, v in one.items() if k != "start"} for one in enclaves()])


def _run(options: argparse.Namespace) -> None:
    _check_device()
    sys.stderr.write("Start allocating memory...\n")
    cpus = _check_resources(options)
    code = _fault("run")
    if code:
        _fail(code, detail="Waiting on enclave to boot failed with error VsockTimeoutError")
    _check_cid(options.enclave_cid)
    name = options.enclave_name or Path(options.eif_path).stem
    taken = {one["EnclaveName"] for one in enclaves()}
    order = {
        "name": f"{name}_{len(taken)}" if name in taken else name,
        "id": f"{place.machine()['instance_id']}-enc{os.urandom(8).hex()}",
        "cid": options.enclave_cid or max([15] + [one["EnclaveCID"] for one in enclaves()]) + 1,
        "cpus": cpus,
        "memory_mib": options.memory,
        "debug": options.debug_mode,
        "image": str(options.eif_path),
    }
    runner = _runner(order)
    said = _boot(order, runner)
    if "error" in said:
        _fail("E36", detail=said["error"])
    if runner == "enclave" and place.machine().get("nitro") is not None:
        _say_no_kernel(order)
    sys.stderr.write(
        f"Started enclave with enclave-cid: {order['cid']}, memory: {options.memory} MiB, "
        f"cpu-ids: {cpus}\n"
    )
    kept = ("EnclaveName", "EnclaveID", "ProcessID", "EnclaveCID", "NumberOfCPUs", "CPUIDs")
    _print({key: said[key] for key in (*kept, "MemoryMiB")})


def _boot(order: dict[str, Any], runner: str) -> dict[str, Any]:
    """Start the enclave's process; what it says when it is ready, or why it is not."""
    import subprocess

    log = _log()
    home = Path(__file__).parent.parent.parent
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", f"devnet.guest.{runner}", json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=out,
            env={**os.environ, "PYTHONPATH": str(home)},
        )
    assert child.stdout is not None
    line = child.stdout.readline()
    try:
        return dict(json.loads(line))
    except ValueError:
        return {"error": "Waiting on enclave to boot failed with error VsockReceivingError"}


def _runner(order: dict[str, Any]) -> str:
    """What runs it: QEMU, where the devnet is told to and the image brings a kernel."""
    if place.machine().get("nitro") is None:
        return "enclave"
    from devnet.nitro.kernel import brings_kernel

    try:
        return "booted" if brings_kernel(Path(order["image"])) else "enclave"
    except OSError:
        return "enclave"  # which says why it can't be read


def _say_no_kernel(order: dict[str, Any]) -> None:
    """A devnet of enclaves that boot has one that doesn't: into the log, and to who looks at it."""
    from devnet import notices

    machine = place.machine()
    line = (
        f"an enclave on {machine['instance_id']} is a simulated process: its image brings no "
        "kernel that boots; 'oyster-provider devnet image build --boot qemu' makes one that does"
    )
    with _log().open("a") as out:
        out.write(f"{order['id']}: {line}\n")
    notices.say(Path(machine["notices"]), line)


def _log() -> Path:
    log = place.root() / "var/log/nitro_enclaves/nitro_enclaves.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


def _check_device() -> None:
    if not (place.root() / "dev/nitro_enclaves").exists():
        _fail("E19", "/dev/nitro_enclaves", "Open")


def _check_resources(options: argparse.Namespace) -> list[int]:
    """The CPUs that it gets. Ends with nitro-cli's error when pool, memory or image don't fit."""
    running, root = enclaves(), place.root()
    used = {cpu for one in running for cpu in one["CPUIDs"]}
    free = [cpu for cpu in allocator.read_pool(root) if cpu not in used]
    if options.cpu_count > len(free):
        _fail("E22", "cpu-count", options.cpu_count)
    try:
        size = Path(options.eif_path).stat().st_size
    except OSError:
        _fail("E19", options.eif_path, "Open")
    least = -(-size * _MEMORY_FACTOR // _MIB)
    if options.memory < least:
        _fail("E26", "memory", options.memory, least)
    if options.memory > allocator.read_pages(root) - sum(one["MemoryMiB"] for one in running):
        _fail("E27", "memory", options.memory)
    return free[: options.cpu_count]


def _console(options: argparse.Namespace) -> None:
    """What the kernel of a debug enclave says, until it ends; of another none can be had."""
    found = [one for one in enclaves() if one["EnclaveID"] == options.enclave_id]
    if not found or found[0]["Flags"] != "DEBUG_MODE":
        _fail("E44")
    sys.stdout.write("Connecting to the console for enclave {EnclaveCID}...\n".format(**found[0]))
    sys.stdout.write("Successfully connected to the console.\n")
    said = place.console(options.enclave_id)
    if not said.exists():
        sys.stdout.write("[    0.000000] simulated\n")
    at = 0
    while place.start_time(found[0]["ProcessID"]) == found[0]["start"]:
        at += _pass_on(said, at)
        time.sleep(_CONSOLE_SECONDS)


def _pass_on(said: Path, at: int) -> int:
    """What a booted enclave's kernel said since; how many bytes that is."""
    data = said.read_bytes()[at:] if said.exists() else b""
    sys.stdout.write(data.decode(errors="replace"))
    sys.stdout.flush()
    return len(data)


def _check_cid(cid: int | None) -> None:
    """The driver takes none that is reserved, too long or another enclave's (ne_misc_dev.c)."""
    if cid is None:
        return
    taken = {one["EnclaveCID"] for one in enclaves()}
    if not place.PARENT_CID < cid < _CID_ANY or cid in taken:
        _fail("E29", detail=f"Start enclave ioctl failed: invalid CID {cid}")


def _terminate(options: argparse.Namespace) -> None:
    wanted = [one for one in enclaves() if options.all or one["EnclaveID"] == options.enclave_id]
    if not wanted and not options.all:
        _fail("E40")
    for one in wanted:
        _set_state(one, "TERMINATING")
        if _fault("terminate"):  # it hangs in that state: its process answers nobody
            _fail("E39")
        time.sleep(place.machine()["timings"]["terminate"])
        _kill(one)
        sys.stderr.write(f"Successfully terminated enclave {one['EnclaveID']}.\n")
        shown = {key: one[key] for key in ("EnclaveName", "EnclaveID")}
        _print({**shown, "Terminated": True})


def _set_state(one: dict[str, Any], state: str) -> None:
    path = place.root() / f"run/nitro_enclaves/{one['EnclaveID']}.json"
    place.write_whole(path, json.dumps({**one, "State": state}))


def _kill(one: dict[str, Any]) -> None:
    until = time.monotonic() + _KILLED_SECONDS
    try:
        os.kill(one["ProcessID"], 9)
    except ProcessLookupError:
        return
    while place.start_time(one["ProcessID"]) == one["start"] and time.monotonic() < until:
        time.sleep(0.005)
    (place.root() / f"run/nitro_enclaves/{one['EnclaveID']}.json").unlink(missing_ok=True)


def _describe_eif(options: argparse.Namespace) -> None:
    import subprocess

    home = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "devnet.guest.enclave", "--describe", str(options.eif_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(home)},
    )
    if done.returncode:
        _fail("E19", options.eif_path, "Read")
    sys.stdout.write(done.stdout)


def _fault(command: str) -> str | None:
    """The E-code with which this call is to fail, taken off the list."""
    faults = place.faults()
    codes = list(faults.get(command, []))
    if not codes:
        return None
    place.set_faults({**faults, command: codes[1:]})
    return str(codes[0])


def _fail(code: str, *info: object, detail: str = "") -> NoReturn:
    """Say it the way nitro-cli does, backtrace in a log file of its own, and exit."""
    text = _ERRORS.get(code, _UNSPECIFIED)
    _say_error(code, text.format(*info), detail or f"simulated {code}")
    if code not in ("E39", "E40"):
        sys.stderr.write("Failed connections: 1\n")
        _say_error("E39", _ERRORS["E39"], "Failed to connect to 1 enclave processes")
    sys.exit(1)


def _say_error(code: str, text: str, detail: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    name = f"err{stamp}.{time.time_ns() % 10**9:09d}+00:00.log"
    log = place.root() / "var/log/nitro_enclaves" / name
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(
        f"  Action: Run Enclave\n  Subactions:\n    Failed to execute command `Run`\n    {detail}\n"
        f"  Root error file: src/enclave_proc/resource_manager.rs\n  Version: {VERSION}\n"
    )
    sys.stderr.write(
        f"[ {code} ] {text}\n\nFor more details, please visit {_HELP}#{code}\n\n"
        "If you open a support ticket, please provide the error log found at "
        f'"/var/log/nitro_enclaves/{name}"\n'
    )


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
