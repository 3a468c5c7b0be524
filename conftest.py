"""The domain's fixtures, for every test."""

pytest_plugins = ["tests.world", "tests.own_redis"]
