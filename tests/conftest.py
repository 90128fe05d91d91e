"""Fixtures for every test: private servers on free ports, and databases that are new for each test."""

import gc
import signal

from hypothesis import settings

# All that is collected stays to the end: looking for garbage among it takes a quarter of the time of collecting.
gc.disable()

# nohup and a shell's background jobs ignore these for all they start; the processes that tests start must hear them.
for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

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


def pytest_collection_finish() -> None:
    """From here on garbage is looked for among what the tests make."""
    gc.freeze()
    gc.enable()
