"""A way of its own from one host to the database, which can be cut.

SIGSTOP leaves it open and dead, as a partition does, and SIGCONT heals it; SIGUSR1 closes what is
open and takes nothing until SIGUSR2; SIGHUP makes it long, and short again the next time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys

CHUNK_BYTES = 64 * 1024
LONG_SECONDS = 0.01  # each way: a database 20 ms away is in another region


class Relay:
    """Forwards what comes to a port of its own to `target` on loopback."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = True
        self._seconds = 0.0  # that each chunk is on its way
        self._writers = set[asyncio.StreamWriter]()

    async def serve(self) -> None:
        """For ever; the first line printed says at which port."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.close)
        loop.add_signal_handler(signal.SIGUSR2, self.open)
        loop.add_signal_handler(signal.SIGHUP, self.stretch)
        _say(json.dumps({"port": server.sockets[0].getsockname()[1]}))
        await server.serve_forever()

    def close(self) -> None:
        """End every connection, and each new one at once."""
        self._open = False
        for writer in self._writers:
            writer.transport.abort()

    def open(self) -> None:
        self._open = True

    def stretch(self) -> None:
        self._seconds = 0.0 if self._seconds else LONG_SECONDS

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there[1]}
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))
        self._writers -= {writer, there[1]}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self._seconds:
                    await asyncio.sleep(self._seconds)
                writer.write(data)
                await writer.drain()
        writer.close()


def _say(hello: str) -> None:
    sys.stdout.write(hello + "\n")
    sys.stdout.flush()


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--to", type=int, required=True)
    asyncio.run(Relay(words.parse_args().to).serve())


if __name__ == "__main__":
    main()
