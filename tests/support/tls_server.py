"""A TLS server on loopback that answers byte for byte what it is told, and a CA of its own for it."""

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


class TlsServer:
    """Answers what it is told, as slowly as it is told; each connection is one request."""

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


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_server(certificates: Path, settings: Any) -> Iterator[TlsServer]:
    settings.OUTBOUND_CA_FILE = str(certificates / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    running = TlsServer(context)
    yield running
    running.stop()
