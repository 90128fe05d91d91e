"""A Redis server of this test run's own; each test gets a logical database of its own, empty."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.support.programs import find_program, free_port, require, start_once

DATABASES = 512


@pytest.fixture(scope="session")
def redis_server(run_folder: Path) -> int:
    """The port it listens on, on loopback."""
    require("redis")
    return int(start_once(run_folder, "redis", _start)["port"])


@pytest.fixture
def redis_url(redis_server: int) -> str:
    """redis://127.0.0.1:PORT/N, emptied. Database 0 only counts which number comes next."""
    with redis.Redis(port=redis_server) as counter:
        number = 1 + int(counter.incr("next")) % (DATABASES - 1)
    with redis.Redis(port=redis_server, db=number) as client:
        client.flushdb()
    return f"redis://127.0.0.1:{redis_server}/{number}"


def _start(home: Path) -> tuple[dict[str, Any], list[str]]:
    program = find_program("redis-server")
    assert program
    port = free_port()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(home),
        "databases": str(DATABASES),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    flags = [part for key, value in options.items() for part in (f"--{key}", value)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    retry = Retry(ConstantBackoff(0.05), 200)
    with redis.Redis(port=port, retry=retry, retry_on_error=[redis.ConnectionError]) as client:
        client.ping()
    return {"port": port, "pid": process.pid}, ["kill", str(process.pid)]


class OwnRedis:
    """A server that one test may stop and start."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/1"

    def start(self, *options: str) -> None:
        program = find_program("redis-server")
        assert program
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.home), "--save", ""]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        retry = Retry(ConstantBackoff(0.05), 200)
        password = options[1] if "--requirepass" in options else None
        with redis.Redis(port=self.port, password=password, retry=retry) as client:
            client.ping()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
