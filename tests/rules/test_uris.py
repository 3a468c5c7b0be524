"""Which URIs a client may register, as a table of sentences."""

import pytest

from clients.uris import problem_with_address, problem_with_document_url, problem_with_redirect


@pytest.mark.parametrize(
    "uri",
    [
        "https://client.example.com/callback", "https://client.example.com", "https://client.example.com:8443/cb?x=1",
        "http://localhost/cb", "http://localhost:3000/cb", "http://127.0.0.1:33418/", "http://[::1]:5/cb",
        "https://[2606:2800:220:1::1]/cb", "https://xn--bcher-kva.example/cb",
    ],
)  # fmt: skip
def test_redirects_that_anybody_may_have(uri: str) -> None:
    assert problem_with_redirect(uri, native=False) is None


@pytest.mark.parametrize("uri", ["com.example.app:/cb", "com.example.app://cb/x", "io.github.some-agent:/oauth"])
def test_private_use_schemes_are_for_native_clients(uri: str) -> None:
    assert problem_with_redirect(uri, native=True) is None
    assert problem_with_redirect(uri, native=False)


@pytest.mark.parametrize(
    "uri",
    [
        "", "/", "callback", "//client.example.com/cb", "https:", "https://", "https:///cb",
        "https:client.example.com/cb",
        "http://client.example.com/cb", "http://localhost.example.com/", "http://127.0.0.1.example.com/",
        "http://localhost@client.example.com/", "http://client.example.com#localhost", "http://127.1/", "http://127.0.0.2/",
        "http://0.0.0.0/", "http://2130706433/", "http://[::ffff:127.0.0.1]/", "http://LOCALHOST/", "HTTPS://client.example.com/cb",
        "https://Client.example.com/cb", "https://user@client.example.com/", "https://user:secret@client.example.com/",
        "https://client.example.com/#", "https://client.example.com/cb#x", "https://client.example.com\\@evil.example/",
        "https://client.example.com /cb", " https://client.example.com/cb", "https://client.example.com/cb\n",
        "https://client.example.com/cb\r\nLocation: x", "https://client.example.com/\x00", "https://clïent.example.com/",
        "https://client.example.com/../cb", "https://client.example.com/a/./b", "https://client.example.com/%2e%2e/cb",
        "https://client.example.com/%2E./cb", "https://client.example.com/..%2fcb", "https://client.example.com/..%5ccb",
        "https://*.example.com/cb", "https://client_x/cb", "https://client.example.com:99999/", "https://client.example.com:x/",
        "https://client.example.com:/cb", "https://-x.example.com/", "https://client..example.com/", "https://[::1/cb", "https://[x]/",
        "javascript:alert(1)", "JavaScript:alert(1)", "javascript://client.example.com/%0aalert(1)", "data:text/html,x",
        "vbscript:x", "file:///etc/passwd", "blob:https://client.example.com/x", "about:blank", "ftp://client.example.com/",
        "urn:ietf:wg:oauth:2.0:oob", "app:/cb", "myapp://cb", "view-source:https://client.example.com/",
        "java%0ascript:alert(1)", "<script>", "https://client.example.com/\"><script>",
        "https://client.example.com/'><img src=x onerror=1>",
        "https://client.example.com/" + "x" * 1024,
    ],
)  # fmt: skip
def test_redirects_that_nobody_may_have(uri: str) -> None:
    assert problem_with_redirect(uri, native=True)
    assert problem_with_redirect(uri, native=False)


@pytest.mark.parametrize("uri", ["https://client.example.com", "https://client.example.com/logo.png?size=64"])
def test_addresses(uri: str) -> None:
    assert problem_with_address(uri) is None


@pytest.mark.parametrize(
    "uri",
    [
        "http://client.example.com/", "http://localhost/", "javascript:alert(1)", "data:image/png;base64,x",
        "com.example.app:/x",
        "https://user@client.example.com/", "https://client.example.com/#x", "//client.example.com/", "https://", "",
    ],
)  # fmt: skip
def test_what_is_not_an_address(uri: str) -> None:
    assert problem_with_address(uri)


def test_the_url_of_a_metadata_document() -> None:
    assert problem_with_document_url("https://client.example.com/oauth/client.json") is None
    assert problem_with_document_url("https://client.example.com:8443/c?v=2") is None


@pytest.mark.parametrize(
    "uri",
    [
        "https://client.example.com", "https://client.example.com/", "https://client.example.com?x=1", "https://client.example.com/c#x",
        "https://user@client.example.com/c", "https://client.example.com/../c", "https://client.example.com/a/%2e%2e/c",
        "http://client.example.com/c", "http://localhost/c", "HTTPS://client.example.com/c", "https://Client.example.com/c",
        "https:/client.example.com/c", "https://client.example.com\\c",
    ],
)  # fmt: skip
def test_what_is_not_the_url_of_a_metadata_document(uri: str) -> None:
    assert problem_with_document_url(uri)
