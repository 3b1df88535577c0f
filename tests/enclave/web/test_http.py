from __future__ import annotations

import itertools
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.web import http as net
from enclave.web.guard import LEAST_BYTES_PER_SECOND, Cancelled, Guard, OutOfTime, Stalled
from enclave.web.http import (
    FREE_PIECES,
    MAX_HEAD_BYTES,
    HttpSession,
    Unreachable,
    body,
    header,
    is_below,
    is_public,
)
from enclave.web.image_url import BadUrl, origin

pytestmark = pytest.mark.unit


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answers one connection after the other; gives its URL and what it was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                asked.append(client.recv(65_536))
                with suppress(OSError):  # who asked need not listen to the end
                    client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def guard(clock: Callable[[], float] | None = None) -> Guard:
    return Guard(clock or Time(), 1100.0, 20.0)


def get(session: HttpSession, url: str) -> bytes:
    with closing(session), session.get(url, {}) as response:
        return b"".join(response.iter_stream())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.5",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:7f00:1::", "2002:100::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe", "fec0::1",
    ],
)  # fmt: skip
def test_is_public__an_address_not_seen_by_all__is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_is_public__an_address_seen_by_all__is(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_is_public__any_address__never_a_private_one(address: object) -> None:
    if is_public(str(address)):
        assert getattr(address, "is_global")  # noqa: B009 - both kinds have it


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:127.0.0.1"], ["fd00:ec2::254"]]
)
def test_get__a_name_that_leads_to_a_private_address__is_not_asked(addresses: list[str]) -> None:
    session = HttpSession(guard(), resolve=lambda host, port: addresses)
    with pytest.raises(Unreachable, match=f"leads to {addresses[-1]}, which is not a public"):
        get(session, "https://gateway.example/ipfs/x")


def test_get__a_name_without_address__is_unreachable() -> None:
    def nowhere(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(Unreachable, match="does not resolve"):
        get(HttpSession(guard(), resolve=nowhere), "https://gateway.example/x")
    with pytest.raises(Unreachable, match="has no address"):
        get(HttpSession(guard(), resolve=lambda host, port: []), "https://gateway.example/x")


def test_get__the_configured_place__is_asked_wherever_it_is() -> None:
    with server(answer("200 OK", body=b"body")) as (url, asked):
        assert get(HttpSession(guard(), trusted=url), f"{url}/x?y=z") == b"body"
    assert asked[0].startswith(b"GET /x?y=z HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity\r\n" in asked[0]
    assert b"User-Agent: oyster-provider/" in asked[0]


def test_get__another_loopback_port_than_configured__is_not_asked() -> None:
    with server(answer("200 OK")) as (url, asked), pytest.raises(Unreachable, match="not asked"):
        get(HttpSession(guard(), trusted="http://127.0.0.1:1"), f"{url}/x")
    assert not asked


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/", "http://gateway.example/x", "https://10.0.0.1/x",
        "https://localhost/x", "https://u@gateway.example/x", "https://gateway.example:22/x", "file:///x",
        "//[::1]/x", "gopher://x.example/", "https://[", "http://127.0.0.1:1/x", "https://a\tb.example/x",
    ],
)  # fmt: skip
def test_get__a_redirect_to_a_place_that_is_not_asked__is_not_followed(location: str) -> None:
    moved = answer("302 Found", f"Location: {location}")
    with server(moved) as (url, asked), pytest.raises(Unreachable, match="not asked"):
        get(HttpSession(guard(), trusted=url), f"{url}/x")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("location", "asked_for"),
    [(b"/a b.eif", b"/a%20b.eif"), ("/caf\u00e9.eif".encode(), b"/caf%C3%A9.eif"),
     (b"/caf\xe9.eif", b"/caf%E9.eif"), (b"?y=[1]", b"/d/x?y=[1]"),
     (b"b%20c?sig=a+b%2F==", b"/d/b%20c?sig=a+b%2F=="),
     (b"?y=\x7f z", b"/d/x?y=%7F%20z"), (b"/\"q\"|^`{}<>#part", b"/\"q\"|^`{}<>")],
)  # fmt: skip
def test_get__a_redirect_to_what_is_not_escaped__is_followed_as_browsers_do(
    location: bytes, asked_for: bytes
) -> None:
    """nginx's `return 302 ...$uri` and many a home-made server write names as they are."""
    moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\nLocation: %b\r\n\r\n"
    with server(moved % location, answer("200 OK", body=b"there")) as (url, asked):
        assert get(HttpSession(guard(), trusted=url), f"{url}/d/x") == b"there"
    assert asked[1].partition(b"\r\n")[0] == b"GET %b HTTP/1.1" % asked_for


@pytest.mark.parametrize("headers", [[], ["Location:"], ["Location:  "]])
def test_get__a_redirect_to_no_place__is_said_and_asked_once(headers: list[str]) -> None:
    nowhere = pytest.raises(Unreachable, match="the redirect has no Location")
    with server(*[answer("302 Found", *headers)] * 7) as (url, asked), nowhere:
        get(HttpSession(guard(), trusted=url), f"{url}/x")
    assert len(asked) == 1


def test_get__a_redirect_to_no_place_by_an_object_store__names_its_endpoint() -> None:
    """S3's answer for a bucket of another region: what it sends to stands in the body alone."""
    said = (
        b"<Error><Code>PermanentRedirect</Code><Message>The bucket must be asked at the specified"
        b" endpoint.</Message><Endpoint>b.s3-eu-west-1.amazonaws.com</Endpoint></Error>"
    )
    moved = answer("301 Moved", "Content-Type: application/xml", body=said)
    told = r"no Location: PermanentRedirect: b\.s3-eu-west-1\.amazonaws\.com: The bucket"
    with server(moved) as (url, _), pytest.raises(Unreachable, match=told):
        get(HttpSession(guard(), trusted=url), f"{url}/x")


def test_get__a_redirect_to_a_name_with_a_private_address__is_not_followed() -> None:
    with server(answer("301 Moved", "Location: https://inside.example/x")) as (url, _):
        session = HttpSession(guard(), trusted=url, resolve=_private_unless_loopback)
        with pytest.raises(Unreachable, match=r"leads to 10\.1\.2\.3"):
            get(session, f"{url}/x")


def test_get__a_redirect_to_a_host_that_is_not_allowed__is_not_followed() -> None:
    with server(answer("301 Moved", "Location: https://other.example/x")) as (url, _):
        session = HttpSession(guard(), trusted=url, hosts=frozenset({"files.example"}))
        with pytest.raises(Unreachable, match=r"other\.example, a host that the operator"):
            get(session, f"{url}/x")


def test_get__redirects_within_the_configured_place__are_followed_five_times() -> None:
    moved = [answer("307 Moved", f"Location: /{number}") for number in range(6)]
    with server(*moved[:5], answer("200 OK", body=b"there")) as (url, asked):
        assert get(HttpSession(guard(), trusted=url), f"{url}/x") == b"there"
        assert asked[-1].startswith(b"GET /4 ")
    with server(*moved) as (url, _), pytest.raises(Unreachable, match="more than 5 redirects"):
        get(HttpSession(guard(), trusted=url), f"{url}/x")


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"220 smtp.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 50_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"a" * 400_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    ],
)
def test_get__no_whole_http_answer__is_unreachable(rubbish: bytes) -> None:
    with server(rubbish) as (url, _), pytest.raises(Unreachable):
        get(HttpSession(guard(), trusted=url), f"{url}/x")


def test_get__an_answer_that_breaks_off__is_not_said_to_be_no_http() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"
    for sent in (cut, cut[:20], b""):
        broken = pytest.raises(Unreachable, match="no whole answer in HTTP")
        with server(sent) as (url, _), broken:
            get(HttpSession(guard(), trusted=url), f"{url}/x")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, b"H"])
def test_get__a_flood_or_a_trickle_before_the_answer__stalls(answer: bytes) -> None:
    """Bytes that come are no progress: only verified ones are."""
    over = threading.Event()

    def serve() -> None:
        client, _ = listening.accept()
        with client, suppress(OSError):
            client.recv(65_536)
            while not over.wait(0.01):
                client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        limit = Guard(time.monotonic, time.monotonic() + 10, 0.2)
        with pytest.raises((Stalled, Unreachable), match=r"no verified bytes|bytes of heads"):
            get(HttpSession(limit, trusted=url), f"{url}/x")
        over.set()
        thread.join()


def test_get__a_redirect_to_a_very_long_place__is_said_shortly() -> None:
    moved = answer("302 Found", f"Location: https://10.0.0.1/{'a' * 60_000}")
    with server(moved) as (url, _), pytest.raises(Unreachable) as refused:
        get(HttpSession(guard(), trusted=url), f"{url}/x")
    assert len(str(refused.value)) < 300


def test_get__nobody_listens__is_unreachable() -> None:
    with server() as (url, _):
        pass
    with pytest.raises(Unreachable, match="does not take connections"):
        get(HttpSession(guard(), trusted=url), f"{url}/x")


def test_get__a_silent_server__stalls_when_the_guard_says_so() -> None:
    time = Time()

    def slow_clock() -> float:
        time.now += 4.0  # each look at the clock costs four seconds: no test waits for real
        return time.now

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Stalled, match="20 s"):
            get(HttpSession(guard(slow_clock), trusted=url), f"{url}/x")


def test_header__any_case__first_value_or_empty() -> None:
    response = httpcore.Response(200, headers=[("X-One", "a"), ("x-one", "b")])
    assert header(response, "X-ONE") == "a"
    assert header(response, "x-two") == ""


def test_guard__deadline_stall_cancel__each_by_its_name() -> None:
    time = Time()
    whole = guard(time)
    one = whole.fork()
    time.now += 15
    one.progress(1 << 30)
    time.now += 15
    assert one.remaining() == 5
    time.now += 5
    with pytest.raises(Stalled):
        one.remaining()
    one = whole.fork()
    time.now = 1099.0
    one.progress(1 << 30)
    assert one.remaining() == 1
    assert whole.seconds_left == 1
    time.now = 1100.0
    with pytest.raises(OutOfTime):
        one.remaining()
    whole.cancel()
    with pytest.raises(Cancelled):
        one.remaining()


def test_guard__a_cancelled_fork__leaves_the_whole_alone() -> None:
    whole = guard()
    whole.fork().cancel()
    assert whole.remaining() > 0


def test_guard__sleep__ends_at_once_when_cancelled() -> None:
    whole = guard()
    whole.cancel()
    with pytest.raises(Cancelled):
        whole.sleep(10)


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "https://u@x", "x", "https://x:y", "http://["]
)
def test_origin__no_http_host__is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        origin(url)


def test_origin__default_ports__are_filled_in() -> None:
    assert origin("https://Gateway.Example/x") == ("https", "gateway.example", 443)
    assert origin("http://127.0.0.1:8080") == ("http", "127.0.0.1", 8080)


def _private_unless_loopback(host: str, port: int) -> list[str]:
    return [host] if host == "127.0.0.1" else ["10.1.2.3"]


def test_guard__crumbs_of_progress__are_a_stall_and_a_fair_rate_is_not() -> None:
    clock = Time()
    crumbs, fair = Guard(clock, 10_000.0, 20.0), Guard(clock, 10_000.0, 20.0)
    with pytest.raises(Stalled, match="verified bytes a second"):  # noqa: PT012 - time must pass
        for _ in range(10):
            clock.now += 5
            fair.progress(5 * LEAST_BYTES_PER_SECOND)
            fair.remaining()
            crumbs.progress(1000)
            crumbs.remaining()
    assert clock.now == 1020.0


def test_guard__fast_before_and_crumbs_now__is_a_stall_within_two_spans() -> None:
    clock = Time()
    one = Guard(clock, 10_000.0, 20.0)
    one.progress(1 << 30)
    with pytest.raises(Stalled):  # noqa: PT012 - time must pass
        for _ in range(100):
            clock.now += 1
            one.progress(1000)
            one.remaining()
    assert clock.now <= 1040.0


def test_guard__waited_for_the_next_round__the_pause_is_not_held_against_it() -> None:
    clock = Time()
    one = Guard(clock, 10_000.0, 20.0)
    one.progress(1)
    one.cancel()  # so that no wall clock is waited for
    with pytest.raises(Cancelled):
        one.sleep(30.0)
    assert one._span_begun == 1030.0


def test_get__a_resolver_that_hangs__is_left_when_the_guard_says_so() -> None:
    hang, answered = threading.Event(), threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        hang.wait(30)
        answered.set()
        return ["8.8.8.8"]

    limit = Guard(time.monotonic, time.monotonic() + 0.2, 20.0)
    session = HttpSession(limit, resolve=resolve)
    with pytest.raises(OutOfTime):
        get(session, "https://gateway.example/ipfs/x")
    assert not answered.is_set()
    hang.set()


def test_get__a_resolver_that_never_answers__is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(net, "RESOLVE_SECONDS", 0.5)
    hang = threading.Event()
    session = HttpSession(guard(), resolve=lambda host, port: [str(hang.wait(30))])
    with pytest.raises(Unreachable, match=r"does not resolve: no answer in 0\.5 s"):
        get(session, "https://gateway.example/ipfs/x")
    hang.set()


def test_get__a_label_too_long_for_dns__is_unreachable() -> None:
    with pytest.raises(Unreachable):
        get(HttpSession(guard()), f"https://{'a' * 64}.example/ipfs/x")


def test_body__in_crumbs__is_left_after_a_bounded_number_of_pieces() -> None:
    """A byte a chunk costs a thousand times its bytes: a user may name the host that does it."""
    crumbs = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 9000
    with server(crumbs + b"0\r\n\r\n") as (url, _):
        session = HttpSession(guard(), trusted=url)
        with closing(session), session.get(f"{url}/x", {}) as response:
            pieces = body(response)
            assert sum(map(len, itertools.islice(pieces, FREE_PIECES))) == FREE_PIECES
            with pytest.raises(Unreachable, match="in crumbs"):
                next(pieces)


def test_body__many_small_pieces_among_large_ones__is_read() -> None:
    chunks = [b"x" * size for size in [1, 1, 300] * 1000]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in chunks)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server(head + framed + b"0\r\n\r\n") as (url, _):
        session = HttpSession(guard(), trusted=url)
        with closing(session), session.get(f"{url}/x", {}) as response:
            assert b"".join(body(response)) == b"".join(chunks)


def test_get__heads_without_end__are_bounded_in_bytes_for_each_answer() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nX: " + b"a" * 4000 + b"\r\n\r\n"
    many = interim * (2 * MAX_HEAD_BYTES // len(interim))
    with server(many + answer("200 OK")) as (url, _), pytest.raises(Unreachable, match="of heads"):
        get(HttpSession(guard(), trusted=url), f"{url}/x")
    large = answer("200 OK", body=bytes(3 * MAX_HEAD_BYTES))
    with server(large) as (url, _):
        assert len(get(HttpSession(guard(), trusted=url), f"{url}/x")) == 3 * MAX_HEAD_BYTES


def test_guard__patient__waits_for_the_first_byte_and_no_longer_for_the_next() -> None:
    clock = Time()
    one = guard(clock).fork(patience_seconds=60.0)
    one.expect()
    clock.now += 59
    assert one.remaining() == 1
    one.heard()
    clock.now += 19
    assert one.remaining() == 1
    clock.now += 1
    with pytest.raises(Stalled, match="no verified bytes for 20 s"):
        one.remaining()


def test_guard__patient__ends_by_itself_by_the_deadline_or_when_hurried() -> None:
    clock = Time()
    whole = guard(clock)
    one, endless, hurried = whole.fork(60.0), whole.fork(math.inf), whole.fork(math.inf)
    for each in (one, endless, hurried):
        each.expect()
    clock.now += 60
    with pytest.raises(Stalled, match="no answer for 60 s"):
        one.remaining()
    assert endless.remaining() == 40
    hurried.hurry()
    hurried.expect()
    clock.now += 20
    with pytest.raises(Stalled):
        hurried.remaining()
    clock.now += 20
    with pytest.raises(OutOfTime):
        endless.remaining()


def test_guard__impatient__expects_nothing_longer_than_it_stalls() -> None:
    clock = Time()
    one = guard(clock).fork()
    one.expect()
    clock.now += 20
    with pytest.raises(Stalled, match="no verified bytes"):
        one.remaining()


def test_get__half_a_head_and_then_nothing__is_a_stall_however_patient() -> None:
    """Patience is for those who have not begun: what begins has to go on."""
    over = threading.Event()

    def serve() -> None:
        client, _ = listening.accept()
        with client, suppress(OSError):
            client.recv(65_536)
            client.sendall(b"HTTP/1.1 200 OK\r\nX:")
            over.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        limit = Guard(time.monotonic, time.monotonic() + 10, 0.2).fork(math.inf)
        with pytest.raises(Stalled):
            get(HttpSession(limit, trusted=url), f"{url}/x")
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("trusted", "url", "below"),
    [
        ("http://localhost:8080", "http://bafy.ipfs.localhost:8080/x", True),
        ("http://gw.corp", "http://bafy.ipfs.gw.corp/", True),
        ("http://localhost:8080", "http://bafy.ipfs.localhost:8081/", False),
        ("http://localhost:8080", "https://bafy.ipfs.localhost:8080/", False),
        ("http://localhost:8080", "http://a.b.ipfs.localhost:8080/", False),
        ("http://localhost:8080", "http://.ipfs.localhost:8080/", False),
        ("http://localhost:8080", "http://evil.localhost:8080/", False),
        ("http://localhost:8080", "http://bafy.ipfs.localhost.evil.example:8080/", False),
        (None, "http://bafy.ipfs.localhost:8080/", False),
    ],
)
def test_is_below__only_a_cids_own_host_of_what_is_trusted(
    trusted: str | None, url: str, below: bool
) -> None:
    assert is_below(origin(url), origin(trusted) if trusted else None) == below


def test_get__sent_below_a_trusted_name_without_dns_for_it__is_asked_where_the_name_is() -> None:
    def resolve(host: str, port: int) -> list[str]:
        if host != "localhost":
            raise socket.gaierror(-2, "Name or service not known")
        return ["127.0.0.1"]

    sent = "HTTP/1.1 301 Moved\r\nLocation: http://bafy.ipfs.localhost:{}/?format=raw\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        asked: list[bytes] = []

        def serve() -> None:
            moved = f"{sent.format(port)}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
            for said in (moved, answer("200 OK", body=b"block")):
                client, _ = listening.accept()
                with client:
                    asked.append(client.recv(65_536))
                    client.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        session = HttpSession(guard(), trusted=f"http://localhost:{port}", resolve=resolve)
        assert get(session, f"http://localhost:{port}/ipfs/bafy?format=raw") == b"block"
        thread.join()
    assert f"Host: bafy.ipfs.localhost:{port}".encode() in asked[1]
