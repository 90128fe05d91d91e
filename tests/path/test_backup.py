"""A backup is whole, private and proven, or none."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lists import Newsroom
from tests.support.readers import KEY
from tests.support.restores import backup_of, empty_url, leave, state_of
from tests.support.words import refuses
from worker.dispatch import lock
from worker.errors import RefusedError, UsageError
from worker.message.key_store import key_files, make_key
from worker.operations.backup import back_up, read_backup, restore
from worker.storage.engine import open_database


def rewrite(folder: Path, **changes: object) -> None:
    """A manifest that says something else."""
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


def test_a_backup_is_whole_private_and_proven(both_desks: Newsroom) -> None:
    desk = both_desks
    desk.readers(3)
    leave(desk, "reader1@example.org")
    folder = backup_of(desk)
    manifest = read_backup(folder)
    assert manifest.counts == {"publication": 1, "subscriber": 3, "subscription": 3, "suppression": 0, "issue": 0}
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "optouts.log", *manifest.files}
    assert all(path.stat().st_mode & 0o077 == 0 for path in [folder, *folder.iterdir()])
    with refuses(RefusedError, "is not empty"):
        backup_of(desk)
    with refuses(RefusedError, "has tables already"):
        restore(folder, desk.given["database_url"], state_of(desk), desk.folder / "keys")


def test_a_line_half_written_during_the_backup_is_not_restored_as_a_whole_one(desk: Newsroom, tmp_path: Path) -> None:
    # Given: the copy of the log ends in the middle of a line, and so does what the other machine has
    desk.readers(3)
    log, elsewhere = state_of(desk) / "optouts.log", tmp_path / "elsewhere" / "optouts.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("2026-11-27T10:00:00+00:00 out 2:1\n2026-11-27T10:00:01+00:00 erased 1")
    elsewhere.parent.mkdir()
    elsewhere.write_text("2026-11-27T09:00:00+00:00 erased 3")
    folder = backup_of(desk)

    # When
    with empty_url(desk) as url:
        restore(folder, url, elsewhere.parent, tmp_path / "keys")
        copy = open_database(url, [KEY])
        found = lock.compare(copy, elsewhere.parent).missing
        copy.close()

    # Then
    assert (found.ended, found.erased) == ((2,), ())


def test_dkim_keys_come_back_and_replace_none(desk: Newsroom) -> None:
    # Given
    dkim_dir = desk.settings.dkim_dir
    made = [make_key(dkim_dir, "news.example.org", selector) for selector in ("s2", "s1")]
    os.utime(made[0], (1, 1))
    signs = made[1].read_bytes()
    folder = desk.folder / "backup"
    back_up(desk.database, desk.given["database_url"], state_of(desk), folder, dkim_dir)
    keys = desk.folder / "keys"
    (keys / "example.org").mkdir(parents=True)
    (keys / "example.org" / "s1.pem").write_text("of this machine")

    # When
    with empty_url(desk) as url:
        restore(folder, url, state_of(desk), keys)

    # Then
    back = key_files(keys, "news.example.org")
    assert [path.name for path in back] == ["s1.pem", "s2.pem"]
    assert back[0].read_bytes() == signs
    assert all(path.stat().st_mode & 0o077 == 0 for path in back)
    assert (keys / "example.org" / "s1.pem").read_text() == "of this machine"


@pytest.mark.parametrize(
    "change",
    [
        {"files": None},
        {"files": {}},
        {"counts": [1]},
        {"made_at": 5},
        {"made_at": "yesterday"},
        {"kind": []},
        {"highest_claim": None},
    ],
)
def test_a_manifest_of_another_shape_is_refused(desk: Newsroom, change: dict[str, object]) -> None:
    folder = backup_of(desk)
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    with refuses(UsageError, "is no backup|is damaged"):
        read_backup(folder)
    manifest.write_text("[" * 100_000)
    with refuses(UsageError, "cannot be read"):
        read_backup(folder)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "no backup"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("[1]"), "cannot be read"),
        (lambda folder: rewrite(folder, format=2, more="?"), "newer version"),
        (lambda folder: rewrite(folder, schema="9999"), "newer version"),
        (lambda folder: rewrite(folder, counts={"issue": "many"}), "cannot be read"),
        (lambda folder: rewrite(folder, made_at="yesterday"), "cannot be read"),
        (lambda folder: rewrite(folder, made_at="2026-11-27T10:00:00"), "cannot be read"),
        (lambda folder: rewrite(folder, kind="mysql"), "cannot be read"),
        (lambda folder: (folder / "corranto.sqlite3").write_bytes(b"x"), "is damaged"),
        (lambda folder: (folder / "corranto.sqlite3").unlink(), "is damaged"),
    ],
)
def test_what_is_no_whole_backup_is_refused(desk: Newsroom, harm: Callable[[Path], object], said: str) -> None:
    folder = backup_of(desk)
    harm(folder)
    with refuses(UsageError, said), empty_url(desk) as url:
        restore(folder, url, state_of(desk), desk.folder / "keys")


def test_nothing_is_restored_beside_living_workers(desk: Newsroom) -> None:
    folder = backup_of(desk)
    with desk.hand() as hand, empty_url(desk) as url:
        with refuses(RefusedError, "1 worker still at work"):
            restore(folder, url, state_of(desk), desk.folder / "keys")
        hand.die()
        restore(folder, url, state_of(desk), desk.folder / "keys")
