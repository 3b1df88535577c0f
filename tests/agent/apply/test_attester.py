"""What the attester believes of an answer over HTTP, and what an answer may cost it."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.apply import short_answer
from agent.apply.attester import MAX_ANSWER_BYTES, AttestationRules, HttpAttester
from agent.apply.short_answer import MAX_INTERIM, MAX_LOOKS, is_whole
from agent.ports import EnclaveEarly, Image
from cloud.model import Identity, Instance, InstanceId, InstanceState, Region, Zone
from devnet.guest.nsm import Misbehaviour, SimulatedEnclave, SimulatedNsm
from enclave.attest.document import AttestationRefused
from faults import RetryLater
from tests.clocks import MovingClock

pytestmark = pytest.mark.unit

NOW = 1_750_000_000.0
NSM = SimulatedNsm()
PCRS = {0: "11" * 48, 1: "22" * 48, 2: "33" * 48}
OTHER = {0: "44" * 48, 1: "44" * 48, 2: "44" * 48}
ID = InstanceId("i-0123456789abcdef0")
IMAGE = Image("ipfs://x", "x", Path("x"), 1, "", PCRS, "x86_64", 1)


class Enclave:
    """Answers every question with the same pieces, the last of them again and again if told."""

    def __init__(self, pieces: Sequence[bytes], *, endless: bool, pause: float) -> None:
        self.asked = b""
        self.serving: set[asyncio.Task[None]] = set()
        self._pieces, self._endless, self._pause = pieces, endless, pause

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer.transport), suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked = await reader.readuntil(b"\r\n\r\n")
            await self._speak(writer)

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        for piece in self._pieces:
            await self._send(writer, piece)
        while self._endless:
            await self._send(writer, self._pieces[-1] * (1 if self._pause else 2000))

    async def _send(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        writer.write(piece)
        await writer.drain()
        if self._pause:
            await asyncio.sleep(self._pause)


@asynccontextmanager
async def enclave(
    *pieces: bytes, endless: bool = False, pause: float = 0
) -> AsyncIterator[tuple[Enclave, int]]:
    """An enclave at a port of its own."""
    one = Enclave(pieces, endless=endless, pause=pause)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    async with server:
        yield one, server.sockets[0].getsockname()[1]
        for task in one.serving:
            task.cancel()
        await asyncio.gather(*one.serving, return_exceptions=True)


async def attest(
    *pieces: bytes,
    allow_debug: bool = False,
    debug: bool = False,
    endless: bool = False,
    pause: float = 0,
    clock: MovingClock | None = None,
) -> Enclave:
    async with enclave(*pieces, endless=endless, pause=pause) as (one, port):
        rules = AttestationRules(port=port, root_pem=NSM.root_pem, allow_debug=allow_debug)
        found = await HttpAttester(rules).attest(
            _instance(), IMAGE, clock=clock or MovingClock(NOW), debug=debug
        )
    assert found.instance == ID
    return one


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return head(*headers, f"Content-Length: {len(body)}", status=status) + body


def chunked(body: bytes, size: int) -> list[bytes]:
    cut = (body[at : at + size] for at in range(0, len(body), size))
    chunks = [b"%x\r\n%b\r\n" % (len(one), one) for one in cut]
    return [head("Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n"]


def document(
    pcrs: dict[int, str] = PCRS, *, debug: bool = False, wrong: Misbehaviour = Misbehaviour.NONE
) -> bytes:
    return NSM.attest(SimulatedEnclave(ID, pcrs, debug=debug), now=NOW, misbehave=wrong)


async def test_attest__the_jobs_image__is_attested_and_knows_who_asks() -> None:
    one = await attest(answer(document()))
    assert one.asked.startswith(b"GET /attestation/raw HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nUser-Agent: oyster-provider/" in one.asked
    assert b"\r\nAccept-Encoding: identity\r\n" in one.asked


@pytest.mark.parametrize(
    "pieces",
    [
        [head("content-length:  {}"), b"{}"],
        [head(status="100 Continue"), head("Content-Length: {}"), b"{}"],
        [head("Link: <x>", status="103 Early Hints") * 3, head("Content-Length: {}"), b"{}"],
        [head("Connection: close"), b"{}"],
        [b"HTTP/1.0 200 OK\r\n\r\n", b"{}"],
    ],
)
async def test_attest__however_http_frames_the_answer__it_is_read(pieces: list[bytes]) -> None:
    made = document()
    await attest(
        *(made if one == b"{}" else one.replace(b"{}", b"%d" % len(made)) for one in pieces)
    )


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
async def test_attest__chunks_of_any_size__are_read(size: int) -> None:
    """All at once: a chunk of a byte costs nothing then."""
    await attest(b"".join(chunked(document(), size)))


@pytest.mark.parametrize("allow_debug", [False, True])
async def test_attest__another_image__is_refused_whatever_is_allowed(allow_debug: bool) -> None:
    with pytest.raises(AttestationRefused, match=r"\(pcr\)"):
        await attest(answer(document(OTHER)), allow_debug=allow_debug)


@pytest.mark.parametrize(
    "end", ["0", "000", "00000000", "0  ", "0;a=b", "0 ; a", "0\r\nX-Sum: 1", "0;x\r\nA: b\r\nC: d"]
)
async def test_attest__chunks_end_as_some_servers_write_it__and_the_connection_stays(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9112, 7.1: zeros, extensions, trailers. Who keeps the connection is not waited for."""
    monkeypatch.setattr("agent.apply.attester.TIMEOUT_SECONDS", 1.0)
    said = b"".join(chunked(document(), 999)).removesuffix(b"0\r\n\r\n") + f"{end}\r\n\r\n".encode()
    assert is_whole(said)
    assert not any(is_whole(said[:-cut]) for cut in range(1, len(end) + 4))
    await attest(said)


async def test_attest__debug_mode__only_where_allowed() -> None:
    await attest(answer(document(debug=True)), allow_debug=True)
    with pytest.raises(AttestationRefused, match=r"\(debug-mode\)"):
        await attest(answer(document(debug=True)))


async def test_attest__debug_mode__of_a_job_that_asks_for_it_alone() -> None:
    await attest(answer(document(debug=True)), debug=True)
    await attest(answer(document()), debug=True)  # it may run without all the same
    with pytest.raises(AttestationRefused, match=r"\(pcr\)"):
        await attest(answer(document(OTHER)), debug=True)


@pytest.mark.parametrize("debug", [False, True])
async def test_attest__another_instance__is_refused_in_debug_mode_too(debug: bool) -> None:
    made = document(debug=debug, wrong=Misbehaviour.WRONG_PCR4)
    with pytest.raises(AttestationRefused, match=r"\(instance\)"):
        await attest(answer(made), debug=debug)


async def test_attest__issued_ahead_of_this_clock__a_minute_is_taken_and_more_is_early() -> None:
    made = answer(document())
    await attest(made, clock=MovingClock(NOW - 59))
    with pytest.raises(EnclaveEarly, match="check this machine's clock"):
        await attest(made, clock=MovingClock(NOW - 120))


async def test_attest__a_question_that_waited_long__is_judged_when_its_answer_arrived() -> None:
    """The clock goes on between the question and the answer; the document is of that time."""

    class Late(MovingClock):
        def now(self) -> float:
            return NOW + 290.0  # asked for once: when the answer is there

    await attest(answer(document()), clock=Late(NOW))


async def test_attest__a_small_answer_that_unpacks_to_much__is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(20 << 20))
    assert 12_288 < len(bomb) < MAX_ANSWER_BYTES
    for coding in ("gzip", "gzip, gzip", "br", "zstd"):
        with pytest.raises(AttestationRefused, match=r"\(size\)"):
            await attest(answer(bomb, f"Content-Encoding: {coding}"))


async def test_attest__an_answer_without_end__is_cut() -> None:
    with pytest.raises(RetryLater, match=f"more than {MAX_ANSWER_BYTES} bytes"):
        await attest(head(), bytes(1 << 15), endless=True)
    with pytest.raises(RetryLater, match=f"more than {MAX_ANSWER_BYTES} bytes"):
        await attest(b"X: y\r\n" * 20_000)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "does not answer in HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer in HTTP"),
        (answer(b"", status="503 Busy"), "answers 503"),
        (answer(b"x", status="302 Found"), "answers 302"),
        (head("Content-Length: 9") + b"short", "does not answer in HTTP"),
        (head("Transfer-Encoding: chunked") + b"zz\r\n\r\n0\r\n\r\n", "does not answer in HTTP"),
        (head("Transfer-Encoding: chunked") + b"5\r\nab", "does not answer in HTTP"),
        (head(*["X: y"] * 500, "Content-Length: 0"), "does not answer in HTTP"),
        (head(status="99999 OK") * 2, "does not answer in HTTP"),
    ],
)
async def test_attest__no_whole_answer__is_a_missed_one(said: bytes, why: str) -> None:
    with pytest.raises(RetryLater, match=why) as missed:
        await attest(said)
    assert not isinstance(missed.value, EnclaveEarly)
    assert str(missed.value).isprintable()


async def test_attest__nobody_listens__is_a_missed_answer() -> None:
    async with enclave(b"") as (_, port):
        pass
    rules = AttestationRules(port=port, root_pem=NSM.root_pem)
    with pytest.raises(RetryLater, match="does not answer"):
        await HttpAttester(rules).attest(_instance(), IMAGE, clock=MovingClock(NOW))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often the loop was woken by what an enclave sent, an entry a connection."""
    found: list[int] = []
    plain = short_answer._Ear.data_received

    def counted(ear: short_answer._Ear, data: bytes) -> None:
        plain(ear, data)
        found.append(id(ear))

    monkeypatch.setattr(short_answer._Ear, "data_received", counted)
    return found


@pytest.mark.parametrize(
    ("pieces", "pause"),
    [
        ([head(status="100 Continue")], 0.0),
        ([head("Transfer-Encoding: chunked"), b"1\r\nx\r\n"], 0.0),
        ([head("Transfer-Encoding: chunked"), b"1\r\nx\r\n"], 0.001),
        ([head("Content-Length: 60000"), b"x"], 0.0005),
        ([b"H", b"T", b"\r"], 0.0005),
    ],
)
async def test_attest__a_hundred_enclaves_that_never_end__wake_the_loop_little(
    pieces: list[bytes], pause: float, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wake-ups are what a flood or a trickle costs: each is bounded, and there are few."""
    monkeypatch.setattr("agent.apply.attester.TIMEOUT_SECONDS", 0.5)
    async with enclave(*pieces, endless=True, pause=pause) as (_, port):
        attester = HttpAttester(AttestationRules(port=port, root_pem=NSM.root_pem))
        many = 100 if not pause else 10  # those that pause wake the test's own loop as well
        asked = (attester.attest(_instance(), IMAGE, clock=MovingClock(NOW)) for _ in range(many))
        ends = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(end) for end in ends} == {RetryLater}
    assert max(map(looks.count, set(looks))) <= MAX_LOOKS


async def test_attest__a_hundred_whole_answers_a_byte_a_chunk__are_parsed_one_at_a_time_and_cheaply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What kept the loop waiting was the interpreter, held by a pool of threads that parsed."""
    plain, at_once, most, steps = short_answer._parsed, [0], [0], list[int]()

    def counted(heard: bytes, url: str) -> tuple[int, bytes]:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        calls = [0]
        sys.setprofile(lambda frame, event, arg: calls.__setitem__(0, calls[0] + 1))
        try:
            return plain(heard, url)
        finally:
            sys.setprofile(None)
            steps.append(calls[0])
            at_once[0] -= 1

    monkeypatch.setattr(short_answer, "_parsed", counted)
    body = b"x" * 4096
    async with enclave(b"".join(chunked(body, 1))) as (_, port):
        attester = HttpAttester(AttestationRules(port=port, root_pem=NSM.root_pem))
        asked = (attester.attest(_instance(), IMAGE, clock=MovingClock(NOW)) for _ in range(100))
        ends = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(end) for end in ends} <= {RetryLater, AttestationRefused}
    assert most[0] == 1
    assert max(steps, default=0) < 10 * len(body)  # http.client takes 40 calls and more a chunk


async def test_attest__in_crumbs__is_left_after_a_bounded_number_of_looks(
    looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short_answer, "LONGEST_PAUSE_SECONDS", 0.0)
    with pytest.raises(RetryLater, match=f"in crumbs: .* in {MAX_LOOKS} pieces"):
        await attest(head(), b"x", endless=True, pause=0.0005)
    assert len(looks) == MAX_LOOKS


@given(st.integers(0, 8), st.sampled_from([b"abc", b"0\r\n\r\n", b""]), st.data())
def test_is_whole__cut_anywhere__is_told_apart(
    interim: int, body: bytes, data: st.DataObject
) -> None:
    """Never whole before its end, and always at it; so many interim heads and no more."""
    framed = data.draw(st.sampled_from([answer(body), b"".join(chunked(body or b"x", 2))]))
    said = head(status="102 Processing") * interim + framed
    if interim > MAX_INTERIM:
        with pytest.raises(Exception, match="will answer"):
            is_whole(said)
        return
    assert is_whole(said)
    assert not is_whole(said[: data.draw(st.integers(0, len(said) - 1))])


def _instance() -> Instance:
    return Instance(
        id=ID,
        region=Region("us-east-1"),
        zone=Zone("us-east-1a"),
        instance_type="c6a.xlarge",
        state=InstanceState.RUNNING,
        identity=Identity(1, "0xc", "0xp", 1, 1, 1),
        launched_at=NOW,
        public_ip="127.0.0.1",
    )
