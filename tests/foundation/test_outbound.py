"""The one door: where it does not lead, and that nobody on the other side can hold it open."""

import gzip
import socket
import time
from typing import Any

import pytest
from django.db import transaction

from foundation.outbound import (
    Lane,
    OutboundAnswer,
    OutboundBusy,
    OutboundFailed,
    OutboundRefused,
    Trust,
    check_url,
    fetch,
    is_public,
)
from tests.patience import PATIENCE
from tests.support.tls_server import TlsServer

SUPPLIED = Lane("supplied", Trust.SUPPLIED, per_host=9)
CONFIGURED = Lane("configured", Trust.CONFIGURED, per_host=9)


@pytest.mark.parametrize(
    "url",
    [
        "http://push.example.com/x", "ftp://push.example.com/", "push.example.com", "//push.example.com/", "", "https://",
        "https:///x", "https://user@push.example.com/", "https://user:secret@push.example.com/",
        "https://push.example.com@127.0.0.1/", "https://push.example.com#@127.0.0.1/", "https://push.example.com/#x",
        "https://push.example.com\\@127.0.0.1/", "https://push.example.com /", " https://push.example.com/",
        "https://push.example.com/\r\nHost: x", "https://push.example.com/\x00", "https://push.example.com/é",
        "https://püsh.example.com/", "https://push.example.com:80/", "https://push.example.com:22/",
        "https://push.example.com:99999/", "https://push.example.com:/", "https://push.example.com:0/",
        "https://push_example/", "https://-x.example/", "https://x.example./" + "y" * 2048, "https://%31%32%37.0.0.1/",
        "https://①②⑦.⓪.⓪.①/", "https://[::1%25eth0]/", "file:///etc/passwd", "gopher://127.0.0.1/",
    ],
)  # fmt: skip
def test_urls_that_are_not_called(url: str) -> None:
    with pytest.raises(OutboundRefused):
        check_url(url, Trust.SUPPLIED)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f.0.0.1/", "https://0177.0.0.1/",
        "https://0/", "https://0.0.0.0/", "https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/",
        "https://169.254.169.254/latest/", "https://100.64.0.1/", "https://[::1]/", "https://[::]/",
        "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[fe80::1]/", "https://[fd00::1]/",
        "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://localhost/", "https://localhost:8443/",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(url: str) -> None:
    with pytest.raises((OutboundRefused, OutboundFailed)) as raised:
        fetch("GET", url, lane=SUPPLIED, timeout=PATIENCE, max_bytes=10)
    assert isinstance(raised.value, OutboundRefused) or "resolved" in str(raised.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("100.64.0.1", False), ("169.254.169.254", False), ("192.0.2.1", False), ("198.18.0.1", False),
        ("224.0.0.1", False), ("240.0.0.1", False), ("255.255.255.255", False), ("0.0.0.0", False), ("::1", False),  # noqa: S104
        ("::ffff:93.184.216.34", False), ("::ffff:127.0.0.1", False), ("fe80::1", False), ("fc00::1", False),
        ("ff02::1", False), ("2002:7f00:1::1", False), ("2001:0:7f00:1::1", False), ("64:ff9b::1.2.3.4", False),
        ("2001:db8::1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def answer_dns(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """What the resolver says, one answer per question; the last stays. Gives the names that were asked for."""
    sent: list[str] = []
    real = socket.getaddrinfo

    def resolver(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return real(host, port, *args, **options)
        sent.append(str(host))
        addresses = answers[min(len(sent), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return sent


class TestNames:
    def test_one_that_leads_inside_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answer_dns(monkeypatch, ["127.0.0.1"])
        with pytest.raises(OutboundRefused, match="not a public address"):
            fetch("GET", "https://inside.example/", lane=SUPPLIED, timeout=PATIENCE, max_bytes=10)

    def test_so_is_one_that_leads_inside_and_outside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answer_dns(monkeypatch, ["93.184.216.34", "10.0.0.1"])
        with pytest.raises(OutboundRefused):
            fetch("GET", "https://mixed.example/", lane=SUPPLIED, timeout=PATIENCE, max_bytes=10)

    def test_it_is_asked_for_once_and_the_answer_holds(
        self, tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A name that answers something else the second time (rebinding) is not asked a second time."""
        sent = answer_dns(monkeypatch, ["127.0.0.1"], ["127.0.0.9"])
        tls_server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        url = f"https://server.example:{tls_server.port}/"
        answer = fetch("GET", url, lane=CONFIGURED, timeout=PATIENCE, max_bytes=10)
        assert (answer.body, sent) == (b"ok", ["server.example"])
        assert b"Host: server.example" in tls_server.requests[0]

    def test_one_that_does_not_resolve(self) -> None:
        with pytest.raises(OutboundFailed, match="resolved"):
            fetch(
                "GET",
                "https://does-not-exist.invalid/",
                lane=SUPPLIED,
                timeout=PATIENCE,
                max_bytes=10,
            )

    def test_a_resolver_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: time.sleep(1) or [])
        with pytest.raises(OutboundFailed, match="in time"):
            fetch("GET", "https://slow.example/", lane=SUPPLIED, timeout=0.2, max_bytes=10)


def get(
    tls_server: TlsServer, *, timeout: float = PATIENCE, max_bytes: int = 1000, host: str = "127.0.0.1"
) -> OutboundAnswer:
    url = f"https://{host}:{tls_server.port}/x?y=1"
    return fetch("GET", url, lane=CONFIGURED, timeout=timeout, max_bytes=max_bytes)


class TestTheOtherSide:
    def test_an_answer(self, tls_server: TlsServer) -> None:
        tls_server.says(b"HTTP/1.1 201 Created\r\nRetry-After: 5\r\nContent-Length: 2\r\n\r\nok")
        assert get(tls_server) == OutboundAnswer(201, {"retry-after": "5", "content-length": "2"}, b"ok")
        assert tls_server.requests[0].startswith(b"GET /x?y=1 HTTP/1.1\r\n")
        assert b"Accept-Encoding: identity\r\n" in tls_server.requests[0]

    def test_a_redirect_is_an_answer_and_is_not_followed(self, tls_server: TlsServer) -> None:
        tls_server.says(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
        assert get(tls_server).status == 302
        assert len(tls_server.requests) == 1

    def test_a_huge_body(self, tls_server: TlsServer) -> None:
        tls_server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", endless=b"x" * 1000)
        with pytest.raises(OutboundFailed, match="larger than 1000 bytes"):
            get(tls_server)

    def test_endless_headers(self, tls_server: TlsServer) -> None:
        tls_server.says(b"HTTP/1.1 200 OK\r\n", endless=b"X: y\r\n" * 100)
        with pytest.raises(OutboundFailed):
            get(tls_server)

    @pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"])
    def test_a_byte_at_a_time(self, tls_server: TlsServer, start: bytes) -> None:
        """Each byte comes in time; all of them do not."""
        tls_server.says(start + b"x" * 500, one_byte_each=0.05)
        began = time.monotonic()
        with pytest.raises(OutboundFailed, match=r"within 0\.6 s"):
            get(tls_server, timeout=0.6)
        assert time.monotonic() - began < 20, "all bytes would take 25 s"

    @pytest.mark.parametrize(
        "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]
    )
    def test_answers_before_the_answer_without_end(self, tls_server: TlsServer, interim: bytes) -> None:
        tls_server.says(b"", endless=interim)
        with pytest.raises(OutboundFailed, match=r"within 0\.6 s"):
            get(tls_server, timeout=0.6)

    def test_a_body_in_chunks_without_end(self, tls_server: TlsServer) -> None:
        tls_server.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", endless=b"5\r\nabcde\r\n")
        with pytest.raises(OutboundFailed, match="larger than 1000 bytes"):
            get(tls_server)

    def test_nothing_is_unpacked(self, tls_server: TlsServer) -> None:
        """A few bytes that would be gigabytes stay a few bytes."""
        packed = gzip.compress(b"x" * 100_000)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
        tls_server.says(head.encode() + packed)
        assert get(tls_server).body == packed

    @pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nX-Injected: 1", "a\x00b"])
    def test_a_header_that_brings_another(self, tls_server: TlsServer, value: str) -> None:
        url = f"https://127.0.0.1:{tls_server.port}/"
        with pytest.raises(OutboundFailed):
            fetch("GET", url, lane=CONFIGURED, headers={"Topic": value}, timeout=PATIENCE, max_bytes=10)
        assert not any(b"Injected" in request for request in tls_server.requests)

    @pytest.mark.django_db(transaction=True)
    def test_never_while_a_transaction_is_open(self, tls_server: TlsServer) -> None:
        with transaction.atomic(), pytest.raises(RuntimeError, match="not inside a transaction"):
            get(tls_server)

    def test_no_answer_at_all(self, tls_server: TlsServer) -> None:
        tls_server.act = lambda connection: time.sleep(2)
        with pytest.raises(OutboundFailed, match=r"within 0\.3 s"):
            get(tls_server, timeout=0.3)

    @pytest.mark.parametrize("junk", [b"", b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
    def test_junk(self, tls_server: TlsServer, junk: bytes) -> None:
        tls_server.says(junk)
        with pytest.raises(OutboundFailed):
            get(tls_server)

    def test_another_name_in_the_certificate(self, tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        answer_dns(monkeypatch, ["127.0.0.1"])
        tls_server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(OutboundFailed):
            get(tls_server, host="other.example")
        assert not tls_server.requests, "nothing was said to it"

    def test_an_unknown_ca(self, tls_server: TlsServer, settings: Any) -> None:
        settings.OUTBOUND_CA_FILE = ""
        with pytest.raises(OutboundFailed):
            get(tls_server)
        assert not tls_server.requests

    def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(OutboundFailed):
            fetch("GET", f"https://127.0.0.1:{port}/", lane=CONFIGURED, timeout=PATIENCE, max_bytes=10)


class TestExceptions:
    def test_they_name_host_and_port_exactly(self, tls_server: TlsServer, settings: Any) -> None:
        settings.OUTBOUND_EXCEPTIONS = [f"127.0.0.1:{tls_server.port}"]
        tls_server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        url = f"https://127.0.0.1:{tls_server.port}/"
        assert fetch("GET", url, lane=SUPPLIED, timeout=PATIENCE, max_bytes=10).status == 200
        for near in (
            f"https://127.0.0.2:{tls_server.port}/",
            f"https://localhost:{tls_server.port}/",
            "https://127.0.0.1:8443/",
        ):
            with pytest.raises(OutboundRefused):
                fetch("GET", near, lane=SUPPLIED, timeout=PATIENCE, max_bytes=10)

    def test_no_proxy_of_the_environment_is_asked(self, tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        tls_server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert get(tls_server).status == 200


class TestLanes:
    """How many threads may wait for one host."""

    def test_calls_to_one_host_are_limited_over_all_lanes(self, tls_server: TlsServer) -> None:
        narrow, wide = Lane("narrow", Trust.CONFIGURED, per_host=1), Lane("wide", Trust.CONFIGURED, per_host=2)
        tls_server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        url = f"https://127.0.0.1:{tls_server.port}/"

        def call(lane: Lane) -> int:
            return fetch("GET", url, lane=lane, timeout=PATIENCE, max_bytes=10).status

        with wide.place(url.upper().replace("HTTPS", "https")) as has_place:
            assert has_place
            with pytest.raises(OutboundBusy, match="on their way"):
                call(narrow)
            assert not tls_server.requests, "nothing was sent"
            assert call(wide) == 200
            with narrow.place("https://another.example/") as elsewhere:
                assert elsewhere, "another host is not kept waiting"
        assert call(narrow) == 200

    def test_a_lane_may_be_limited_over_all_hosts(self) -> None:
        lane = Lane("both", Trust.SUPPLIED, per_host=9, in_total=1)
        with lane.place("https://a.example/") as first, lane.place("https://b.example/") as second:
            assert (first, second) == (True, False)
        with lane.place("https://b.example/") as third:
            assert third, "a place that was not taken is not released"

    def test_a_failed_call_gives_its_place_back(self) -> None:
        lane = Lane("failing", Trust.SUPPLIED, per_host=1)
        for _ in range(3):
            with pytest.raises(OutboundFailed, match="resolved"):
                fetch("GET", "https://does-not-exist.invalid/", lane=lane, timeout=PATIENCE, max_bytes=10)
