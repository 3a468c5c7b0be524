"""The shipped HAProxy configuration, in a real HAProxy before a real server, met by real client certificates."""

import http.client
import json
import os
import re
import shutil
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography import x509

from accounts.models import User
from foundation.handles import from_b64url
from runtime.processes import Process, free_port
from tests.patience import PATIENCE
from tests.support.certificates import Holder, dns, make_certificate
from tests.support.web_server import make_server, running
from tests.support.world import FORM, Caller, allow_everything, make_caller

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parent.parent.parent
PAGES, AGENTS, AGENT = "localhost", "mtls.localhost", "agent.example.com"


@dataclass
class Site:
    """A running server behind a running proxy."""

    port: int
    authority: Holder  # of agents' certificates
    trust: Path  # the authority of the proxy's own certificates
    folder: Path

    def post(self, host: str, path: str, form: dict[str, str], holder: Holder | None = None, **headers: str) -> Any:
        """Over a connection of its own: the status and the JSON."""
        connection = self.connect(host, holder)
        try:
            return self.send(connection, host, path, form, **headers)
        finally:
            connection.close()

    def context(self, holder: Holder | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.trust))
        if holder:
            context.load_cert_chain(*holder.write(self.folder, "client"))
        return context

    def connect(
        self, host: str, holder: Holder | None, context: ssl.SSLContext | None = None, session: Any = None
    ) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        return (context or self.context(holder)).wrap_socket(raw, server_hostname=host, session=session)

    def send(self, connection: ssl.SSLSocket, host: str, path: str, form: dict[str, str], **headers: str) -> Any:
        body = urlencode(form)
        own = {"Host": f"{host}:{self.port}", "Content-Type": FORM, "Content-Length": str(len(body))} | headers
        lines = [f"POST {path} HTTP/1.1", *(f"{name.replace('__', '-')}: {value}" for name, value in own.items())]
        connection.sendall("\r\n".join([*lines, "", body]).encode())
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        return response.status, json.loads(response.read())

    def ask(self, caller: Caller, holder: Holder | None, host: str = AGENTS, **headers: str) -> Any:
        return self.post(host, "/oauth/token", form_of(caller, self.port), holder, **headers)


def form_of(caller: Caller, port: int) -> dict[str, str]:
    form = {"grant_type": "client_credentials", "scope": "calendar.read"}
    if caller.agent.uses_mutual_tls:
        return form | {"client_id": caller.agent.client_id}
    assertion = caller.assertion(f"https://{PAGES}:{port}")
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return form | {"client_assertion_type": kind, "client_assertion": assertion}


def cnf_of(answer: tuple[int, Any]) -> Any:
    status, body = answer
    assert status == 200, body
    return json.loads(from_b64url(body["access_token"].split(".")[1])).get("cnf")


@pytest.fixture(scope="module")
def haproxy() -> str:
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/sbin")
    if found is None:
        message = "There is no HAProxy here: apt-get install haproxy."
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return str(found)


@pytest.fixture(scope="module")
def site(haproxy: str, tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("haproxy")
    port, inner = free_port(), free_port()
    trusted = make_certificate("CN=Authority of the server", is_authority=True)
    authority = make_certificate("CN=Authority of agents", is_authority=True)
    (folder / "trust").mkdir()
    trust, _ = trusted.write(folder / "trust", "trusted")
    agents, _ = authority.write(folder / "trust", "agents")
    lines = []
    for host, options in ((PAGES, ""), (AGENTS, f"[{shipped_options(agents)}] ")):
        certificate, key = make_certificate(f"CN={host}", dns(host), issuer=trusted).write(folder, host)
        pem = folder / f"{host}.pem"
        pem.write_text(Path(certificate).read_text() + Path(key).read_text())
        lines.append(f"{pem} {options}{host}\n")
    (folder / "certificates.txt").write_text("".join(lines))
    proxy_environment = {
        "BIND": f"127.0.0.1:{port}", "CERTIFICATES": str(folder / "certificates.txt"),
        "COUNTERSIGN": f"127.0.0.1:{inner}", "PATH": os.environ["PATH"],
    }  # fmt: skip
    server = make_server(
        inner, folder, ISSUER_URL=f"https://{PAGES}:{port}", MTLS_URL=f"https://{AGENTS}:{port}",
        TRUSTED_PROXIES="127.0.0.1", ALLOWED_HOSTS=f"{PAGES},{AGENTS},127.0.0.1",
    )  # fmt: skip
    command = [haproxy, "-db", "-f", ROOT / "deploy" / "haproxy.cfg"]
    proxy = Process("HAProxy", command, proxy_environment, log=folder / "haproxy.log")
    with running(server, inner), running(proxy, port):
        yield Site(port, authority, Path(trust), folder)


def shipped_options(agents: str) -> str:
    """What deploy/haproxy-certificates.txt asks of a client, with these authorities."""
    shipped = (ROOT / "deploy" / "haproxy-certificates.txt").read_text()
    found = re.search(r"^/.*\[(.*)\]", shipped, re.MULTILINE)
    assert found
    return re.sub(r"(?<=ca-file )\S+", agents, found[1])


@pytest.fixture
def chained(agent: Caller, user: User, settings: Any) -> Caller:
    """tls_client_auth, bound tokens."""
    settings.MTLS_URL = "https://mtls.localhost"
    caller = make_caller(
        "Chained", token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns=AGENT,
        tls_client_certificate_bound_access_tokens=True,
    )  # fmt: skip
    return allow_everything(caller, user)


def issued(site: Site, *names: x509.GeneralName, **more: Any) -> Holder:
    return make_certificate("CN=Agent", *(names or [dns(AGENT)]), issuer=site.authority, **more)


def test_a_certificate_of_a_trusted_authority(site: Site, chained: Caller) -> None:
    holder = issued(site)
    assert cnf_of(site.ask(chained, holder)) == {"x5t#S256": holder.x5t}
    assert site.ask(chained, issued(site, dns("other.example.com")))[0] == 401


def test_a_self_signed_certificate_gets_through_and_is_distinguished(site: Site, chained: Caller, user: User) -> None:
    holder = make_certificate("CN=Agent", dns(AGENT))
    assert site.ask(chained, holder)[0] == 401, "it has the right name, and nobody vouches for it"
    registered = make_caller("Self-signed")
    registered.agent.client_jwks = {"keys": [holder.jwk()]}
    registered.agent.token_endpoint_auth_method = "self_signed_tls_client_auth"
    registered.agent.full_clean()
    registered.agent.save()
    allow_everything(registered, user)
    assert site.ask(registered, holder)[0] == 200
    assert site.ask(registered, make_certificate("CN=Agent", dns(AGENT)))[0] == 401


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)], ids=["expired", "not yet valid"])
def test_a_certificate_out_of_its_time(site: Site, chained: Caller, days: tuple[int, int]) -> None:
    assert site.ask(chained, issued(site, days=days))[0] == 401


def test_a_certificate_of_a_lookalike_authority(site: Site, chained: Caller) -> None:
    lookalike = make_certificate("CN=Authority of agents", is_authority=True)
    assert site.ask(chained, make_certificate("CN=Agent", dns(AGENT), issuer=lookalike))[0] == 401


SPELLINGS = ["Client-Cert", "client-cert", "Client_Cert", "CLIENT_CERT", "Client-cert"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("host", [PAGES, AGENTS])
def test_a_forged_header_is_nothing(site: Site, chained: Caller, host: str, spelling: str) -> None:
    victims = issued(site)
    forged = {spelling: victims.header, f"{spelling}-Verify": "SUCCESS", f"{spelling}_Verify": "SUCCESS"}
    assert site.ask(chained, None, host, **forged)[0] == 401
    attackers = make_certificate("CN=Attacker", dns("attacker.example.com"))
    if host == AGENTS:
        assert site.ask(chained, attackers, host, **forged)[0] == 401, "beside a certificate of the attacker's own"


@pytest.mark.parametrize("spelling", ["Client-Cert-Verify", "Client_Cert_Verify", "Client_Cert-Verify"])
def test_a_forged_outcome_is_nothing(site: Site, chained: Caller, spelling: str) -> None:
    assert site.ask(chained, make_certificate("CN=Agent", dns(AGENT)), **{spelling: "SUCCESS"})[0] == 401


def test_a_bound_agent_is_bound_to_the_certificate_of_the_connection(site: Site, agent: Caller) -> None:
    agent.agent.tls_client_certificate_bound_access_tokens = True
    agent.agent.save()
    holder = make_certificate("CN=Anything")
    forged = {"Client_Cert": issued(site).header}
    assert cnf_of(site.ask(agent, holder, **forged)) == {"x5t#S256": holder.x5t}
    status, body = site.ask(agent, None, PAGES)
    assert (status, body["error"]) == (400, "invalid_request"), "without a certificate there is no token"


def test_a_resumed_connection_is_still_not_trusted(site: Site, chained: Caller) -> None:
    """A proxy that forgets on resumption why a certificate was refused would trust it now."""
    context = site.context(make_certificate("CN=Agent", dns(AGENT)))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with site.connect(AGENTS, None, context) as first:
        assert site.send(first, AGENTS, "/oauth/token", form_of(chained, site.port))[0] == 401
        session = first.session
    with site.connect(AGENTS, None, context, session) as again:
        assert site.send(again, AGENTS, "/oauth/token", form_of(chained, site.port))[0] == 401
        assert again.session_reused


def test_a_resumed_connection_keeps_its_certificate(site: Site, chained: Caller) -> None:
    holder = issued(site)
    context = site.context(holder)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with site.connect(AGENTS, None, context) as first:
        assert site.send(first, AGENTS, "/oauth/token", form_of(chained, site.port))[0] == 200
        session = first.session
    with site.connect(AGENTS, None, context, session) as again:
        answer = site.send(again, AGENTS, "/oauth/token", form_of(chained, site.port))
        assert again.session_reused
        assert cnf_of(answer) == {"x5t#S256": holder.x5t}


def test_a_large_certificate(site: Site, chained: Caller) -> None:
    names = [dns(AGENT), *(dns(f"agent-{number}.example.com") for number in range(150))]
    assert site.ask(chained, issued(site, *names))[0] == 200


def test_the_clients_address_is_the_proxys_word(site: Site, agent: Caller) -> None:
    assert (
        site.ask(agent, None, PAGES, **{"X-Forwarded-For": "203.0.113.9", "X_Forwarded_For": "203.0.113.9"})[0] == 200
    )


def listed_authorities(request: bytes, version: ssl.TLSVersion) -> bytes:
    """The names in a CertificateRequest (RFC 5246 7.4.4; RFC 8446 4.3.2 and 4.2.4)."""

    def vector(at: int, width: int) -> tuple[bytes, int]:
        start = at + width
        end = start + int.from_bytes(request[at:start])
        return request[start:end], end

    _, at = vector(4, 1)  # after the message's type and length: kinds of certificates, or the context
    if version is ssl.TLSVersion.TLSv1_2:
        _, at = vector(at, 2)  # signature algorithms
        return vector(at, 2)[0]
    extensions, _ = vector(at, 2)
    at += 2
    end = at + len(extensions)
    while at < end:
        kind = int.from_bytes(request[at : at + 2])
        content, at = vector(at + 2, 2)
        if kind == 47:  # certificate_authorities
            return content
    return b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_no_authorities_are_listed_in_the_handshake(site: Site, version: ssl.TLSVersion) -> None:
    """Java clients send only a certificate of an authority that the server lists, unless the list is empty."""
    requests: list[bytes] = []

    def note(_connection: Any, direction: str, _version: Any, _kind: Any, message: Any, data: bytes) -> None:
        if direction == "read" and getattr(message, "name", "") == "CERTIFICATE_REQUEST":
            requests.append(bytes(data))

    context = site.context(None)
    context.minimum_version = context.maximum_version = version
    context._msg_callback = note  # type: ignore[attr-defined]  # the standard library's own way to see the handshake
    with site.connect(AGENTS, None, context):
        assert len(requests) == 1, "it asks for a certificate"
    assert listed_authorities(requests[0], version) == b""
