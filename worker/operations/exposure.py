"""What others could read: files, passwords on the network, memory after a crash. Changes nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from worker.errors import Trouble
from worker.operations.checks import Check, Verdict
from worker.settings import Settings, config_file

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")

_OBEDIENT = ("systemd-coredump", "apport")
"""Programs that take memory of crashed processes and keep none of one whose limit is 0, as ours is."""

_NEARBY = ("", "localhost", "127.0.0.1", "::1")
_TLS = ("require", "verify-ca", "verify-full")


def look(settings: Settings, database_file: Path | None, pattern: Path = CORE_PATTERN) -> Iterator[Check]:
    """Files, network, memory; one finding each when all is well."""
    yield judge_files(private_files(settings, database_file))
    yield from _network(settings)
    yield judge_cores(pattern)


def private_files(settings: Settings, database_file: Path | None) -> list[Path]:
    """What holds addresses, keys or passwords, as far as it is there."""
    files = [settings.state_dir, config_file(), Path(".env").absolute()]
    if database_file is not None:
        files += [database_file, *(database_file.with_name(database_file.name + end) for end in ("-wal", "-shm"))]
    return [file for file in files if file is not None and file.exists()]


def judge_files(files: list[Path]) -> Check:
    """Whether the group or others may do anything with one of them."""
    loose = [str(file) for file in files if _mode(file) & 0o077]
    if loose:
        return Check(Verdict.WARN, "files", Trouble("doctor.files_readable", files=loose))
    return Check(Verdict.OK, "files", Trouble("doctor.files_private", files=[str(file) for file in files]))


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode
    except OSError:
        return 0  # what we may not even look at is no secret of ours


def _network(settings: Settings) -> Iterator[Check]:
    given: Mapping[str, str] = {
        "broker": settings.broker_url.get_secret_value(),
        "database": settings.database_url.get_secret_value(),
    }
    for what, url in given.items():
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        host = parts.hostname or (query.get("host") or [""])[0]
        if host in _NEARBY or host.startswith("/"):
            continue
        if parts.scheme == "redis":
            yield Check(Verdict.WARN, what, Trouble("doctor.broker_in_clear", host=host))
        if parts.scheme == "postgresql" and (query.get("sslmode") or [""])[0] not in _TLS:
            yield Check(Verdict.WARN, what, Trouble("doctor.database_in_clear", host=host))


def judge_cores(pattern: Path) -> Check:
    """Whether a crashed process's memory, with keys and addresses, would be kept. Our own limit is 0."""
    try:
        program = pattern.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        return Check(Verdict.UNKNOWN, "memory", Trouble("doctor.cores_unknown", file=pattern, cause=error.strerror))
    if program.startswith("|") and not any(name in program for name in _OBEDIENT):
        return Check(Verdict.WARN, "memory", Trouble("doctor.cores_piped", program=program[1:].split(" ")[0]))
    return Check(Verdict.OK, "memory", Trouble("doctor.cores_off"))
