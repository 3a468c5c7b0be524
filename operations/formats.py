"""The formats of JSON Schemas (Validation 7.3) that this server checks. Pure.

The libraries behind jsonschema accept some values that are not valid: a line break at the end, or a
letter in a host name that lower-cases to ASCII. So if a format's specification defines it in ASCII,
the value must be printable ASCII first.
"""

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from operations import patterns

# jsonschema has a function for each of them if fqdn, rfc3339-validator and rfc3986-validator are
# installed. Without them this module cannot be imported.
_LIBRARY = Draft202012Validator.FORMAT_CHECKER.checkers
_IN_ASCII = ("date", "date-time", "time", "uri", "ipv4", "ipv6", "hostname", "uuid")
_ADDRESSES = ("email", "idn-email")


def _printable_ascii(name: str) -> Any:
    conforms, raises = _LIBRARY[name]

    def check(value: object) -> bool:
        if not isinstance(value, str):
            return True  # a format applies to strings only
        return value.isascii() and value.isprintable() and bool(conforms(value))

    return check, raises


def _is_pattern(value: object) -> bool:
    if isinstance(value, str):
        patterns.check(value, max_memory=64 * 1024)
    return True


CHECKER = FormatChecker(formats=())
CHECKER.checkers = {
    **{name: _printable_ascii(name) for name in _IN_ASCII},
    **{name: _LIBRARY[name] for name in _ADDRESSES},
    "regex": (_is_pattern, patterns.PatternError),
}
