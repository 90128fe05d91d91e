"""Fixtures for every test: private servers on free ports, and databases that are new for each test."""

pytest_plugins = [
    "tests.support.programs",
    "tests.support.postgresql",
    "tests.support.redis",
    "tests.support.databases",
    "tests.support.postfix",
    "tests.support.lists",
    "tests.support.chromium",
]
