"""The doctor names what is wrong, in the order of its weight, with something to type, and without a secret."""

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from tests.support.ledgers import add_issue, add_publication, add_worker
from tests.support.readers import settings_for
from tests.support.scripted_smtp import ScriptedRelay
from tests.support.web_server import running_web
from worker.errors import Trouble
from worker.message.key_store import make_key
from worker.operations import checks, doctor, exposure
from worker.operations.checks import Check, Verdict
from worker.screen.checks import render_checks
from worker.screen.sentences import word, word_fix
from worker.settings import Settings
from worker.storage import schema
from worker.storage.engine import Database, database_now


@contextmanager
def relay_thread(**script: object) -> Iterator[int]:
    """A scripted relay on a loop of its own, because the doctor brings its own loop; yields its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    relay = ScriptedRelay(**script)  # type: ignore[arg-type]
    asyncio.run_coroutine_threadsafe(relay.__aenter__(), loop).result(10)
    try:
        yield relay.port
    finally:
        asyncio.run_coroutine_threadsafe(relay.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path) -> Settings:
    """Settings under which only the ledger's file is there: relay and web pages do not answer."""
    (tmp_path / "state").mkdir(mode=0o700)
    return settings_for(
        sqlite_url,
        tmp_path / "state",
        smtp_url=f"smtp://127.0.0.1:{closed_port()}",
        base_url=f"http://127.0.0.1:{closed_port()}",
    )


def find(found: list[Check], what: str) -> Check:
    return next(check for check in found if check.what == what)


def evidence(found: list[Check], what: str) -> str:
    """As a person reads it."""
    return word(find(found, what).evidence)


def fix(found: list[Check], what: str) -> str:
    return word_fix(find(found, what).evidence)


def test_doctor_finds_nothing_wrong_with_an_installation_that_works(
    settings: Settings, sqlite_database: Database
) -> None:
    # Given
    with sqlite_database.write() as conn:
        add_publication(conn, bounce_address="bounces@rivers.example.org")
        add_worker(conn)
    make_key(settings.dkim_dir, "rivers.example.org", "s1")

    # When
    with running_web(settings, sqlite_database) as (host, port), relay_thread() as relay_port:
        live = settings.model_copy(
            update={
                "base_url": f"http://{host}:{port}",
                "smtp_url": type(settings.smtp_url)(f"smtp://127.0.0.1:{relay_port}"),
            }
        )
        found = doctor.run(live)

    # Then
    assert {check.what for check in found} >= {"database", "schema", "broker", "relay", "base URL", "keys", "clock"}
    assert {check.verdict for check in found} == {Verdict.OK}, found
    assert checks.exit_code(found) == 0
    assert "10 MB" in evidence(found, "relay")
    assert "PIPELINING" in evidence(found, "relay")
    assert "signed with key s1" in evidence(found, "DKIM")


def test_doctor_names_what_does_not_answer_and_what_to_do(settings: Settings) -> None:
    # When
    found = doctor.run(settings)

    # Then
    assert [check.verdict for check in found[:2]] == [Verdict.FAIL, Verdict.FAIL]
    assert "nc -vz 127.0.0.1" in fix(found, "relay")
    assert "readers could not leave" in evidence(found, "base URL")
    assert find(found, "workers").verdict is Verdict.WARN
    assert evidence(found, "workers") == "no worker process runs: nothing that is queued would leave"
    assert fix(found, "workers") == "corranto worker"
    assert checks.exit_code(found) == 1


def test_doctor_fails_when_an_issue_is_being_sent_by_nobody(settings: Settings, sqlite_database: Database) -> None:
    with sqlite_database.write() as conn:
        add_issue(conn, add_publication(conn))
    assert find(doctor.run(settings), "workers").verdict is Verdict.FAIL


def test_doctor_looks_at_the_rest_when_there_is_no_database(settings: Settings, tmp_path: Path) -> None:
    # Given
    lost = settings.model_copy(update={"database_url": type(settings.database_url)(f"sqlite:///{tmp_path}/none.db")})

    # When
    found = doctor.run(lost)

    # Then
    assert fix(found, "schema") == "corranto db upgrade"
    assert find(found, "keys").verdict is Verdict.OK
    assert find(found, "disk").verdict is not Verdict.UNKNOWN


def test_doctor_shows_no_password_of_a_relay_a_broker_or_a_database(settings: Settings) -> None:
    # Given
    secret = type(settings.smtp_url)
    guarded = settings.model_copy(
        update={
            "database_url": secret(f"postgresql://hugo:swordfish@127.0.0.1:{closed_port()}/news"),
            "broker_url": secret(f"redis://hugo:swordfish@127.0.0.1:{closed_port()}/3"),
            "smtp_url": secret(f"smtp://hugo:swordfish@127.0.0.1:{closed_port()}"),
        }
    )

    # When
    found = doctor.run(guarded)
    text = "\n".join(line.text for line in render_checks(found))

    # Then
    assert [find(found, what).verdict for what in ("database", "broker", "relay")] == [Verdict.FAIL] * 3
    assert "swordfish" not in text
    assert settings.keys[0] not in text


def test_doctor_says_that_the_relay_refuses_the_password(settings: Settings) -> None:
    with relay_thread(login=("hugo", "right"), extensions=("AUTH PLAIN LOGIN",)) as port:
        wrong = settings.model_copy(update={"smtp_url": type(settings.smtp_url)(f"smtp://hugo:wrong@127.0.0.1:{port}")})
        found = doctor.run(wrong)
    assert find(found, "relay").verdict is Verdict.FAIL
    assert "percent-encode" in fix(found, "relay")


def test_doctor_fails_without_keys_and_does_not_guess_about_the_pages(settings: Settings) -> None:
    found = doctor.run(settings.model_copy(update={"secret_keys": ()}))
    assert "corranto key new" in fix(found, "keys")
    assert find(found, "base URL").verdict is Verdict.UNKNOWN


def test_doctor_fails_when_others_can_read_a_private_key(settings: Settings, sqlite_database: Database) -> None:
    # Given
    with sqlite_database.write() as conn:
        add_publication(conn)
    path = make_key(settings.dkim_dir, "rivers.example.org", "s1")
    path.chmod(0o644)

    # When
    found = doctor.run(settings)

    # Then
    assert find(found, "DKIM").verdict is Verdict.FAIL
    assert fix(found, "DKIM") == f"chmod 600 '{path}'"


@pytest.mark.parametrize(
    ("off_s", "verdict"), [(0.0, Verdict.OK), (5.1, Verdict.WARN), (300.0, Verdict.WARN), (300.1, Verdict.FAIL)]
)
def test_doctor_judges_how_far_the_clocks_differ(off_s: float, verdict: Verdict) -> None:
    assert doctor.judge_clock(off_s).verdict is verdict


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_private_key_that_a_group_or_others_may_touch_fails(
    settings: Settings, sqlite_database: Database, mode: int
) -> None:
    # Given
    with sqlite_database.write() as conn:
        add_publication(conn)
    make_key(settings.dkim_dir, "rivers.example.org", "s1").chmod(mode)

    # When / Then
    assert find(doctor.run(settings), "DKIM").verdict is Verdict.FAIL


def test_doctor_says_which_disk_is_full_before_it_is(tmp_path: Path) -> None:
    # Given how much is free, and a folder that does not exist yet
    free = shutil.disk_usage(tmp_path).free
    folder = tmp_path / "state" / "new"

    # When / Then
    full = doctor.judge_room("state", folder, 2 * free, 4 * free)
    assert full.verdict is Verdict.FAIL
    assert word(full.evidence).endswith(f"GB free for {folder} (state)")
    assert word_fix(full.evidence) == "make room: a full disk stops sending"
    assert doctor.judge_room("state", folder, free // 4, 2 * free).verdict is Verdict.WARN
    assert doctor.judge_room("state", folder, free // 8, free // 4).verdict is Verdict.OK


def test_a_publication_whose_returned_mail_would_be_lost_fails_only_with_a_real_relay(
    settings: Settings, sqlite_database: Database
) -> None:
    # Given
    with sqlite_database.write() as conn:
        add_publication(conn)
        add_publication(conn, "lakes", bounce_address="bounces@rivers.example.org")
    far = settings.model_copy(update={"smtp_url": type(settings.smtp_url)("smtp://relay.invalid")})

    # When
    here, there = doctor.run(settings), doctor.run(far)

    # Then
    assert [check for check in here if check.what == "bounces"] == []
    assert [fix(there, "bounces")] == ["corranto publication edit rivers --bounce-address bounces@your.domain"]
    assert [check.verdict for check in there if check.what == "bounces"] == [Verdict.FAIL]
    assert find(here, "DKIM").verdict is Verdict.OK
    assert find(there, "DKIM").verdict is Verdict.WARN
    assert "Gmail and Yahoo refuse unsigned bulk mail" in evidence(there, "DKIM")


@pytest.mark.parametrize(
    ("values", "fails"),
    [
        ({}, False),
        ({"base_url": "https://news.example.org"}, True),
        ({"web_host": "0.0.0.0"}, True),
        ({"base_url": "https://news.example.org", "sink_port": "1026"}, False),
        ({"base_url": "https://news.example.org", "smtp_url": "smtp://relay.example.org:1025"}, False),
    ],
)
def test_mail_that_goes_to_the_sink_beside_public_pages_fails(settings: Settings, values: dict[str, str], fails: bool):
    # Given an installation with the embedded sink's port as its relay
    given = settings.model_copy(update={"smtp_url": SecretStr("smtp://127.0.0.1:1025")})
    for key, value in values.items():
        changed = {"smtp_url": SecretStr(value), "sink_port": 1026}.get(key, value)
        given = given.model_copy(update={key: changed})

    # When the doctor looks
    found = list(doctor._sink(given))

    # Then it says that no reader gets anything, and which settings to change
    assert [check.verdict for check in found] == [Verdict.FAIL] * fails
    for check in found:
        assert given.base_url in word(check.evidence)
        assert "CORRANTO_SMTP_URL" in (word_fix(check.evidence) or "")


def test_a_worker_that_fell_silent_is_none_for_the_doctor_too(settings: Settings, sqlite_database: Database) -> None:
    # Given
    with sqlite_database.write() as conn:
        add_issue(conn, add_publication(conn))
        add_worker(conn)
        conn.execute(schema.worker.update().values(seen_at=conn.execute(select(database_now(-11))).scalar_one()))

    # When / Then
    assert evidence(doctor.run(settings), "workers") == "1 issue being sent, and no worker runs"


def test_screen_is_worst_first_fits_and_keeps_commands_whole() -> None:
    # Given
    slug = "rivers-and-their-many-tributaries"
    command = f"corranto publication edit {slug} --bounce-address bounces@your.domain"
    hostile = "said \x1b]0;owned\x07 and " + "then some more " * 9
    found = checks.worst_first(
        [
            Check(Verdict.OK, "schema", Trouble("doctor.schema_fits")),
            Check(Verdict.UNKNOWN, "base URL", Trouble("doctor.way_out_not_asked", url="http://127.0.0.1")),
            Check(Verdict.FAIL, "bounces", Trouble("doctor.no_bounce_address", slug=slug)),
            Check(
                Verdict.FAIL,
                "relay",
                Trouble("doctor.relay_refuses", relay="relay.example.net:25", cause=hostile, reply=None),
            ),
            Check(Verdict.WARN, "clock", Trouble("doctor.clock_off", seconds=30.0)),
        ]
    )

    # When
    lines = [line.text for line in render_checks(found)]

    # Then
    assert [check.verdict for check in found] == [
        *(Verdict.FAIL, Verdict.FAIL),
        *(Verdict.WARN, Verdict.UNKNOWN, Verdict.OK),
    ]
    assert max(len(line) for line in lines) <= 80
    assert command in " ".join(" ".join(line.split()) for line in lines)
    assert "\x1b" not in "".join(lines)
    assert lines[-1] == "2 failed, 1 warning, 1 could not be checked, 1 fine"


def test_doctor_names_files_that_others_can_read_and_the_command_that_helps(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the database, the log beside it, the state directory and the settings file
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "corranto.sqlite3"
    config = tmp_path / "production.toml"
    wal, env = tmp_path / "corranto.sqlite3-wal", tmp_path / ".env"
    for each in (config, wal, env):
        each.touch()
    monkeypatch.setenv("CORRANTO_CONFIG", str(config))
    private = [settings.state_dir, config, env, file, wal]
    for each in private:
        each.chmod(0o700 if each.is_dir() else 0o600)
    assert exposure.judge_files(exposure.private_files(settings, file)).verdict is Verdict.OK

    # When / Then each alone is found
    for each in private:
        before = each.stat().st_mode
        each.chmod(before | 0o040)
        found = exposure.judge_files(exposure.private_files(settings, file))
        assert found.verdict is Verdict.WARN
        assert word(found.evidence).endswith(f"can read {each}")
        subprocess.run(word_fix(found.evidence), shell=True, check=True)
        assert exposure.judge_files(exposure.private_files(settings, file)).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("setting", "url", "what"),
    [
        ("broker_url", "redis://cache.example.org/1", "broker"),
        ("database_url", "postgresql://u:p@db.example.org/x", "database"),
        ("database_url", "postgresql://u:p@db.example.org/x?sslmode=prefer", "database"),
        ("database_url", "postgresql:///x?host=db.example.org", "database"),
    ],
)
def test_doctor_names_what_crosses_a_network_in_clear(settings: Settings, setting: str, url: str, what: str) -> None:
    open_to_all = settings.model_copy(update={setting: SecretStr(url)})
    found = [check for check in exposure.look(open_to_all, None) if check.what == what]
    assert [check.verdict for check in found] == [Verdict.WARN]
    assert "p@" not in word(found[0].evidence) + word_fix(found[0].evidence)


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("broker_url", "rediss://cache.example.org/1"),
        ("broker_url", "redis://127.0.0.1:6379/1"),
        ("broker_url", "unix:///run/redis.sock"),
        ("database_url", "postgresql://u:p@db.example.org/x?sslmode=verify-full"),
        ("database_url", "postgresql:///x?host=/run/postgresql"),
        ("database_url", "postgresql://u@localhost/x"),
    ],
)
def test_doctor_bears_what_is_closed_or_stays_here(settings: Settings, setting: str, url: str) -> None:
    given = settings.model_copy(update={setting: SecretStr(url)})
    assert not [check for check in exposure.look(given, None) if check.what in ("broker", "database")]


@pytest.mark.parametrize(
    ("pattern", "verdict"),
    [
        ("core", Verdict.OK),
        ("|/usr/lib/systemd/systemd-coredump %P", Verdict.OK),
        ("|/opt/keep %p", Verdict.WARN),
        (None, Verdict.UNKNOWN),
    ],
)
def test_doctor_says_where_memory_of_a_crash_goes(tmp_path: Path, pattern: str | None, verdict: Verdict) -> None:
    file = tmp_path / "core_pattern"
    if pattern is not None:
        file.write_text(pattern)
    assert exposure.judge_cores(file).verdict is verdict


@pytest.mark.parametrize(
    ("folder", "said"), [("/proc/corranto", "keeps no files"), ("/dev/null/corranto", "is not a folder")]
)
def test_a_folder_that_can_never_be_made_is_called_so_and_not_full(folder: str, said: str) -> None:
    found = doctor.judge_room("state", Path(folder), 1, 2)
    assert found.verdict is Verdict.FAIL
    assert said in word(found.evidence) or "cannot be written" in word(found.evidence)
    assert "GB" not in word(found.evidence)


def test_a_database_whose_folder_is_gone_is_not_fine(settings: Settings, tmp_path: Path) -> None:
    gone = settings.model_copy(update={"database_url": SecretStr(f"sqlite:///{tmp_path}/moved/corranto.sqlite3")})
    found = doctor.run(gone)
    assert find(found, "disk").verdict is Verdict.FAIL
    assert "does not exist" in evidence(found, "disk")
    assert "correct CORRANTO_DATABASE_URL" in evidence(found, "schema")


def test_a_newer_schema_is_not_answered_with_an_upgrade(settings: Settings, sqlite_database: Database) -> None:
    with sqlite_database.write() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    found = doctor.run(settings)
    assert "db upgrade" not in evidence(found, "schema") + fix(found, "schema")


def test_a_database_of_other_keys_is_named(settings: Settings) -> None:
    other = settings.model_copy(update={"secret_keys": (SecretStr("z" * 40),)})
    found = doctor.run(other)
    assert "made with other keys" in evidence(found, "database")
    for said in ("links of mails already sent", "who was erased", "subscriber export -p SLUG", "a new database"):
        assert said in evidence(found, "database")
    assert "CORRANTO_SECRET_KEYS" in fix(found, "database")
