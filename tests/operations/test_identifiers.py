"""Which URIs identify a resource, and which two name the same (RFC 3986 6.2, RFC 8707 2)."""

import pytest
from django.core.exceptions import ValidationError

from operations.identifiers import is_identifier, is_same_resource
from operations.models import Resource

REGISTERED = "https://bank.example.com/"
SAME = [
    pytest.param("HTTPS://bank.example.com/", id="the scheme in capitals"),
    pytest.param("https://Bank.EXAMPLE.com/", id="the host in capitals"),
    pytest.param("https://bank.example.com:443/", id="the scheme's default port"),
    pytest.param("https://bank.example.com:/", id="a port that is empty"),
    pytest.param("https://bank.example.com", id="an empty path"),
    pytest.param("HTTPS://BANK.example.com:443", id="all at once"),
]
OTHER = [
    pytest.param("http://bank.example.com/", id="another scheme"),
    pytest.param("https://bank.example.com:80/", id="the default port of another scheme"),
    pytest.param("https://bank.example.com:8443/", id="another port"),
    pytest.param("https://bank.example.com//", id="another path"),
    pytest.param("https://bank.example.com/?", id="a query"),
    pytest.param("https://bank.example.com/#", id="a fragment"),
    pytest.param("https://bank.example.com./", id="a dot after the host"),
    pytest.param("https://bank.example.com.evil.example/", id="the host as a prefix"),
    pytest.param("https://bank.example.com@evil.example/", id="the host as a user name"),
    pytest.param("https://user@bank.example.com/", id="a user name"),
    pytest.param("https://bank.example.com\\@evil.example/", id="a backslash"),
    pytest.param(" https://bank.example.com/", id="a leading space"),
    pytest.param("https://bank.example\t.com/", id="a tab, which parsers drop"),
    pytest.param("https://bank.example.com/\x00", id="a NUL"),
    pytest.param("https://bank.exaⓜple.com/", id="a letter that some readers fold"),
    pytest.param("https:bank.example.com/", id="no authority"),
    pytest.param("https://[bank.example.com/", id="a malformed authority"),
    pytest.param("", id="nothing"),
]
OTHER_KINDS = [
    ("http://localhost:9501/", "HTTP://LOCALHOST:9501", True),
    ("http://localhost:80/x", "http://LocalHost/x", True),
    ("http://localhost/x", "http://localhost/X", False),
    ("http://localhost/x", "http://localhost/x/", False),
    ("https://[2001:db8::A]/", "https://[2001:DB8::a]:443", True),
    ("https://api.example.com?tenant=1", "https://api.example.com/?tenant=1", True),
    ("https://api.example.com/?tenant=A", "https://api.example.com/?tenant=a", False),
    ("urn:example:api", "URN:example:api", True),
    ("urn:example:api", "urn:example:API", False),
    ("api://Finance", "api://finance", True),
    ("api://finance", "api://finance/", False),
]


@pytest.mark.parametrize("spelling", SAME)
def test_the_same_resource(spelling: str) -> None:
    assert is_same_resource(REGISTERED, spelling) and is_same_resource(spelling, REGISTERED)


@pytest.mark.parametrize("spelling", OTHER)
def test_another_resource(spelling: str) -> None:
    assert not is_same_resource(REGISTERED, spelling) and not is_same_resource(spelling, REGISTERED)


@pytest.mark.parametrize(("registered", "spelling", "is_same"), OTHER_KINDS)
def test_other_kinds_of_uri(registered: str, spelling: str, is_same: bool) -> None:
    assert is_same_resource(registered, spelling) is is_same


@pytest.mark.parametrize("value", ["", "bank", "//bank.example.com/", "https://", "http://[::1", "https://a:x/",
                                   "https://a.example/#part", "https://a b/", "https://a.example/\n"])  # fmt: skip
def test_what_identifies_nothing(value: str) -> None:
    assert not is_identifier(value)
    with pytest.raises(ValidationError):
        Resource(identifier=value, name="X").clean_fields()


@pytest.mark.django_db
class TestRegisteringTwo:
    @pytest.mark.parametrize("spelling", SAME)
    def test_the_same_is_refused(self, spelling: str) -> None:
        Resource.objects.create(identifier=REGISTERED, name="Bank")
        with pytest.raises(ValidationError, match="names the same resource"):
            Resource(identifier=spelling, name="Bank again").full_clean()

    def test_the_very_same_is_refused_by_its_column(self) -> None:
        Resource.objects.create(identifier=REGISTERED, name="Bank")
        with pytest.raises(ValidationError, match="already exists"):
            Resource(identifier=REGISTERED, name="Bank again").full_clean()

    def test_another_and_itself_are_not(self) -> None:
        bank = Resource.objects.create(identifier=REGISTERED, name="Bank")
        bank.full_clean()
        Resource(identifier="https://bank.example.com/v2", name="Bank, version 2").full_clean()
