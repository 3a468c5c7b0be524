"""Who sent a request, as the proxies in front of us tell it."""

import logging
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from authserver.forwarded import UNKNOWN, Sender, parse_address, parse_network, read_sender
from authserver.middleware import Guard

TRUSTED = ["10.0.0.0/8", "fd00::/8", "198.51.100.7"]
NETWORKS = [parse_network(text) for text in TRUSTED]
CLIENT = "203.0.113.9"


def sender(peer: str, forwarded_for: str = "", forwarded_proto: str = "") -> Sender:
    return read_sender(peer, forwarded_for, forwarded_proto, NETWORKS)


class TestOneAddress:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("203.0.113.9", "203.0.113.9", id="IPv4"),
            pytest.param("203.0.113.9:51000", "203.0.113.9", id="IPv4 with a port"),
            pytest.param("2001:db8::9", "2001:db8::9", id="IPv6"),
            pytest.param("2001:DB8:0:0:0:0:0:9", "2001:db8::9", id="IPv6 in full and in capitals"),
            pytest.param("[2001:db8::9]", "2001:db8::9", id="IPv6 in brackets"),
            pytest.param("[2001:db8::9]:443", "2001:db8::9", id="IPv6 in brackets with a port"),
            pytest.param("::ffff:203.0.113.9", "203.0.113.9", id="IPv4 mapped"),
            pytest.param("::FFFF:cb00:7109", "203.0.113.9", id="IPv4 mapped, in hexadecimal"),
            pytest.param("[::ffff:203.0.113.9]:51000", "203.0.113.9", id="IPv4 mapped, in brackets with a port"),
            pytest.param("fe80::1%eth0", "fe80::1", id="with a zone"),
            pytest.param("[fe80::1%25eth0]:80", "fe80::1", id="with a zone as URLs have it"),
        ],
    )
    def test_every_form_is_read(self, text: str, expected: str) -> None:
        assert str(parse_address(text)) == expected

    @pytest.mark.parametrize(
        "text",
        ["", "unknown", "_hidden", "_SEVKISEK:1", "unix:", "localhost", "203.0.113", "203.0.113.9:", "203.0.113.9:http",
         "203.0.113.9:123456", "203.0.113.9 203.0.113.8", "010.0.0.1", "203.0.113.9/32", "[203.0.113.9", "[]", "::1::",
         "2001:db8::9]:443", "[2001:db8::9]443", "\u0661.\u0661.\u0661.\u0661", "203.0.113.9:\u0661", "for=203.0.113.9",
         "-", "(null)", "203.0.113.9\x00"],
    )  # fmt: skip
    def test_anything_else_is_none(self, text: str) -> None:
        assert parse_address(text) is None

    @pytest.mark.parametrize("peer", ["10.0.0.6", "::ffff:10.0.0.6", "::ffff:a00:6", "[::ffff:10.0.0.6]:40000"])
    @pytest.mark.parametrize("network", ["10.0.0.0/8", "::ffff:10.0.0.0/104", "10.0.0.6", "::ffff:10.0.0.6"])
    def test_a_proxy_is_known_however_its_address_is_written(self, peer: str, network: str) -> None:
        assert read_sender(peer, CLIENT, "", [parse_network(network)]).address == CLIENT


class TestTheSender:
    @pytest.mark.parametrize(
        ("peer", "forwarded_for", "expected"),
        [
            pytest.param("10.0.0.6", CLIENT, CLIENT, id="one proxy"),
            pytest.param("::ffff:10.0.0.6", CLIENT, CLIENT, id="one proxy, seen through an IPv6 socket"),
            pytest.param("fd00::6%eth0", CLIENT, CLIENT, id="one proxy on IPv6 with a zone"),
            pytest.param("10.0.0.6", f"{CLIENT}, 198.51.100.7", CLIENT, id="two proxies"),
            pytest.param("10.0.0.6", f"{CLIENT}:4711, [fd00::1]:80, ::ffff:10.0.0.7", CLIENT, id="three, in all forms"),
            pytest.param("10.0.0.6", f" \t{CLIENT} ,,198.51.100.7 , ", CLIENT, id="spaces and empty members"),
            pytest.param("10.0.0.6", f',"{CLIENT}:80"', CLIENT, id="in quotes"),
            pytest.param("10.0.0.6", f"{CLIENT},10.0.0.7,198.51.100.7", CLIENT, id="several header lines, joined"),
            pytest.param("10.0.0.6", "10.0.0.9, 10.0.0.7", "10.0.0.9", id="proxies only: the outermost"),
            pytest.param("10.0.0.6", "", "10.0.0.6", id="a proxy that asks for itself"),
            pytest.param("10.0.0.6", f"6.6.6.6, {CLIENT}", CLIENT, id="an address that the client invented"),
            pytest.param("10.0.0.6", f"10.0.0.9, {CLIENT}", CLIENT, id="a proxy that the client invented"),
            pytest.param("10.0.0.6", f"6.6.6.6, {CLIENT}, 10.0.0.7", CLIENT, id="an invented one before two proxies"),
            pytest.param("10.0.0.6", "6.6.6.6, unknown", "10.0.0.6", id="a proxy that does not know"),
            pytest.param("10.0.0.6", "6.6.6.6, unknown, 10.0.0.7", "10.0.0.7", id="the second proxy does not know"),
            pytest.param("10.0.0.6", "6.6.6.6, _hidden", "10.0.0.6", id="a proxy that hides whom it serves"),
            pytest.param("10.0.0.6", "6.6.6.6, unix:", "10.0.0.6", id="a proxy behind a socket file"),
            pytest.param("10.0.0.6", "6.6.6.6, not an address", "10.0.0.6", id="nonsense"),
            pytest.param(CLIENT, "6.6.6.6", CLIENT, id="no proxy: a client that invents the header"),
            pytest.param(CLIENT, "10.0.0.6", CLIENT, id="no proxy: a client that claims to be one"),
            pytest.param(f"::ffff:{CLIENT}", "6.6.6.6", CLIENT, id="no proxy, seen through an IPv6 socket"),
            pytest.param("", "6.6.6.6", UNKNOWN, id="a peer without an address"),
            pytest.param("unix:", "6.6.6.6", UNKNOWN, id="a peer that is a socket file"),
        ],
    )  # fmt: skip
    def test_is_the_first_hop_from_the_right_that_is_no_proxy(
        self, peer: str, forwarded_for: str, expected: str
    ) -> None:
        assert sender(peer, forwarded_for).address == expected

    @pytest.mark.parametrize(
        ("forwarded_for", "forwarded_proto", "expected"),
        [
            pytest.param(CLIENT, "https", "https", id="one proxy"),
            pytest.param(CLIENT, " HTTPS ", "https", id="in capitals"),
            pytest.param(CLIENT, "http", "http", id="http"),
            pytest.param(CLIENT, "", None, id="nobody says"),
            pytest.param(CLIENT, "https,http", "http", id="what the client invented, before what its proxy appended"),
            pytest.param(f"{CLIENT}, 10.0.0.7", "https,http", "https", id="two proxies that append"),
            pytest.param(f"{CLIENT}, 10.0.0.7", "https , http", "https", id="two proxies, with spaces"),
            pytest.param(f"{CLIENT}, 10.0.0.7", "https,https", "https", id="two proxies that speak TLS"),
            pytest.param(f"{CLIENT}, 10.0.0.7", "https", "https", id="two proxies of which one tells"),
            pytest.param(f"{CLIENT}, 10.0.0.7", "https,http,http", "http", id="one more than there are proxies"),
            pytest.param(f"6.6.6.6, {CLIENT}", "https,http", "http", id="an invented hop makes no proxy"),
            pytest.param(CLIENT, "wss", None, id="another scheme"),
            pytest.param(CLIENT, "unknown", None, id="unknown"),
            pytest.param(CLIENT, "https;http", None, id="nonsense"),
        ],
    )
    def test_scheme_is_what_the_outermost_trusted_proxy_saw(
        self, forwarded_for: str, forwarded_proto: str, expected: str | None
    ) -> None:
        assert sender("10.0.0.6", forwarded_for, forwarded_proto).scheme == expected

    def test_nobody_else_tells_the_scheme(self) -> None:
        assert sender(CLIENT, "10.0.0.6", "https") == Sender(CLIENT)

    def test_what_could_not_be_read_is_named(self) -> None:
        assert sender("10.0.0.6", "unknown", "spdy").unreadable == (
            "X-Forwarded-For: unknown",
            "X-Forwarded-Proto: spdy",
        )
        assert sender("10.0.0.6", f"nonsense, {CLIENT}", "x,https").unreadable == (), "the client's own is not read"
        assert sender(CLIENT, "unknown", "spdy").unreadable == ()


class TestTheGuard:
    @pytest.fixture
    def seen(self, settings: Any) -> Any:
        settings.TRUSTED_PROXIES = TRUSTED
        requests: list[HttpRequest] = []

        def answer(request: HttpRequest) -> HttpResponse:
            requests.append(request)
            return HttpResponse()

        guard = Guard(answer)

        def see(peer: str, **headers: str) -> HttpRequest:
            guard(RequestFactory().get("/livez", REMOTE_ADDR=peer, headers=headers))
            return requests[-1]

        return see

    def test_a_view_sees_the_client_and_its_scheme(self, seen: Any) -> None:
        request = seen("::ffff:10.0.0.6", **{"X-Forwarded-For": f"{CLIENT}:80", "X-Forwarded-Proto": "HTTPS"})
        assert (request.META["REMOTE_ADDR"], request.is_secure()) == (CLIENT, True)
        request = seen(f"::ffff:{CLIENT}", **{"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"})
        assert (request.META["REMOTE_ADDR"], request.is_secure()) == (CLIENT, False)

    def test_each_header_that_cannot_be_read_is_logged_once(self, seen: Any, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            for member in ("unknown", "_hidden", "\x1b[31m" + "x" * 5000):
                seen("10.0.0.6", **{"X-Forwarded-For": member, "X-Forwarded-Proto": member})
        assert len(caplog.records) == 2
        assert all(len(record.getMessage()) < 400 for record in caplog.records)
        assert "X-Forwarded-For: unknown" in caplog.records[0].getMessage()
        assert "X-Forwarded-Proto: unknown" in caplog.records[1].getMessage()
