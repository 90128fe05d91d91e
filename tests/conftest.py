"""Fixtures for every test: private servers on free ports, and databases that are new for each test."""

from hypothesis import settings

settings.register_profile("corranto", deadline=None)  # a busy machine is no fault of what is tested
settings.load_profile("corranto")

pytest_plugins = [
    "tests.support.programs",
    "tests.support.postgresql",
    "tests.support.redis",
    "tests.support.databases",
    "tests.support.postfix",
    "tests.support.lists",
    "tests.support.chromium",
]
