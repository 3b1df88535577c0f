"""What is installed is the tree below one name, the same bytes each time; it starts only itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import program

ROOT = Path(__file__).parents[2]
FOLDERS = ("agent", "cloud", "commands", "contracts", "devnet", "enclave", "systemd")
EPOCH = "1700000000"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("wheel"),  # built once for all of them
]


def _build(where: Path, *words: str, source: Path = ROOT) -> Path:
    """One build by the front end; the last file that it made."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *words, "-o", str(where), str(source)],
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        capture_output=True,
        check=True,
    )
    (made,) = where.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("sdist"), "--sdist")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with nothing but what the wheel puts there."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture
def impostors(tmp_path: Path) -> Path:
    """Modules with our names, which say so when anybody imports them."""
    for name in ("cli", "faults", "program", *FOLDERS):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the other {name}')\n")
    return tmp_path


def _kept(name: str) -> bool:
    return "__pycache__" not in name and not name.endswith(("/", ".part"))


def test_wheel__what_it_installs__is_one_package_and_its_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"oyster_provider"}


def test_wheel__every_file_of_the_tree_that_runs__is_in_it(installed: Path) -> None:
    wanted = {
        str(file.relative_to(ROOT))
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and _kept(str(file))
    }
    package = installed / "oyster_provider"
    there = {str(file.relative_to(package)) for file in package.rglob("*") if file.is_file()}
    assert wanted - there == set()
    assert {"cli.py", "faults.py", "program.py", "commit.txt"} <= there


def test_wheel__built_from_the_sdist__is_the_one_of_the_tree(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = _build(tmp_path / "again", "--wheel", source=source)
    assert again.read_bytes() == wheel.read_bytes()


def test_sdist__built_twice__is_the_same_bytes(sdist: Path, tmp_path: Path) -> None:
    assert _build(tmp_path, "--sdist").read_bytes() == sdist.read_bytes()


def test_sdist__what_makes_a_release__is_in_it(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"constraints.txt", "Makefile", "tests/conftest.py", "docs/tutorial.md"} <= names


def _run(
    installed: Path, impostors: Path, *command: str, **more: str
) -> subprocess.CompletedProcess[str]:
    places = f"{impostors}{os.pathsep}{installed}"
    return subprocess.run(
        command, cwd=impostors, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": places, **more},
    )  # fmt: skip


@pytest.mark.parametrize("how", ["script", "by path"])
def test_program__others_of_our_names_come_first__is_itself(
    installed: Path, impostors: Path, how: str
) -> None:
    entry = "from oyster_provider.__main__ import main; main()"
    words = ["-c", entry] if how == "script" else [str(installed / "oyster_provider/__main__.py")]
    done = _run(installed, impostors, sys.executable, *words, "--version")
    commit = (installed / "oyster_provider/commit.txt").read_text().strip()
    assert done.stdout == f"oyster-provider {program.version()} (commit {commit})\n", done.stderr


def test_devnet__from_a_wheel_among_impostors__its_processes_are_ours(
    installed: Path, impostors: Path
) -> None:
    door = str(installed / "oyster_provider/__main__.py")
    folder = str(impostors / "market")
    up = _run(
        installed, impostors, sys.executable, door, "devnet", "up", "--detach", "--dir", folder
    )
    try:
        assert up.returncode == 0, up.stderr
        status = _run(
            installed, impostors, sys.executable, door, "devnet", "status", "--dir", folder
        )
        assert status.returncode == 0, status.stderr
    finally:
        down = _run(installed, impostors, sys.executable, door, "devnet", "down", "--dir", folder)
    assert down.returncode == 0, down.stderr
