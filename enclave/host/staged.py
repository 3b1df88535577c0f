"""What one run needs from the bucket, on disk: the image, and the init params if it has some.

Only what was verified has its name here (`mailbox.Mailbox.fetch`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from enclave.host.config import Places
from enclave.host.documents import Desired
from enclave.host.mailbox import Mailbox, fetched


class Staged:
    """Below the state directory. `fetch` is for one thread."""

    def __init__(self, places: Places, mailbox: Mailbox) -> None:
        self._places, self._mailbox = places, mailbox

    def image(self, desired: Desired) -> Path:
        return self._places.images / desired.image_sha256

    def params(self, desired: Desired) -> Path | None:
        """Where the init params are; None when there are none, or none of any bytes."""
        init = desired.init
        return self._places.params / init.sha256 if init and init.size_bytes else None

    def here(self, desired: Desired | None) -> bool:
        """Whether all of it is."""
        if desired is None:
            return False
        params = self.params(desired)
        return self.image(desired).exists() and (params is None or params.exists())

    def fetch(self, desired: Desired, wanted: Callable[[], bool]) -> None:
        """Have it, and nothing of other runs. Raises what `Mailbox.fetch` does, OSError (room)."""
        params, init = self.params(desired), desired.init
        _keep_only(self._places.params, params.name if params else "")
        _keep_only(self._places.images, desired.image_sha256)
        if params is not None and init is not None and not params.exists():
            self._mailbox.fetch("params", init.sha256, init.size_bytes, params, wanted)
        image = self.image(desired)
        if not image.exists():
            self._check_room(image, desired.image_bytes)
            self._mailbox.fetch("images", desired.image_sha256, desired.image_bytes, image, wanted)

    def _check_room(self, image: Path, size: int) -> None:
        missing, free = size - fetched(image), shutil.disk_usage(self._places.images).free
        if free < missing:
            raise OSError(f"{missing} bytes of the image are missing, the disk has {free} free")


def _keep_only(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.stem != name:
            path.unlink()
