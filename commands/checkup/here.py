"""What `doctor` checks of this machine: its files and disk, the way to images, the service."""

from __future__ import annotations

import shutil
import stat
import tempfile
from pathlib import Path
from urllib.request import getproxies

from agent.config.units import show_bytes
from commands.checkup import certificates
from commands.checkup.patient import Finding, Patient, no_journal
from commands.terminal import how_many

FREE_DISK_IMAGES = 2
BUGS_SECONDS = 24 * 3600.0


def file(patient: Patient) -> Finding:
    mode = stat.S_IMODE(patient.path.stat().st_mode)
    if mode & stat.S_IRWXO:
        can = "written" if mode & stat.S_IWOTH else "read"
        return Finding(
            "configuration", "warn", f"{patient.path} can be {can} by all (mode {mode:04o})",
            f"chmod 600 {patient.path}",
        )  # fmt: skip
    return Finding("configuration", "ok", f"{patient.path} is sound")


async def ipfs(patient: Patient) -> list[Finding]:
    """Each source of images is asked as a fetch asks it; one that serves is enough to serve."""
    from agent.wiring.adapters import image_sources
    from commands.gateways import ask_all

    asked = await ask_all(image_sources(patient.config))
    good = sum(one.serves for one in asked)
    text = f"{good} of {len(asked)} sources serve"
    if good:
        found = [Finding("images", "ok", text)]
    elif any(one.answered for one in asked):
        todo = "add a public gateway to images.gateways"
        found = [Finding("images", "warn", f"{text}: none has the test block", todo)]
    else:
        todo = "check images.gateways and this machine's network"
        todo += "; images are fetched directly, through no proxy" if getproxies() else ""
        found = [Finding("images", "fail", text, todo)]
    bad = [
        Finding(one.name, "warn", one.fault, _todo(one.fault)) for one in asked if not one.serves
    ]
    return [*found, *bad]


def _todo(fault: str) -> str:
    others = "take it out of [images], or see what it says; the others serve meanwhile"
    return certificates.about(fault, "SSL_CERT_FILE") or others


async def bugs(patient: Patient) -> list[Finding]:
    """Effects that ended in a way nobody foresaw, of the last day."""
    from commands.journal import open_reader

    if not patient.config.journal.url_file and not patient.config.journal_file.exists():
        return []
    if none := no_journal("bugs", patient):
        return none
    since = patient.clock.now() - BUGS_SECONDS
    with open_reader(patient.config) as reader:
        last = reader.last("effect.bug").values()
    found = sorted((one for one in last if one.at >= since), key=lambda one: -one.at)
    if not found:
        return [Finding("bugs", "ok", "no effect ended by a bug in a day")]
    text = f"{how_many(len(found), 'job')} in a day, the last job {found[0].job}: {found[0].text}"
    todo = "it is tried again by itself; please report it with the log's trace (effect.bug)"
    return [Finding("bugs", "warn", text, todo)]


async def disk(patient: Patient) -> list[Finding]:
    store = patient.config.image_store
    place = next(p for p in (store, *store.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".doctor-"):
            pass
    except OSError as error:
        todo = "run this as the agent's user, fix the owner, or set state_dir elsewhere"
        text = f"nothing can be made below {place}, for {store}: {error.strerror}"
        return [Finding("disk", "fail", text, todo)]
    free = shutil.disk_usage(place).free
    need = FREE_DISK_IMAGES * patient.config.images.max_size_bytes
    if free < need:
        todo = f"free {show_bytes((need - free) >> 20 << 20)}, or lower images.max_size"
        return [Finding("disk", "warn", f"{free / 2**30:.1f} GiB free at {place}", todo)]
    return [Finding("disk", "ok", f"{free / 2**30:.1f} GiB free at {place}")]


async def journal(patient: Patient) -> list[Finding]:
    from agent.wiring.journal import refuse_another_s
    from commands.journal import open_reader

    server = patient.config.journal.url_file
    if not server and not patient.config.journal_file.exists():
        return [Finding("journal", "ok", "there is none yet; the agent makes it")]
    with open_reader(patient.config) as reader:
        if patient.provider is not None:
            refuse_another_s(reader.engine, patient.config, patient.provider)
        count = len(reader.jobs())
    file = patient.config.journal_file
    if server and not count and file.exists():
        text = f"opens and has nothing in it, while {file} has what this host did alone"
        todo = "end the agents of all hosts, then oyster-provider journal copy"
        return [Finding("journal", "warn", text, todo)]
    return [Finding("journal", "ok", f"opens, {how_many(count, 'job')} in it")]


async def systemd(patient: Patient) -> list[Finding]:
    from commands.service import outdated

    old = outdated(Path("/"))
    todo = "oyster-provider service install"
    if old is None:
        return [Finding("service", "warn", "no systemd unit is installed", todo)]
    if old:
        return [Finding("service", "warn", f"not this version's: {', '.join(old)}", todo)]
    return [Finding("service", "ok", "unit, account and folders are this version's")]
