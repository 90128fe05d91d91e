"""A private Postfix as relay: a real server between us and the test's own, with its own queue, log and port.

Postfix starts only as root; elsewhere the test is skipped with that reason, and under CI=true that is a failure.
"""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.programs import _stop_with_the_run, find_program, free_port, require

_MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/mail.log
maillog_file_prefixes = {home}
myhostname = relay.example.org
mydestination =
alias_maps =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [{sink_host}]:{sink_port}
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_restrictions =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{gone@example.org = 550 5.1.1 no such reader}}, {{busy@example.org = 450 4.2.0 later}} }}
message_size_limit = 1048576
minimal_backoff_time = 5s
queue_run_delay = 5s
{more}
"""  # noqa: E501  a table in one line is how Postfix wants it

_MASTER = """
127.0.0.1:{port} inet n - n - 100 smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class PostfixRelay:
    """Where a private Postfix listens, and what it logged."""

    port: int
    home: Path

    @property
    def log(self) -> str:
        path = self.home / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""


class StartPostfix(Protocol):
    """Starts a Postfix that hands its mails to this server; `more` are further lines of its main.cf."""

    def __call__(self, sink_host: str, sink_port: int, more: str = "") -> PostfixRelay: ...


@pytest.fixture
def start_postfix(run_folder: Path) -> Iterator[StartPostfix]:
    """Call it with host and port of the server that Postfix is to hand its mails to; it ends with the test."""
    with postfix_servers(run_folder) as start:
        yield start


@contextmanager
def postfix_servers(run_folder: Path) -> Iterator[StartPostfix]:
    """Servers that end with the block. Skips without Postfix or root.

    Each refuses gone@example.org with 550 5.1.1, defers busy@example.org, and takes messages up to 1 MiB.
    """
    require("postfix")
    if os.geteuid() != 0:
        reason = "postfix starts only as root"
        pytest.fail(reason, pytrace=False) if os.environ.get("CI") == "true" else pytest.skip(reason)
    started: list[list[str]] = []

    def start(sink_host: str, sink_port: int, more: str = "") -> PostfixRelay:
        port = free_port()
        home = run_folder / f"postfix-{port}"
        config = home / "etc"
        config.mkdir(parents=True)
        for folder in (home, config):
            folder.chmod(0o755)
        (config / "main.cf").write_text(_MAIN.format(home=home, sink_host=sink_host, sink_port=sink_port, more=more))
        (config / "master.cf").write_text(_MASTER.format(port=port))
        (home / "queue").mkdir()
        (home / "data").mkdir()
        subprocess.run(["chown", "postfix", str(home / "data")], check=True)
        postfix = [find_program("postfix") or "postfix", "-c", str(config)]
        stop = [*postfix, "stop"]
        (run_folder / f"postfix-{port}.stop").write_text(json.dumps(stop))
        _stop_with_the_run(run_folder, stop)
        begun = subprocess.run([*postfix, "start"], capture_output=True, text=True)
        relay = PostfixRelay(port, home)
        assert begun.returncode == 0, begun.stderr + relay.log
        started.append(stop)
        # master listens before it reports success, so one connection tells that it is there.
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        return relay

    try:
        yield start
    finally:
        for stop in started:
            subprocess.run(stop, capture_output=True, check=False)
