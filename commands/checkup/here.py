"""What `doctor` checks of this machine: its files and disk, the way to images, the service."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from agent.config.units import show_bytes
from commands.checkup.patient import Finding, Patient

FREE_DISK_IMAGES = 2


def file(patient: Patient) -> Finding:
    mode = stat.S_IMODE(patient.path.stat().st_mode)
    if mode & stat.S_IRWXO:
        return Finding(
            "configuration", "warn", f"{patient.path} can be read by all (mode {mode:04o})",
            f"chmod 600 {patient.path}",
        )  # fmt: skip
    return Finding("configuration", "ok", f"{patient.path} is sound")


async def ipfs(patient: Patient) -> list[Finding]:
    from commands.gateways import answering

    images = patient.config.images
    good, other, dead = await answering(images.gateways)
    if good:
        return [Finding("images", "ok", f"{len(good)} of {len(images.gateways)} gateways serve")]
    if other or images.kubo_api:
        text = "no gateway has the test block" if other else "no gateway; kubo_api alone"
        return [Finding("images", "warn", text, "add a public gateway to images.gateways")]
    text = f"no answer: {', '.join(dead) or 'none configured'}"
    return [Finding("images", "fail", text, "check images.gateways and this machine's network")]


async def disk(patient: Patient) -> list[Finding]:
    store = patient.config.image_store
    place = next(p for p in (store, *store.absolute().parents) if p.exists())
    if not os.access(place, os.W_OK):
        todo = "run this as the agent's user, or fix the owner"
        return [Finding("disk", "fail", f"{place} cannot be written", todo)]
    free = shutil.disk_usage(place).free
    need = FREE_DISK_IMAGES * patient.config.images.max_size_bytes
    if free < need:
        todo = f"free {show_bytes((need - free) >> 20 << 20)}, or lower images.max_size"
        return [Finding("disk", "warn", f"{free / 2**30:.1f} GiB free at {place}", todo)]
    return [Finding("disk", "ok", f"{free / 2**30:.1f} GiB free at {place}")]


async def journal(patient: Patient) -> list[Finding]:
    from commands.journal import open_reader

    if not patient.config.journal_file.exists():
        return [Finding("journal", "ok", "there is none yet; the agent makes it")]
    with open_reader(patient.config) as reader:
        return [Finding("journal", "ok", f"opens, {len(reader.jobs())} jobs in it")]


async def systemd(patient: Patient) -> list[Finding]:
    from commands.service import outdated

    old = outdated(Path("/"))
    todo = "oyster-provider service install"
    if old is None:
        return [Finding("service", "warn", "no systemd unit is installed", todo)]
    if old:
        return [Finding("service", "warn", f"not this version's: {', '.join(old)}", todo)]
    return [Finding("service", "ok", "unit, account and folders are this version's")]
