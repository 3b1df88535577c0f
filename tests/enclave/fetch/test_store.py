from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from enclave.cid import DAG_PB, SHA2_256, Cid, cid_of
from enclave.eif.signature import Signer
from enclave.fetch.store import Busy, ImageStore, StoredImage
from faults import Fault, Refused, RetryLater

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
CIDS = [cid_of(b"%d" % number) for number in range(6)]
SIGNER = Signer("CN=builder", "secp384r1", "11" * 32, 1_000.0, 2_000.0)
PCRS = {0: "ab" * 48, 1: "cd" * 48, 2: "ef" * 48}


def keep(store: ImageStore, cid: Cid, size: int = 100, *, sha256: str = "00" * 32) -> StoredImage:
    with store.lock(cid):
        part = store.reserve(cid, size, 0)
        part.write_bytes(bytes(size))
        image = StoredImage(
            str(cid), part, size, sha256, PCRS, "x86_64", ("a gateway",), 1.5, SIGNER
        )
        return store.add(cid, image)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path, quota_bytes=300)


def test_get__what_was_added__comes_back_whole_in_another_process(
    store: ImageStore, tmp_path: Path
) -> None:
    kept = keep(store, CIDS[0])
    assert ImageStore(tmp_path, quota_bytes=300).get(CIDS[0]) == kept
    assert kept.path == store.path(CIDS[0])
    assert kept.path.stat().st_size == 100


def test_get__another_text_of_the_cid__is_the_same_image(store: ImageStore) -> None:
    old = Cid(DAG_PB, SHA2_256, CIDS[0].digest, version=0)
    kept = keep(store, old.canonical)
    assert store.get(old) == replace(kept, cid=str(old))


def test_get__absent_or_damaged__is_none(store: ImageStore) -> None:
    assert store.get(CIDS[0]) is None
    path = keep(store, CIDS[0]).path
    os.truncate(path, 99)
    assert store.get(CIDS[0]) is None
    sidecar = keep(store, CIDS[1]).path.with_suffix(".json")
    for text in ("", "{}", "[]", "null", '{"size_bytes": 100}', "\x00\xff"):
        sidecar.write_text(text)
        assert store.get(CIDS[1]) is None
        assert store.images() == []


def test_distrust__bytes_altered_in_place__are_gone_and_the_pin_stays(store: ImageStore) -> None:
    right = hashlib.sha256(bytes(100)).hexdigest()
    for altered in (b"x" * 100, None):
        kept = keep(store, CIDS[0], sha256=right)
        assert store.claim("job", CIDS[0])
        store.distrust(CIDS[0])
        assert store.get(CIDS[0]) == kept, "it is what was measured"
        kept.path.unlink()
        if altered is not None:
            kept.path.write_bytes(altered)
        store.distrust(CIDS[0])
        assert store.get(CIDS[0]) is None
        assert not kept.path.exists()
        assert store.pins() == {"job": str(CIDS[0])}
    store.distrust(CIDS[1])
    with store.lock(CIDS[0]), pytest.raises(Busy):
        store.distrust(CIDS[0])


def test_reserve__over_quota__evicts_the_least_recently_used(store: ImageStore) -> None:
    for number, cid in enumerate(CIDS[:3]):
        os.utime(keep(store, cid).path.with_suffix(".json"), (number, number))
    assert store.get(CIDS[0])
    keep(store, CIDS[3])
    assert [store.get(cid) is not None for cid in CIDS[:4]] == [True, False, True, True]


def test_reserve__all_in_use__says_so_and_evicts_nothing(store: ImageStore) -> None:
    for number, cid in enumerate(CIDS[:3]):
        keep(store, cid)
        assert store.claim(f"job/{number}", cid)
    with pytest.raises(RetryLater, match="jobs use the other images"), store.lock(CIDS[3]):
        store.reserve(CIDS[3], 100, 0)
    assert len(store.images()) == 3
    store.release("job/1")
    keep(store, CIDS[3])
    assert store.get(CIDS[1]) is None


def test_reserve__no_room__says_which_bound_is_in_the_way(
    store: ImageStore, tmp_path: Path
) -> None:
    with pytest.raises(RetryLater, match=rf"at {tmp_path}.* left, of which {1 << 60} stay"):
        store.reserve(CIDS[0], 10, 1 << 60)
    keep(store, CIDS[0])
    store.pin("job", CIDS[0])
    with pytest.raises(RetryLater, match=r"100 bytes of the 300.*quota"):
        store.reserve(CIDS[1], 250, 0)


def test_reserve__larger_than_the_store__is_refused_and_evicts_nothing(store: ImageStore) -> None:
    keep(store, CIDS[0])
    with pytest.raises(Refused, match="raise the quota"), store.lock(CIDS[1]):
        store.reserve(CIDS[1], 301, 0)
    assert store.get(CIDS[0])


def test_reserve__disk_that_must_stay_free__is_kept_free(store: ImageStore) -> None:
    with pytest.raises(RetryLater, match="disk is full"), store.lock(CIDS[0]):
        store.reserve(CIDS[0], 100, 1 << 60)
    assert not store.part(CIDS[0]).exists()


def test_reserve__another_download_under_way__counts_as_used(store: ImageStore) -> None:
    with store.lock(CIDS[0]), store.lock(CIDS[1]):
        store.reserve(CIDS[0], 200, 0)
        with pytest.raises(RetryLater):
            store.reserve(CIDS[1], 200, 0)


def test_lock__taken__is_busy_and_free_afterwards(store: ImageStore, tmp_path: Path) -> None:
    with store.lock(CIDS[0]):
        with pytest.raises(Busy), ImageStore(tmp_path, quota_bytes=1).lock(CIDS[0]):
            pass
        with pytest.raises(Busy):
            store.claim("job", CIDS[0])
    with store.lock(CIDS[0]):
        pass


def fail(store: ImageStore, cid: Cid, fault: Fault, size: int = 100) -> None:
    with pytest.raises(type(fault)), store.lock(cid):  # noqa: PT012 - a part, then the fault
        store.reserve(cid, size, 0)
        raise fault


def test_lock__a_refused_download__leaves_nothing(store: ImageStore) -> None:
    fail(store, CIDS[0], Refused("no image"))
    assert not store.part(CIDS[0]).exists()
    assert store.get(CIDS[0]) is None


def test_lock__a_download_that_was_cut_off__is_there_for_the_next(store: ImageStore) -> None:
    fail(store, CIDS[0], RetryLater("no source"))
    store.part(CIDS[0]).write_bytes(b"half".ljust(100, b"\0"))
    store.sweep()
    with store.lock(CIDS[0]):
        assert store.reserve(CIDS[0], 100, 0).read_bytes().startswith(b"half")
        assert store.reserve(CIDS[0], 101, 0).read_bytes() == bytes(101)
    assert store.get(CIDS[0]) is None


def test_reserve__no_room__parts_that_nobody_writes_go_first(store: ImageStore) -> None:
    kept = keep(store, CIDS[0])
    fail(store, CIDS[1], RetryLater("no source"), 150)
    with store.lock(CIDS[2]):
        store.reserve(CIDS[2], 50, 0)
        keep(store, CIDS[3], 120)
        assert store.part(CIDS[2]).exists()
    assert not store.part(CIDS[1]).exists()
    assert store.get(CIDS[0]) == kept


def test_pin__that_says_so_already__is_not_written_again(store: ImageStore, tmp_path: Path) -> None:
    store.pin("job 1", CIDS[0])
    (file,) = (tmp_path / "pins").iterdir()
    before = file.stat().st_ino
    store.pin("job 1", CIDS[0])
    assert file.stat().st_ino == before
    file.write_bytes(b"\xff")
    store.pin("job 1", CIDS[0])
    store.pin("job 1", CIDS[1])
    assert store.pins() == {"job 1": str(CIDS[1].canonical)}


def test_claim__an_image_that_is_being_evicted__is_there_or_none(store: ImageStore) -> None:
    keep(store, CIDS[0])
    assert store.claim("job 1/2", CIDS[0])
    assert store.pins() == {"job 1/2": str(CIDS[0])}
    assert store.claim("job 2", CIDS[1]) is None
    store.release("job 1/2")
    store.release("never")
    assert store.pins() == {"job 2": str(CIDS[1])}


def full_for(folder: Path, name: str) -> Path:
    """From now on the disk takes no byte of this file of this thread."""
    scratch = folder / f".{name}.{os.getpid()}.{threading.get_native_id()}"
    scratch.symlink_to("/dev/full")
    return scratch


def test_add__disk_without_room_for_its_measurements__is_a_part_that_is_gone_on_from(
    store: ImageStore, tmp_path: Path
) -> None:
    scratch = full_for(tmp_path / "images", f"{CIDS[0]}.json")
    with pytest.raises(RetryLater, match="no inodes left"):
        keep(store, CIDS[0])
    assert not scratch.is_symlink(), "nothing is left of it"
    assert store.part(CIDS[0]).exists()
    assert store.get(CIDS[0]) is None
    assert keep(store, CIDS[0]) == store.get(CIDS[0])


def test_claim__disk_without_room_for_a_pin__is_held_all_the_same(
    store: ImageStore, tmp_path: Path
) -> None:
    kept = keep(store, CIDS[0])
    full_for(tmp_path / "pins", "job")
    assert store.claim("job", CIDS[0]) == kept
    assert store.pins() == {"job": str(CIDS[0])}
    with pytest.raises(RetryLater, match="no room"):
        store.reserve(CIDS[1], 250, 0)
    store.release("job")
    store.reserve(CIDS[1], 250, 0)
    assert store.get(CIDS[0]) is None


def test_pin__that_a_full_disk_did_not_take__is_written_once_there_is_room(
    store: ImageStore, tmp_path: Path
) -> None:
    keep(store, CIDS[0])
    full_for(tmp_path / "pins", "job")
    store.pin("job", CIDS[0])
    assert ImageStore(tmp_path, quota_bytes=300).pins() == {}
    store.release("another")
    assert ImageStore(tmp_path, quota_bytes=300).pins() == {"job": str(CIDS[0])}
    store.release("job")
    store.release("another")
    assert ImageStore(tmp_path, quota_bytes=300).pins() == {}


def test_pins__damaged_one__is_none(store: ImageStore, tmp_path: Path) -> None:
    keep(store, CIDS[0])
    (tmp_path / "pins" / "job").write_bytes(b"\xff")
    assert store.pins() == {}
    store.reserve(CIDS[1], 250, 0)
    assert store.get(CIDS[0]) is None


def test_store__where_no_folder_can_be_made__is_a_fault_that_time_may_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RetryLater, match=r"no store of images .*Not a directory"):
        ImageStore(tmp_path / "file" / "store", quota_bytes=300)


def test_anything__folders_cleared_away__are_made_anew(store: ImageStore, tmp_path: Path) -> None:
    keep(store, CIDS[0])
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder)
    assert store.claim("job", CIDS[0]) is None
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder)
    assert keep(store, CIDS[1]) == store.get(CIDS[1])


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_lock__file_system_without_locks__says_what_to_do(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(file: object, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RetryLater, match=r"takes no locks.*local disk"), store.lock(CIDS[0]):
        pass


def test_anything__folder_of_it_is_gone__is_a_fault_and_no_bug(
    store: ImageStore, tmp_path: Path
) -> None:
    keep(store, CIDS[0])
    (tmp_path / "pins").rmdir()
    (tmp_path / "pins").write_text("")
    with pytest.raises(RetryLater, match="cannot be written"):
        store.release("job")
    for file in (tmp_path / "locks").iterdir():
        file.unlink()
    (tmp_path / "locks").rmdir()
    for work in (lambda: store.claim("job", CIDS[0]), lambda: store.reserve(CIDS[1], 1, 0)):
        with pytest.raises(RetryLater, match="cannot be written"):
            work()


def test_remember__a_path__is_recalled(store: ImageStore) -> None:
    assert store.recall("ipfs://x/y") is None
    store.remember("ipfs://x/y", CIDS[0])
    assert store.recall("ipfs://x/y") == CIDS[0]


@pytest.mark.parametrize("damage", [b"", b"\xff\0", b"no CID"])
def test_recall__a_damaged_record__is_as_if_it_never_was(store: ImageStore, damage: bytes) -> None:
    store.remember("ipfs://x/y", CIDS[0])
    store._name("ipfs://x/y").write_bytes(damage)
    assert store.recall("ipfs://x/y") is None


CRASHES = 12
# Each in a fork of one process, which has read the libraries once.
CRASH = """
import os, sys
from pathlib import Path
from tests.enclave.fetch.test_store import CIDS, CRASHES, keep
from enclave.fetch.store import ImageStore
calls = 0
def dying(name, real):
    def step(*args, **kwargs):
        global calls
        calls -= 1
        if calls < 0:
            os._exit(9)
        return real(*args, **kwargs)
    return step
for owner, name in ((os, "fsync"), (Path, "rename"), (os, "posix_fallocate"), (Path, "unlink")):
    setattr(owner, name, dying(name, getattr(owner, name)))
for calls in range(CRASHES):
    child = os.fork()
    if not child:
        keep(ImageStore(Path(sys.argv[1], str(calls)), quota_bytes=300), CIDS[0])
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_crash__at_any_step__leaves_nothing_that_looks_whole_and_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CRASH, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    exits = [int(line) for line in done.stdout.split()]
    assert set(exits) == {0, 9}
    for step, _ in enumerate(exits):
        folder = tmp_path / str(step)
        store = ImageStore(folder, quota_bytes=300)
        image = store.get(CIDS[0])
        assert image is None or image.path.read_bytes() == bytes(100)
        store.sweep()
        left = {path.suffix for path in (folder / "images").glob("[!.]*")}
        assert left - {".part"} == ({".eif", ".json"} if image else set())
        assert keep(store, CIDS[0]).size_bytes == 100


class StoreMachine(RuleBasedStateMachine):
    """Any order of keeping, claiming and releasing: the quota holds and pinned images stay."""

    @initialize()
    def start(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = ImageStore(Path(self.folder.name), quota_bytes=300)
        self.held: dict[str, Cid] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(cid=st.sampled_from(CIDS), size=st.sampled_from([50, 100, 200]))
    def fetch(self, cid: Cid, size: int) -> None:
        if self.store.get(cid) is None:
            try:
                keep(self.store, cid, size)
            except RetryLater:
                assert self.held

    @rule(cid=st.sampled_from(CIDS), holder=st.sampled_from("ab"))
    def claim(self, cid: Cid, holder: str) -> None:
        if self.store.claim(holder, cid) is None:
            self.store.release(holder)
            self.held.pop(holder, None)
        else:
            self.held[holder] = cid

    @rule(holder=st.sampled_from("ab"))
    def release(self, holder: str) -> None:
        self.store.release(holder)
        self.held.pop(holder, None)

    @rule()
    def sweep(self) -> None:
        before = self.store.images()
        self.store.sweep()
        assert self.store.images() == before

    @invariant()
    def quota_and_pins_hold(self) -> None:
        if hasattr(self, "store"):
            assert sum(image.size_bytes for image in self.store.images()) <= 300
            assert all(self.store.get(cid) for cid in self.held.values())


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
