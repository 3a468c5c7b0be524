"""The domain's fixtures, for every test."""

pytest_plugins = ["tests.budget", "tests.tls_server", "tests.world", "tests.own_redis", "tests.node"]
