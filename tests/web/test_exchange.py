"""Between the wire and WSGI: what Django is handed, what a client gets, and what nobody can hold up."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from authserver.forwarded import parse_network, read_sender
from foundation.errors import TemporarilyUnavailable
from tests.patience import until
from tests.support import odd_application as odd_app
from tests.support.odd_application import PAUSE, QUEUE, THREADS
from tests.web.conftest import Served, in_a_loop, serving
from web import application
from web.hub import Hub


@pytest.fixture(scope="module")
def odd() -> Iterator[Served]:
    with serving("tests.support.odd_application:application") as one:
        yield one


def environ(served: Served, *parts: bytes) -> dict[str, str]:
    """What the application saw of a request made of these bytes."""
    with served.raw(*parts) as peer:
        head, _, body = read_all(peer).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return dict(json.loads(body))


def read_all(peer: socket.socket) -> bytes:
    received = b""
    while part := peer.recv(65536):
        received += part
    return received


def check_is_bad_request(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400"), head
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"] == "invalid_request"


def get(path: bytes, *headers: bytes) -> bytes:
    lines = [b"GET " + path + b" HTTP/1.1", b"Host: localhost:1", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


SLOW = 30.0  # seconds that the front waits for a body or a reader: a thread that were held would be held so long


class TestTheRequest:
    def test_address_and_query_are_handed_over_byte_by_byte(self, odd: Served) -> None:
        seen = environ(odd, get(b"/a%2Fb/%FF/%C3%A9/%00?x=%00&y=%C3%A9"))
        assert seen["PATH_INFO"].encode("latin-1") == b"/a/b/\xff/\xc3\xa9/\x00"
        assert seen["QUERY_STRING"] == "x=%00&y=%C3%A9"
        assert seen["HTTP_HOST"] == "localhost:1"
        assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("127.0.0.1", "http")
        assert seen["CONTENT_LENGTH"] == ""

    def test_a_proxy_is_known_through_an_ipv6_socket_too(self) -> None:
        """BIND_ADDRESS=:: takes IPv4 connections too, and writes their addresses in IPv6."""
        try:
            socket.create_server(("::", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("there is no IPv6 on this machine")
        with serving("tests.support.odd_application:application", host="::") as odd:
            seen = environ(odd, get(b"/", b"X-Forwarded-For: 203.0.113.9"))
        assert seen["REMOTE_ADDR"] == "::ffff:127.0.0.1"
        proxies = [parse_network("127.0.0.0/8")]
        assert read_sender(seen["REMOTE_ADDR"], seen["HTTP_X_FORWARDED_FOR"], "", proxies).address == "203.0.113.9"

    def test_a_repeated_header_is_joined_in_order(self, odd: Served) -> None:
        seen = environ(odd, get(b"/", b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-For: 2.2.2.2"))
        assert seen["HTTP_X_FORWARDED_FOR"] == "1.1.1.1,2.2.2.2"

    @pytest.mark.parametrize("name", [b"X_Forwarded_For", b"X-Forwarded_For", b"Client_Cert", b"countersign.front"])
    def test_no_header_takes_the_place_of_another(self, odd: Served, name: bytes) -> None:
        """An underscore becomes what a dash becomes, behind a proxy that cleans only the dashed name."""
        seen = environ(odd, get(b"/", name + b": forged"))
        assert "forged" not in [value for key, value in seen.items() if key != "HTTP_COUNTERSIGN.FRONT"]
        assert "countersign.resumed" not in seen

    def test_a_body_with_a_length_and_one_in_chunks(self, odd: Served) -> None:
        seen = environ(odd, get(b"/", b"Content-Length: 5", b"Content-Type: text/x"), b"hello")
        assert (seen["body"], seen["CONTENT_LENGTH"], seen["CONTENT_TYPE"]) == ("hello", "5", "text/x")
        seen = environ(odd, get(b"/", b"Transfer-Encoding: chunked"), b"3\r\nhel\r\n", b"2\r\nlo\r\n0\r\n\r\n")
        assert (seen["body"], seen["CONTENT_LENGTH"]) == ("hello", "5")
        assert "HTTP_TRANSFER_ENCODING" not in seen

    def test_expect_100_continue(self, odd: Served) -> None:
        with odd.raw(get(b"/", b"Content-Length: 5", b"Expect: 100-continue")) as peer:
            assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            peer.sendall(b"hello")
            assert b'"body": "hello"' in read_all(peer)

    def test_a_declared_body_that_is_too_large_is_refused_unread(self, odd: Served) -> None:
        with odd.raw(get(b"/", b"Content-Length: 1001", b"Expect: 100-continue")) as peer:
            answer = read_all(peer)
        assert answer.startswith(b"HTTP/1.1 413") and b"100 Continue" not in answer
        assert b'"invalid_request"' in answer and b"cache-control: no-store" in answer

    def test_so_is_one_in_chunks_once_it_is(self, odd: Served) -> None:
        with odd.raw(get(b"/", b"Transfer-Encoding: chunked"), b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n") as peer:
            assert peer.recv(12) == b"HTTP/1.1 413"

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"-1\r\nabc\r\n0\r\n\r\n", id="a chunk of negative size"),
            pytest.param(b"zz\r\nabc\r\n0\r\n\r\n", id="a chunk whose size is no number"),
            pytest.param(b"0x3\r\nabc\r\n0\r\n\r\n", id="a chunk whose size has a prefix"),
            pytest.param(b"\r\nabc\r\n0\r\n\r\n", id="a chunk without a size"),
            pytest.param(b"f" * 18 + b"\r\nabc\r\n0\r\n\r\n", id="a chunk whose size fits into no integer"),
            pytest.param(b"3\r\nabcdef\r\n0\r\n\r\n", id="a chunk that is longer than it says"),
            pytest.param(b"3\r\nabc\r\n-1\r\n", id="a good chunk and a bad one"),
            pytest.param(b"3\r\nabc\r\n0\r\nno trailer\r\n\r\n", id="a trailer that is no header"),
        ],
    )
    def test_chunks_that_cannot_be_read_are_a_bad_request(self, odd: Served, body: bytes) -> None:
        with odd.raw(get(b"/", b"Transfer-Encoding: chunked"), body) as peer:
            check_is_bad_request(read_all(peer))

    @pytest.mark.parametrize(
        ("header", "part"),
        [(b"Content-Length: 10", b"abc"), (b"Content-Length: 10", b""), (b"Transfer-Encoding: chunked", b"5\r\nab"),
         (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n")],
        ids=["shorter than it says", "none", "in the middle of a chunk", "without the last chunk"],
    )  # fmt: skip
    def test_a_body_that_ends_early_is_a_bad_request(self, odd: Served, header: bytes, part: bytes) -> None:
        with odd.raw(get(b"/", header), part) as peer:
            peer.shutdown(socket.SHUT_WR)
            check_is_bad_request(read_all(peer))

    @pytest.mark.parametrize(
        "header",
        [b"Content-Length: -1", b"Content-Length: +3", b"Content-Length: abc", b"Content-Length: 1e3",
         b"Content-Length: ", b"Content-Length: " + b"9" * 30, b"Content-Length: 3\r\nContent-Length: 4",
         b"Transfer-Encoding: gzip", b"X Y: z", b"no colon", b"X: a\x00b"],
    )  # fmt: skip
    def test_headers_that_cannot_be_read_are_a_bad_request(self, odd: Served, header: bytes) -> None:
        with odd.raw(get(b"/", header), b"abc") as peer:
            assert read_all(peer).startswith(b"HTTP/1.1 400")

    @pytest.mark.parametrize("header", [b"X: " + b"a" * 600_000, b"\r\n".join(b"X%d: a" % n for n in range(300))])
    def test_too_many_headers_are_refused(self, odd: Served, header: bytes) -> None:
        with odd.raw(get(b"/", header)) as peer:
            assert peer.recv(12) == b"HTTP/1.1 431"

    def test_http_1_0_is_answered(self, odd: Served) -> None:
        with odd.raw(b"POST / HTTP/1.0\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello") as peer:
            answer = read_all(peer)
        assert answer.startswith(b"HTTP/1.0 200") and b'"body": "hello"' in answer

    def test_exactly_the_most_is_taken(self, odd: Served) -> None:
        assert environ(odd, get(b"/", b"Content-Length: 1000"), b"x" * 1000)["body"] == "x" * 1000

    def test_many_slow_senders_hold_no_thread(self, odd: Served) -> None:
        slow = [odd.raw(get(b"/", b"Content-Length: 100"), b"x") for _ in range(THREADS + QUEUE + 20)]
        began = time.monotonic()
        assert odd.request("GET", "/").status == 200
        assert time.monotonic() - began < SLOW / 2
        for peer in slow:
            peer.close()


class TestTheAnswer:
    def test_head_has_the_headers_and_no_body(self, odd: Served) -> None:
        with odd.raw(get(b"/", b"A: b").replace(b"GET", b"HEAD", 1)) as peer:
            head, _, body = read_all(peer).partition(b"\r\n\r\n")
        assert body == b"" and b"content-length: " in head.lower()
        assert odd.request("HEAD", "/file").headers["Content-Length"] == str(20 * 1024 * 1024)

    def test_a_body_made_while_it_is_sent_and_each_cookie(self, odd: Served) -> None:
        answer = odd.request("GET", "/chunks")
        assert answer.content == b"x" * 65536 * 40
        assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
        until(lambda: b"chunks" in odd.request("GET", "/closed").content)

    def test_a_big_file(self, odd: Served) -> None:
        assert odd.request("GET", "/file").content == b"f" * 20 * 1024 * 1024
        until(lambda: b"file" in odd.request("GET", "/closed").content)

    def test_slow_readers_of_big_files_hold_no_thread(self, odd: Served) -> None:
        slow = []
        for _ in range(THREADS + QUEUE + 20):
            slow.append(odd.raw(get(b"/file")))
            assert slow[-1].recv(12) == b"HTTP/1.1 200"
        began = time.monotonic()
        assert odd.request("GET", "/").status == 200
        assert time.monotonic() - began < SLOW / 2
        for peer in slow:
            peer.close()

    def test_a_reader_that_goes_away_ends_what_is_made_for_it(self, odd: Served) -> None:
        before = odd.request("GET", "/closed").content.count(b"chunks")
        with odd.raw(get(b"/chunks")) as peer:
            peer.recv(100)
        until(lambda: odd.request("GET", "/closed").content.count(b"chunks") > before)

    def test_an_answer_that_must_not_be_early_holds_no_thread(self, odd: Served) -> None:
        began = time.monotonic()
        with ThreadPoolExecutor(8) as clients:
            for _ in range(3):
                answers = list(clients.map(lambda _: odd.request("GET", "/paused"), range(THREADS + QUEUE)))
                assert [(one.status, one.content) for one in answers] == [(200, b"now")] * len(answers)  # type: ignore[attr-defined]
        took = time.monotonic() - began
        assert 3 * PAUSE <= took < 3 * PAUSE * (THREADS + QUEUE) / THREADS, "all at once, not in turns"

    def test_an_error_of_the_application_itself(self, odd: Served) -> None:
        answer = odd.request("GET", "/error")
        assert (answer.status, answer.content) == (500, b"internal error")

    def test_more_than_the_queue_takes_is_told_to_come_back(self, odd: Served) -> None:
        with ThreadPoolExecutor(THREADS + QUEUE + 5) as pool:
            answers = list(pool.map(lambda _: odd.request("GET", "/slow"), range(THREADS + QUEUE + 5)))
        assert sorted(one.status for one in answers) == [200] * (THREADS + QUEUE) + [503] * 5
        refused = next(one for one in answers if one.status == 503)
        assert refused.headers["Retry-After"] == "1"
        assert json.loads(refused.content)["error"] == "temporarily_unavailable"
        assert odd.request("GET", "/").status == 200


def test_large_bodies_of_others_keep_no_small_one_out() -> None:
    front = application.Front(
        odd_app.wsgi,
        threads=1,
        queue=1,
        max_parked=1,
        max_body=1024 * 1024,
        make_hub=lambda pool: Hub(pool, "redis://"),
    )
    front._buffered = application.MAX_BUFFERED_BYTES

    def read(size: int) -> bytes:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"x" * size, "more_body": False}

        return in_a_loop(front._read_body({"headers": [(b"content-length", str(size).encode())]}, receive))

    assert len(read(application.SMALL_BODY_BYTES)) == application.SMALL_BODY_BYTES
    with pytest.raises(TemporarilyUnavailable):
        read(application.SMALL_BODY_BYTES + 1)
    assert front._buffered == application.MAX_BUFFERED_BYTES, "the count of buffered bytes returns to what it was"


@pytest.mark.parametrize(
    "target",
    [b"/%", b"/%zz", b"/%ff", b"/%ed%a0%80", b"/%00", b"/static/%ff", b"/oidc/register/%ff", b"/v1/prompts/%ff",
     b"/static/..%2f..%2fetc/passwd", b"/authorize?x=%ff", b"/authorize?x=%", b"/login?next=%ff",
     b"/login?next=%ed%a0%80", b"/login?next=%00", b"/login?next=\xff",
     b"/authorize?x=\xc3\xa9", b"/\xff", b"/" + b"a" * 60_000],
)  # fmt: skip
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_no_address_is_an_error_of_ours(served: Served, target: bytes, version: bytes) -> None:
    request = b"GET " + target + b" " + version + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with served.raw(request) as peer:
        answer = read_all(peer)
    assert answer[9:12] in (b"200", b"302", b"400", b"401", b"404", b"414"), answer[:200]
