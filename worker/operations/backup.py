"""A consistent copy of an installation, and the way back: database, opt-out log, on request the DKIM keys.

The copy is one moment of the database, taken while mails are sent. The opt-out log is copied after it, so it never has
less. The manifest is written last: a folder without one is no backup. Who restores gets a locked database, because
mails may have left since; `unlock` says what that means.
"""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from worker.clock import utcnow
from worker.consent import noted, optout_log
from worker.dispatch.lock import OF_ONE_DATABASE
from worker.durable import append, sync
from worker.errors import RefusedError, UnreachableError, UsageError
from worker.journal import memory, others
from worker.journal.host import host_id
from worker.journal.memory import Memory
from worker.storage import copies, epochs, migrations
from worker.storage.engine import Database, open_database

MANIFEST, DUMP, KEYS = "manifest.json", {"sqlite": "corranto.sqlite3", "postgresql": "corranto.dump"}, "dkim"
FORMAT_NO = 1
LOGS = (noted.FILE_NAME, optout_log.LOG_NAME)
"""In this order: what is fulfilled meanwhile goes from the first to the second."""


@dataclass(frozen=True)
class Manifest:
    """What a backup holds; the shape of `manifest.json`."""

    format: int
    made_at: str
    """ISO 8601, UTC, taken before the copy began."""
    kind: Literal["sqlite", "postgresql"]
    schema: str
    instance: str
    epoch: int
    highest_claim: int
    counts: dict[str, int]
    """Rows of the tables that people know."""
    files: dict[str, str]
    """Name → SHA-256."""

    @property
    def is_of_this_version(self) -> bool:
        """Whether its schema is ours; an older one is upgraded after it was restored."""
        return self.schema == migrations.HEAD

    @property
    def keys(self) -> int:
        """DKIM keys in it."""
        return sum(Path(name).parts[0] == KEYS for name in self.files)


def back_up(database: Database, url: str, state_dir: Path, folder: Path, keys: Path | None = None) -> Manifest:
    """Write a backup into an empty or new folder. `keys` is the folder of DKIM keys, when they are wanted.

    Raises RefusedError for a folder that holds something, UnreachableError when it cannot be written or read.
    """
    database.check()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RefusedError("backup.not_empty", folder=folder)
        try:
            return _write(database, url, state_dir, folder, keys)
        except BaseException:
            _clear(folder)  # half a backup is none, and the same command must work again
            raise
    except OSError as error:
        raise UnreachableError("backup.unwritable", folder=folder, why=_why(error)) from error


def _write(database: Database, url: str, state_dir: Path, folder: Path, keys: Path | None) -> Manifest:
    made_at = utcnow().isoformat(timespec="seconds")
    dump = folder / DUMP[database.dialect]
    copies.dump(database, url, dump)
    manifest = _describe(database, dump, made_at)
    for name in LOGS:
        if (state_dir / name).exists():
            shutil.copyfile(state_dir / name, folder / name)
    if keys is not None and keys.is_dir():
        shutil.copytree(keys, folder / KEYS)  # with its times: the newest key of a domain signs
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in written:
        path.chmod(0o600)
        sync(path)
    manifest = replace(manifest, files={str(path.relative_to(folder)): _sum(path) for path in written})
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n")
    (folder / MANIFEST).chmod(0o600)
    sync(folder / MANIFEST)
    sync(folder)
    return manifest


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def is_state_of(state_dir: Path, made: Manifest) -> bool:
    """Whether workers of the database that was copied know this state directory; a new one has none yet."""
    known = memory.recall(state_dir)
    return made.epoch == 0 if known is None else known.instance == made.instance


def read_backup(folder: Path) -> Manifest:
    """What a folder holds, proven by its sums. Raises UsageError for what is no whole backup."""
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except OSError as error:
        raise UsageError("backup.no_manifest", folder=folder, why=error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise UsageError("backup.unreadable", folder=folder) from error
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise UsageError("backup.unreadable", folder=folder)
    if found["format"] > FORMAT_NO or str(found.get("schema", migrations.HEAD)) not in migrations.VERSIONS:
        raise UsageError("backup.newer", folder=folder, version=str(found.get("schema")))
    try:
        manifest = TypeAdapter(Manifest).validate_python(found)
        if datetime.fromisoformat(manifest.made_at).tzinfo is None:
            raise ValueError("a moment has a zone")
    except ValueError as error:  # pydantic's is one too
        raise UsageError("backup.unreadable", folder=folder) from error
    if DUMP[manifest.kind] not in manifest.files:
        raise UsageError("backup.damaged", folder=folder, file=DUMP[manifest.kind])
    for name, digest in manifest.files.items():
        path = folder / name
        if ".." in Path(name).parts or not path.is_file() or _sum(path) != digest:
            raise UsageError("backup.damaged", folder=folder, file=name)
    return manifest


def restore(folder: Path, url: str, state_dir: Path, keys: Path) -> Manifest:
    """Put a backup into a database that has nothing yet; it stays locked until `unlock`.

    A crash in here leaves a database without a version, or a whole one; an empty one takes the command again.
    Raises UsageError, RefusedError for a database that is not empty or of another kind, or while workers of this state
    directory run, whom it would lock out of the database they send from; UnreachableError.
    """
    manifest = read_backup(folder)
    database = open_database(url)
    try:
        if database.dialect != manifest.kind:
            raise RefusedError("backup.other_kind", kind=manifest.kind, place=database.place)
        if copies.is_filled(database):
            raise RefusedError("backup.database_filled", place=database.place)
        if workers := others.living(state_dir, host_id(state_dir)):
            raise RefusedError("backup.workers_live", workers=workers, folder=state_dir)
        # Locked first: whatever happens below, nothing is sent from it.
        known = memory.recall(state_dir)
        if known is not None and known.instance != manifest.instance:
            memory.change_hands(state_dir, OF_ONE_DATABASE, known.instance, manifest.instance)
            known = None
        epoch = max(manifest.epoch, known.epoch if known else 0) + 1
        highest = max(manifest.highest_claim, known.highest_claim if known else 0)
        memory.remember(state_dir, Memory(manifest.instance, epoch, highest))
        for name in LOGS:
            _add_lines(folder / name, state_dir / name)
        _add_keys(folder / KEYS, keys)
        copies.load(database, url, folder / DUMP[manifest.kind])
        with database.write() as conn:  # at once: readers join while it still is locked
            epochs.skip_numbers(conn)
    except OSError as error:
        raise UnreachableError("backup.not_restored", folder=folder, why=_why(error)) from error
    finally:
        database.close()
    return manifest


def _describe(database: Database, dump: Path, made_at: str) -> Manifest:
    progress, counts = copies.look_into(database, dump)
    return Manifest(
        FORMAT_NO,
        made_at,
        database.dialect,
        migrations.HEAD,
        progress.instance,
        progress.epoch,
        progress.highest_claim,
        counts,
        {},
    )


def _add_lines(source: Path, target: Path) -> None:
    """Lines of a log that the other has not: both are true."""
    if not source.exists():
        return
    present = set(_whole_lines(target)) if target.exists() else set()
    new = [line for line in _whole_lines(source) if line not in present]
    if new:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(target, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            append(file, b"".join(line + b"\n" for line in new))
            os.fsync(file)
        finally:
            os.close(file)


def _whole_lines(path: Path) -> list[bytes]:
    """A last one without an end was being written when the copy was made."""
    return path.read_bytes().split(b"\n")[:-1]


def _add_keys(source: Path, target: Path) -> None:
    """Keys of domains and selectors that have none here; what is here stays."""
    for key in sorted(path for path in source.rglob("*") if path.is_file()):
        made = target / key.relative_to(source)
        if made.exists():
            continue
        made.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.touch(0o600)
        shutil.copy2(key, made)


def _why(error: OSError) -> str:
    said = error.strerror or type(error).__name__
    place = error.filename2 or error.filename  # of a copy that fails the second is where it goes
    return f"{place}: {said}" if place else said


def _sum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
