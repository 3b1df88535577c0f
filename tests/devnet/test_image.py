"""Images made from a folder measure the same everywhere and are what a reader expects."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devnet.image import Entry, build_image, cpio
from enclave.eif.measure import measure_file
from faults import UsageFault

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    (root / "bin").mkdir(parents=True)
    (root / "bin/run").write_text("#!/bin/sh\n")
    (root / "bin/run").chmod(0o755)
    (root / "ünï.txt").write_bytes(b"odd")
    (root / "link").symlink_to("bin/run")
    return root


def _measured(image: bytes, path: Path) -> dict[int, str]:
    path.write_bytes(image)
    return dict(measure_file(path).pcrs)


def test_build__same_folder_elsewhere_and_later__same_bytes(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere/app"
    shutil.copytree(folder, copy, symlinks=True)
    os.utime(copy / "bin/run", (1, 1))
    assert build_image(folder) == build_image(copy)


def test_build__one_byte_of_a_file__changes_pcr0_and_pcr2_alone(
    folder: Path, tmp_path: Path
) -> None:
    before = _measured(build_image(folder), tmp_path / "a.eif")
    (folder / "ünï.txt").write_bytes(b"OdD")
    after = _measured(build_image(folder), tmp_path / "b.eif")
    assert {n for n in before if before[n] != after[n]} == {0, 2}


def test_build__cmdline__changes_pcr0_and_pcr1(folder: Path, tmp_path: Path) -> None:
    before = _measured(build_image(folder), tmp_path / "a.eif")
    after = _measured(build_image(folder, cmdline="quiet"), tmp_path / "b.eif")
    assert {n for n in before if before[n] != after[n]} == {0, 1}


def test_build__pipe_in_the_folder__is_refused_by_name(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageFault, match="pipe"):
        build_image(folder)


def test_build__no_folder__is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="not a folder"):
        build_image(tmp_path / "nothing")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="the cpio program is not installed")
def test_cpio__the_real_program__lists_the_same_names() -> None:
    archive = cpio([Entry("a", 0o100644, b"12345"), Entry("d", 0o040755, b"")])
    listed = subprocess.run(
        ["cpio", "-it", "--quiet"], input=archive, capture_output=True, check=True
    )
    assert listed.stdout.split() == [b"a", b"d"]
