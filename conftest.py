"""The domain's fixtures, for every test."""

pytest_plugins = [
    "tests.support.budget",
    "tests.support.described_responses",
    "tests.support.tls_server",
    "tests.support.world",
    "tests.support.own_redis",
    "tests.node",
]
