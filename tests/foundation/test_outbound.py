"""The one door: where it does not lead, and that nobody on the other side can hold it open."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from foundation.outbound import Answer, OutboundFailed, OutboundRefused, Trust, check_url, fetch, is_public


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
        fetch("GET", url, trust=Trust.SUPPLIED, timeout=5, max_bytes=10)
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
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolver(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return real(host, port, *args, **options)
        asked.append(str(host))
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return asked


class TestNames:
    def test_one_that_leads_inside_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answer_dns(monkeypatch, ["127.0.0.1"])
        with pytest.raises(OutboundRefused, match="not a public address"):
            fetch("GET", "https://inside.example/", trust=Trust.SUPPLIED, timeout=5, max_bytes=10)

    def test_so_is_one_that_leads_inside_and_outside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answer_dns(monkeypatch, ["93.184.216.34", "10.0.0.1"])
        with pytest.raises(OutboundRefused):
            fetch("GET", "https://mixed.example/", trust=Trust.SUPPLIED, timeout=5, max_bytes=10)

    def test_it_is_asked_for_once_and_the_answer_holds(self, server: "Server", monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that answers something else the second time (rebinding) is not asked a second time."""
        asked = answer_dns(monkeypatch, ["127.0.0.1"], ["127.0.0.9"])
        server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        url = f"https://server.example:{server.port}/"
        answer = fetch("GET", url, trust=Trust.CONFIGURED, timeout=5, max_bytes=10)
        assert (answer.body, asked) == (b"ok", ["server.example"])
        assert b"Host: server.example" in server.requests[0]

    def test_one_that_does_not_resolve(self) -> None:
        with pytest.raises(OutboundFailed, match="resolved"):
            fetch("GET", "https://does-not-exist.invalid/", trust=Trust.SUPPLIED, timeout=10, max_bytes=10)

    def test_a_resolver_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: time.sleep(1) or [])
        with pytest.raises(OutboundFailed, match="in time"):
            fetch("GET", "https://slow.example/", trust=Trust.SUPPLIED, timeout=0.2, max_bytes=10)


class Server:
    """A TLS server on loopback that answers byte for byte what it is told, as slowly as it is told."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.act: Callable[[Any], None] = lambda connection: None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def says(self, answer: bytes, *, one_byte_each: float = 0, endless: bytes = b"") -> None:
        def act(connection: Any) -> None:
            for position in range(len(answer)) if one_byte_each else ():
                connection.sendall(answer[position : position + 1])
                time.sleep(one_byte_each)
            if not one_byte_each:
                connection.sendall(answer)
            while endless:
                connection.sendall(endless)

        self.act = act

    def run(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True) as connection:
                    self.requests.append(connection.recv(65536))
                    self.act(connection)
            except OSError:  # the other side went away, which is what some tests are about
                plain.close()

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=10)


def make_certificate(folder: Path) -> Path:
    """A CA of its own and a certificate for server.example and 127.0.0.1: ca.pem and server.pem."""
    now = dt.datetime.now(dt.UTC)

    def build(name: str, public: Any, issuer: str, signer: Any, *extensions: x509.ExtensionType) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer)).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(signer, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    ca = build("CA", ca_key.public_key(), "CA", ca_key, x509.BasicConstraints(True, None), ca_id, usage)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("server.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id)
    leaf = build("server", key.public_key(), "CA", ca_key, names, authority, x509.BasicConstraints(False, None))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (folder / "server.pem").write_bytes(private + leaf.public_bytes(pem))
    return folder


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(certificates: Path, settings: Any) -> Iterator[Server]:
    settings.OUTBOUND_CA_FILE = str(certificates / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    running = Server(context)
    yield running
    running.stop()


def get(server: Server, *, timeout: float = 5, max_bytes: int = 1000, host: str = "127.0.0.1") -> Answer:
    url = f"https://{host}:{server.port}/x?y=1"
    return fetch("GET", url, trust=Trust.CONFIGURED, timeout=timeout, max_bytes=max_bytes)


class TestTheOtherSide:
    def test_an_answer(self, server: Server) -> None:
        server.says(b"HTTP/1.1 201 Created\r\nRetry-After: 5\r\nContent-Length: 2\r\n\r\nok")
        assert get(server) == Answer(201, {"retry-after": "5", "content-length": "2"}, b"ok")
        assert server.requests[0].startswith(b"GET /x?y=1 HTTP/1.1\r\n")
        assert b"Accept-Encoding: identity\r\n" in server.requests[0]

    def test_a_redirect_is_an_answer_and_is_not_followed(self, server: Server) -> None:
        server.says(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
        assert get(server).status == 302
        assert len(server.requests) == 1

    def test_a_huge_body(self, server: Server) -> None:
        server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", endless=b"x" * 1000)
        with pytest.raises(OutboundFailed, match="larger than 1000 bytes"):
            get(server)

    def test_endless_headers(self, server: Server) -> None:
        server.says(b"HTTP/1.1 200 OK\r\n", endless=b"X: y\r\n" * 100)
        with pytest.raises(OutboundFailed):
            get(server)

    @pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"])
    def test_a_byte_at_a_time(self, server: Server, start: bytes) -> None:
        """Each byte comes in time; all of them do not."""
        server.says(start + b"x" * 500, one_byte_each=0.05)
        began = time.monotonic()
        with pytest.raises(OutboundFailed, match=r"within 0\.6 s"):
            get(server, timeout=0.6)
        assert time.monotonic() - began < 3

    def test_no_answer_at_all(self, server: Server) -> None:
        server.act = lambda connection: time.sleep(2)
        with pytest.raises(OutboundFailed, match=r"within 0\.3 s"):
            get(server, timeout=0.3)

    @pytest.mark.parametrize("junk", [b"", b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
    def test_junk(self, server: Server, junk: bytes) -> None:
        server.says(junk)
        with pytest.raises(OutboundFailed):
            get(server)

    def test_another_name_in_the_certificate(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        answer_dns(monkeypatch, ["127.0.0.1"])
        server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(OutboundFailed):
            get(server, host="other.example")
        assert not server.requests, "nothing was said to it"

    def test_an_unknown_ca(self, server: Server, settings: Any) -> None:
        settings.OUTBOUND_CA_FILE = ""
        with pytest.raises(OutboundFailed):
            get(server)
        assert not server.requests

    def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(OutboundFailed):
            fetch("GET", f"https://127.0.0.1:{port}/", trust=Trust.CONFIGURED, timeout=5, max_bytes=10)


class TestExceptions:
    def test_they_name_host_and_port_exactly(self, server: Server, settings: Any) -> None:
        settings.OUTBOUND_EXCEPTIONS = [f"127.0.0.1:{server.port}"]
        server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        url = f"https://127.0.0.1:{server.port}/"
        assert fetch("GET", url, trust=Trust.SUPPLIED, timeout=5, max_bytes=10).status == 200
        for near in (
            f"https://127.0.0.2:{server.port}/",
            f"https://localhost:{server.port}/",
            "https://127.0.0.1:8443/",
        ):
            with pytest.raises(OutboundRefused):
                fetch("GET", near, trust=Trust.SUPPLIED, timeout=5, max_bytes=10)

    def test_no_proxy_of_the_environment_is_asked(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        server.says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert get(server).status == 200
