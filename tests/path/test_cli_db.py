"""`db backup`, `db restore` and `db unlock`, as an operator and cron give them."""

# ruff: noqa: F811 - a fixture has the name of its argument

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.path.test_cli import Said, corranto, publication, readers  # noqa: F401 - fixtures


@pytest.fixture
def backup(corranto: Callable[..., Said], readers: Path, publication: str, tmp_path: Path) -> Path:
    """Of a publication with readers."""
    corranto("subscriber", "import", str(readers), "-p", publication, "--consent", "a form")
    folder = tmp_path / "backup"
    said = corranto("db", "backup", str(folder))
    assert said.code == 0, said.err
    assert "3 subscribers" in said.out
    assert "CORRANTO_SECRET_KEYS" in said.err
    return folder


def test_a_backup_is_restored_into_an_empty_database_and_unlocked(
    corranto: Callable[..., Said],
    backup: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given
    monkeypatch.setenv("CORRANTO_DATABASE_URL", f"sqlite:///{tmp_path / 'new' / 'corranto.sqlite3'}")
    monkeypatch.setenv("CORRANTO_STATE_DIR", str(tmp_path / "elsewhere"))

    # When / Then: nobody is there to be asked
    refused = corranto("db", "restore", str(backup))
    assert refused.code == 4
    assert "say --yes" in refused.err
    restored = corranto("db", "restore", str(backup), "--yes")
    assert restored.code == 0, restored.err
    assert "corranto db unlock" in restored.err
    again = corranto("db", "restore", str(backup), "--yes")
    assert (again.code, "has tables already" in again.err) == (4, True)

    # And it says what keeps it from sending, until it is unlocked
    assert "put back to an older state" in corranto("status").out
    assert corranto("status").code == 6
    assert corranto("db", "unlock").code == 4
    unlocked = corranto("db", "unlock", "--yes")
    assert unlocked.code == 0, unlocked.err
    assert "no issue is under way" in unlocked.out
    assert corranto("db", "unlock").out == "The database is not locked.\n"


def test_a_backup_says_what_it_has_not(corranto: Callable[..., Said], backup: Path, tmp_path: Path) -> None:
    said = corranto("db", "backup", str(tmp_path / "second"), "--with-keys")
    assert (said.code, "no DKIM key in" in said.err) == (0, True)
    assert "opt-out log" not in said.err
    assert corranto("dkim", "create", "news.example.org").code == 0
    (tmp_path / "state" / "instance.json").write_text('{"instance": "another", "epoch": 1, "highest_claim": 0}')
    said = corranto("db", "backup", str(tmp_path / "third"), "--with-keys")
    assert (said.code, "no DKIM key in" in said.err, "opt-out log is not in" in said.err) == (0, False, True)


def test_what_cannot_be_a_backup_is_named(
    corranto: Callable[..., Said],
    backup: Path,
    tmp_path: Path,
) -> None:
    assert "is not empty" in corranto("db", "backup", str(backup)).err
    assert "is no backup" in corranto("db", "restore", str(tmp_path / "nothing"), "--yes").err
    manifest = backup / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema": "9999"}))
    assert "was made by a newer version" in corranto("db", "restore", str(backup), "--yes").err
