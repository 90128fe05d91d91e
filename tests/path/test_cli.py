"""The command line as a person meets it: one clear sentence for every mistake, an exit code, and no change."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ledgers import FINGERPRINT, planned_issue, send
from tests.support.readers import KEY
from tests.support.reports import delivery_report
from worker.cli import main
from worker.demo.place import SAMPLES
from worker.domain.delivery import DeliveryState
from worker.storage import publications, schema
from worker.storage.engine import Database
from worker.tokens import Keyring

ROOT = Path(__file__).resolve().parents[2]
POST = "7 Quay of Posts, 1000 Lisbon"


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def corranto(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Runs a command in this process against a new ledger; nobody answers questions."""
    monkeypatch.setenv("CORRANTO_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("CORRANTO_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("CORRANTO_SECRET_KEYS", KEY)
    # Nothing listens on port 9 (discard): the relay cannot be reached.
    monkeypatch.setenv("CORRANTO_SMTP_URL", "smtp://127.0.0.1:9")
    monkeypatch.setenv("CORRANTO_METRICS_PORT", "0")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = main(list(arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture
def publication(corranto: Callable[..., Said]) -> str:
    for slug in ("ring-news", "ring-statements"):
        made = corranto(
            *("publication", "create", slug, "--title", "Ring News", "--from", "Ring <news@ring.example.org>"),
            *("--postal-address", POST, "--zone", "Europe/Lisbon"),
        )
        assert made.code == 0, made.err
    return "ring-news"


@pytest.fixture
def readers(corranto: Callable[..., Said], publication: str, tmp_path: Path) -> Path:
    file = tmp_path / "readers.csv"
    file.write_text("email,name\n" + "".join(f"r{i}@example.org,Reader {i}\n" for i in range(3)), encoding="utf-8")
    done = corranto("subscriber", "import", str(file), "-p", publication, "--consent", "invented 2026-01-01")
    assert done.code == 0, done.err
    return file


def issue_file(tmp_path: Path, head: str, body: str = "Dear reader,\n\nthis is text.\n", name: str = "note.md") -> Path:
    path = tmp_path / name
    path.write_text(f"---\n{head}---\n{body}", encoding="utf-8")
    return path


GOOD = "kind: statement\npublication: ring-news\nsubject: A short note from the ring\nplace: Lisbon\n"


def test_without_a_command_the_overview_is_shown(corranto):
    said = corranto()

    assert said.code == 2
    assert "corranto COMMAND" in said.out


@pytest.mark.parametrize("word", ["queu", "issues", "subscribers"])
def test_an_unknown_command_is_refused_with_a_near_one(corranto, word):
    said = corranto(word)

    assert said.code == 2
    assert "did you mean" in said.err


def test_a_new_key_is_long_enough_and_alone_on_standard_output(corranto):
    one, two = corranto("key", "new"), corranto("key", "new")

    assert len(one.out.strip()) >= 32
    assert one.out != two.out


def test_wrong_settings_are_all_named_at_once(corranto, monkeypatch):
    monkeypatch.setenv("CORRANTO_WEB_PORT", "99999")
    monkeypatch.setenv("CORRANTO_LOG_LEVEL", "loud")
    monkeypatch.setenv("CORRANTO_SMPT_URL", "x")

    said = corranto("status")

    assert said.code == 2
    assert "CORRANTO_WEB_PORT: must be a number from 0 to 65535, but it is 99999" in said.err
    assert "there is no setting smpt_url (CORRANTO_SMPT_URL); did you mean smtp_url?" in said.err
    assert said.err.count("LOG_LEVEL") == 1


def test_a_wrong_setting_that_may_hold_a_password_is_not_repeated(corranto, monkeypatch):
    monkeypatch.setenv("CORRANTO_SMTP_URL", "smpt://user:swordfish@relay.example.net")

    said = corranto("status")

    assert "CORRANTO_SMTP_URL: must look like" in said.err
    assert "swordfish" not in said.err


def test_hints_are_spelled_as_the_command_was_called(corranto, monkeypatch):
    monkeypatch.setenv("CALLED_AS", "./run corranto")

    assert "Next: ./run corranto queue FILE" in corranto("issue", "list").err


def test_a_publication_that_exists_is_named_before_what_is_missing(corranto, publication):
    said = corranto("publication", "create", "ring-news")

    assert said.code == 4
    assert "exists already" in said.err


def test_missing_keys_name_the_command_that_makes_one(corranto, readers, monkeypatch, tmp_path):
    monkeypatch.delenv("CORRANTO_SECRET_KEYS")

    said = corranto("queue", str(issue_file(tmp_path, GOOD)))

    assert said.code == 2
    assert "corranto key new" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("publication", "list"),
        ("subscriber", "list"),
        ("import", "list"),
        ("suppression", "list"),
        ("issue", "list"),
        ("issue", "show"),
        ("status",),
        ("verify",),
        ("db", "check"),
        ("unsubscribe", "a@example.org", "--all"),
        ("worker",),
        ("scheduler",),
        ("web",),
        ("up",),
    ],
)
def test_every_command_that_needs_the_database_says_that_it_is_unreachable(corranto, monkeypatch, arguments):
    monkeypatch.setenv("CORRANTO_DATABASE_URL", "postgresql://nobody:hush-hush@127.0.0.1:9/none")

    said = corranto(*arguments)

    assert said.code == 5
    assert "127.0.0.1:9" in said.err
    assert "hush-hush" not in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_a_schema_from_the_future_is_refused(corranto, sqlite_database: Database):
    with sqlite_database.write() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    said = corranto("issue", "list")

    assert said.code == 5
    assert "newer" in said.err


def test_an_empty_database_names_the_command_that_makes_it(corranto, monkeypatch, tmp_path):
    monkeypatch.setenv("CORRANTO_DATABASE_URL", f"sqlite:///{tmp_path}/none.sqlite3")

    said = corranto("issue", "list")

    assert said.code == 5
    assert "corranto db upgrade" in said.err
    assert corranto("db", "upgrade").code == 0
    assert corranto("issue", "list").code == 0


def test_a_publication_is_refused_with_everything_that_is_missing(corranto):
    said = corranto("publication", "create", "news")

    assert said.code == 2
    assert all(name in said.err for name in ("--title", "--from", "--postal-address"))


def test_a_header_cannot_be_smuggled_into_a_publication(corranto, sqlite_database: Database):
    said = corranto(
        *("publication", "create", "news", "--title", "a\r\nBcc: x@example.org", "--from", "N <n@example.org>"),
        *("--postal-address", POST),
    )

    assert said.code == 2
    assert "\r" not in said.err
    with sqlite_database.read() as conn:
        assert publications.list_publications(conn) == []


def test_an_import_that_cannot_be_read_changes_nothing(corranto, publication, tmp_path):
    no_email, other = tmp_path / "a.csv", tmp_path / "b.csv"
    no_email.write_text("name,city\nAnn,Oslo\n", encoding="utf-8")
    other.write_bytes("email,name\nann@example.org,Zoë\n".encode("cp1252"))

    first = corranto("subscriber", "import", str(no_email), "-p", publication, "--consent", "x")
    second = corranto("subscriber", "import", str(other), "-p", publication, "--consent", "x")
    named = corranto(
        "subscriber", "import", str(other), "-p", publication, "--consent", "x", "--encoding", "cp1252", "--dry-run"
    )

    assert (first.code, second.code, named.code) == (2, 2, 0)
    assert "email" in first.err
    assert "--encoding" in second.err
    assert corranto("subscriber", "list", "--json").json["subscribers"] == []


def test_an_import_needs_to_know_where_and_when_readers_asked(corranto, publication, tmp_path):
    said = corranto("subscriber", "import", str(tmp_path / "x.csv"), "-p", publication)

    assert said.code == 2
    assert "--consent" in said.err


@pytest.mark.parametrize(
    ("head", "body", "named"),
    [
        (GOOD + "sujbect: x\n", "text\n", "sujbect"),
        ("kind: statement\npublication: ring-news\n", "text\n", "subject"),
        ("kind: statement\n  publication: [\n", "text\n", "line"),
        (GOOD.replace("ring-news", "ring-nwes"), "text\n", "ring-news"),
    ],
)
def test_a_broken_issue_file_is_refused_in_a_sentence_that_names_the_fault(
    corranto, readers, tmp_path, head, body, named
):
    path = issue_file(tmp_path, head, body)

    for command in (("lint",), ("queue", "--yes"), ("proof", "--to", "me@example.org"), ("preview",)):
        said = corranto(command[0], str(path), *command[1:])

        assert said.code == 3, said
        # Lint lists all faults where findings stand; queue sends there.
        assert named in said.out + said.err or f"corranto lint {path}" in said.err
    linted = corranto("lint", str(path))
    assert named in linted.out + linted.err
    assert corranto("issue", "list", "--json").json["issues"] == []


@pytest.mark.parametrize("body", ["Dear {{ name }},\n", "{% macro x() %}{% endmacro %}\n", "{{ name | evil }}\n"])
def test_a_template_error_blocks_queueing(corranto, readers, tmp_path, body):
    path = issue_file(tmp_path, GOOD, body)

    assert corranto("lint", str(path)).code == 3
    assert corranto("queue", str(path), "--yes").code == 3
    assert corranto("issue", "list", "--json").json["issues"] == []


def test_an_issue_for_nobody_is_refused(corranto, publication, tmp_path):
    said = corranto("queue", str(issue_file(tmp_path, GOOD)))

    assert said.code == 4
    assert "nobody would get" in said.err
    assert "Would send" not in said.err


def test_an_unreachable_relay_is_a_warning_for_queue_and_the_end_of_a_proof(corranto, readers, tmp_path):
    path = issue_file(tmp_path, GOOD)

    proof = corranto("proof", str(path), "--to", "me@example.org")
    linted = corranto("lint", str(path), "--json")
    queued = corranto("queue", str(path), "--json")

    assert proof.code == 5
    assert "127.0.0.1:9" in proof.err
    assert queued.code == 0
    assert queued.json["state"] == "holding"
    assert any("127.0.0.1:9" in text for text in queued.json["warnings"])
    assert queued.json["findings"] == linted.json["files"][0]["findings"]
    assert corranto("doctor").code == 1


def test_the_same_file_is_not_queued_twice_and_undo_gives_it_back(corranto, readers, tmp_path):
    path = issue_file(tmp_path, GOOD)
    assert corranto("queue", str(path)).code == 0

    again = corranto("queue", str(path))
    undone = corranto("issue", "undo", "latest")
    anew = corranto("queue", str(path))

    assert again.code == 4
    assert "already queued" in again.err
    assert (undone.code, anew.code) == (0, 0)
    shown = corranto("issue", "show", "latest", "--json").json
    assert shown["state"] == "holding"
    assert shown["totals"]["adds_up"] is True


def test_a_skipped_local_time_queues_nothing(corranto, readers, tmp_path):
    path = str(issue_file(tmp_path, GOOD))

    said = corranto("queue", path, "--at", "2030-03-31 02:30", "--tz", "Europe/Paris")

    assert said.code == 2
    assert "does not exist" in said.err
    assert corranto("issue", "list", "--json").json["issues"] == []


def test_a_scheduled_issue_says_when_in_its_zone_and_in_utc(corranto, readers, tmp_path):
    path = str(issue_file(tmp_path, GOOD))

    said = corranto("queue", path, "--at", "2099-11-24 09:00", "--tz", "Europe/Paris")

    assert said.code == 0
    assert "09:00 Europe/Paris (UTC+1, 08:00 UTC)" in said.out


def test_a_large_audience_needs_a_person_or_yes(corranto, publication, tmp_path):
    file = tmp_path / "many.csv"
    file.write_text("email\n" + "".join(f"m{i}@example.org\n" for i in range(501)), encoding="utf-8")
    assert corranto("subscriber", "import", str(file), "-p", publication, "--consent", "invented").code == 0
    path = str(issue_file(tmp_path, GOOD))

    asked, told = corranto("queue", path), corranto("queue", path, "--yes")

    assert asked.code == 4
    assert "--yes" in asked.err
    assert told.code == 0


def test_a_dry_run_stores_nothing(corranto, readers, tmp_path):
    said = corranto("queue", str(issue_file(tmp_path, GOOD)), "--dry-run")

    assert said.code == 0
    assert "3 people" in said.err
    assert corranto("issue", "list", "--json").json["issues"] == []


def test_an_unknown_issue_is_refused_with_a_near_one(corranto, readers, tmp_path):
    assert corranto("queue", str(issue_file(tmp_path, GOOD))).code == 0

    said = corranto("issue", "show", "notes")

    assert said.code == 2
    assert "did you mean note" in said.err


def test_what_a_reader_typed_cannot_steer_the_terminal(corranto, publication, sqlite_database: Database, tmp_path):
    file = tmp_path / "one.csv"
    file.write_text("email,name\nann@example.org,Ann\n", encoding="utf-8")
    assert corranto("subscriber", "import", str(file), "-p", publication, "--consent", "x").code == 0
    with sqlite_database.write() as conn:
        conn.execute(schema.subscriber.update().values(name="\x1b]0;owned\x07Ann\u202e"))

    listed, shown = corranto("subscriber", "list"), corranto("subscriber", "show", "ann@example.org")

    for said in (listed, shown):
        assert said.code == 0
        assert not any(char in said.out for char in "\x1b\x07\u202e")
        assert "\\x1b]0;owned" in said.out


def test_a_reader_who_left_shows_why_and_no_command_brings_them_back(corranto, readers, publication):
    left = corranto("unsubscribe", "R1@example.org", "-p", publication)

    added = corranto("subscriber", "add", "r1@example.org", "-p", publication, "--consent", "asked by phone")
    again = corranto("subscriber", "import", str(readers), "-p", publication, "--consent", "invented")
    shown = corranto("subscriber", "show", "r1@example.org", "--json").json

    assert left.code == 0
    assert added.code == 4
    assert "opted out earlier" in again.out
    assert [one["state"] for one in shown["subscriptions"]] == ["ended"]
    assert any(entry["what"] == "opted out" for entry in shown["timeline"])


def test_erasing_needs_a_yes_and_cannot_be_undone_by_an_import(corranto, readers, publication):
    asked = corranto("subscriber", "erase", "r2@example.org")
    told = corranto("subscriber", "erase", "r2@example.org", "--yes")
    again = corranto("subscriber", "import", str(readers), "-p", publication, "--consent", "invented")

    assert (asked.code, told.code) == (4, 0)
    assert "do-not-mail list" in again.out
    assert corranto("subscriber", "show", "r2@example.org").code == 2


def test_an_exported_csv_is_for_its_owner_only_and_runs_no_formula(corranto, publication, tmp_path):
    file = tmp_path / "one.csv"
    file.write_text("email,name\nann@example.org,=HYPERLINK()\n", encoding="utf-8")
    assert corranto("subscriber", "import", str(file), "-p", publication, "--consent", "x").code == 0
    target = tmp_path / "out.csv"

    first = corranto("subscriber", "export", "-p", publication, "--out", str(target))
    second = corranto("subscriber", "export", "-p", publication, "--out", str(target))

    assert first.code == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "'=HYPERLINK()" in target.read_text(encoding="utf-8")
    assert second.code == 2


def test_a_preview_is_one_file_without_any_remote_picture(corranto, publication, tmp_path):
    said = corranto("preview", str(SAMPLES / "2026-11-members.md"), str(tmp_path / "seen.html"))
    text = corranto("preview", str(SAMPLES / "2026-11-members.md"), "--text")

    page = (tmp_path / "seen.html").read_text(encoding="utf-8")
    assert said.code == 0
    assert 'src="http' not in page
    assert "/u/" in text.out


def test_lint_names_its_findings_as_json(corranto, publication, tmp_path):
    path = issue_file(tmp_path, GOOD, "![](media/none.png)\n\nSee [here](https://www.example.org).\n")

    said = corranto("lint", str(path), str(tmp_path / "missing.md"), "--json")

    assert said.code == 2
    good, bad = said.json["files"]
    assert any(finding["level"] == "E" for finding in good["findings"])
    assert "missing.md" in bad["error"]


@pytest.mark.parametrize("to", ["", "a@example.org,b", ",".join(f"a{i}@example.org" for i in range(6))])
def test_a_proof_goes_to_one_to_five_addresses(corranto, publication, tmp_path, to):
    assert corranto("proof", str(issue_file(tmp_path, GOOD)), "--to", to).code == 2


def test_a_dkim_key_is_private_and_shows_its_record(corranto, tmp_path):
    made = corranto("dkim", "create", "ring.example.org", "--json")
    shown = corranto("dkim", "show-dns", "ring.example.org")
    twice = corranto("dkim", "create", "ring.example.org")

    assert stat.S_IMODE(Path(made.json["file"]).stat().st_mode) == 0o600
    assert made.json["value"] in shown.out
    assert twice.code == 4
    assert "PRIVATE" not in shown.out + made.out


def test_deliveries_refuse_an_unknown_state_naming_all(corranto, readers, tmp_path):
    assert corranto("queue", str(issue_file(tmp_path, GOOD))).code == 0

    said = corranto("issue", "deliveries", "--state", "lost")

    assert said.code == 2
    assert "in_doubt" in said.err


def test_colours_stay_away_when_nobody_wants_them(corranto, readers, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b" not in corranto("subscriber", "list").out
    assert "\x1b" not in corranto("doctor").out


def test_an_unexpected_error_is_a_sentence_without_its_text(corranto, readers, tmp_path, sqlite_database: Database):
    # Given a row that no version of ours wrote
    assert corranto("queue", str(issue_file(tmp_path, GOOD))).code == 0
    with sqlite_database.write() as conn:
        conn.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        conn.execute(schema.issue.update().values(kind="secret@example.org"))

    # When
    said = corranto("issue", "list")

    # Then
    assert said.code == 1
    assert "CORRANTO_LOG_LEVEL=debug" in said.err
    assert "secret" not in said.err


def test_a_retry_of_copies_being_sent_is_refused_and_not_taken_for_nobody(corranto, readers, tmp_path):
    # Given
    assert corranto("queue", str(issue_file(tmp_path, GOOD))).code == 0

    # When
    sending = corranto("issue", "retry", "latest", "--state", "sending")
    mixed = corranto("issue", "retry", "latest", "--state", "failed", "--state", "Sending")
    unknown = corranto("issue", "retry", "latest", "--state", "lost")

    # Then
    assert (sending.code, mixed.code, unknown.code) == (4, 4, 2)
    for said in (sending, mixed):
        assert "sending cannot be retried; these can: bounced, failed, in_doubt" in said.err
        assert "nobody" not in said.out + said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to-rest-of", "a", "--to-accepted-of", "b"), "choose one of --to-rest-of and --to-accepted-of"),
        (("--tz", "Europe/Paris"), "--tz says in which zone --at is meant: give both, or neither"),
        (("--hold", "25h"), "--hold 25h is longer than a day; use --at for a later start"),
    ],
)
def test_options_that_contradict_each_other_queue_nothing(corranto, readers, tmp_path, options, said):
    refused = corranto("queue", str(issue_file(tmp_path, GOOD)), *options)

    assert refused.code == 2
    assert said in refused.err
    assert corranto("issue", "list", "--json").json["issues"] == []


def test_a_preview_is_one_of_three_and_goes_where_it_was_told(corranto, readers, tmp_path):
    path = str(issue_file(tmp_path, GOOD))

    two = corranto("preview", path, "--eml", "--text")
    known = corranto("preview", path, "--text", "--as", "r1@example.org")
    unknown = corranto("preview", path, "--as", "who@example.org")
    nowhere = corranto("preview", path, str(tmp_path / "none" / "x.html"))

    assert [said.code for said in (two, known, unknown, nowhere)] == [2, 0, 2, 2]
    assert "choose one of --html, --text and --eml" in two.err
    assert "cannot be written (No such file or directory): name a file in a folder of yours" in nowhere.err


def test_the_people_behind_a_number_come_as_csv_and_as_json_in_the_same_order(
    corranto, publication, sqlite_database: Database
):
    # Given more readers than a page of the list holds, which is read page by page
    issue_id = planned_issue(sqlite_database, 7)

    # When
    listed = corranto("issue", "deliveries", str(issue_id), "--json", "--limit", "5").json
    table = corranto("issue", "deliveries", str(issue_id), "--csv").out.splitlines()
    nobody = corranto("issue", "deliveries", str(issue_id), "--state", "in doubt")

    # Then
    assert [row["n"] for row in listed["deliveries"]] == [1, 2, 3, 4, 5]
    assert listed["more"] is True
    assert table[0].startswith("n,address,name,state,reason,code")
    assert [line.partition(",")[0] for line in table[1:]] == ["1", "2", "3", "4", "5", "6", "7"]
    assert "There is nobody in the state in_doubt." in nobody.err


@pytest.mark.parametrize("arguments", [(), ("--version",), ("publication", "list"), ("publication", "list", "--json")])
def test_output_that_nobody_reads_any_more_ends_quietly(corranto, publication, arguments):
    # Given a pipe whose reader went away
    reader, writer = os.pipe()
    os.close(reader)

    # When
    command = [sys.executable, "-m", "worker.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    finally:
        os.close(writer)

    # Then
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("port", "said"), [("x", "write a whole number"), ("0", "write at least 1"), ("99999", "write at most 65535")]
)
def test_a_number_that_is_none_is_refused_in_our_words(corranto, port: str, said: str) -> None:
    result = corranto("demo", "--port", port)

    assert result.code == 2
    assert said in result.err
    assert "Input should be" not in result.err


def test_help_shows_no_types_of_the_language(corranto, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("lint", "queue", "demo"):
        shown = corranto(command, "--help").out
        assert "<bool>" not in shown
        assert all(len(line) <= 80 for line in shown.splitlines())


def test_a_proof_to_no_address_names_the_value_and_the_remedy(corranto, readers, tmp_path):
    # Given
    path = issue_file(tmp_path, GOOD)

    # When
    said = corranto("proof", str(path), "--to", "me@example.org,nonsense")

    # Then
    assert said.code == 2
    assert "--to: nonsense is not an address" in said.err
    assert "write --to you@example.org" in said.err


@pytest.mark.parametrize("command", [("lint",), ("queue", "--yes"), ("proof", "--to", "me@example.org"), ("preview",)])
def test_an_unknown_publication_is_refused_with_the_file_and_line_that_name_it(
    corranto, publication, tmp_path, command
):
    # Given
    path = issue_file(tmp_path, GOOD.replace("ring-news", "ring-nwes"))

    # When
    said = corranto(command[0], str(path), *command[1:])

    # Then
    assert said.code == 3
    if command[0] in ("lint", "queue"):  # as one finding among the others
        assert "E501  line 3    there is no publication ring-nwes; did you mean ring-news" in said.out + said.err
    else:
        assert f"{path} line 3: there is no publication ring-nwes; did you mean ring-news" in said.err


def run_as_process(*arguments: str, out: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, whose output goes to a file when one is named."""
    with open(out or os.devnull, "w") as file:
        return subprocess.run(
            [sys.executable, "-m", "worker.cli", *arguments],
            check=False,
            encoding="latin-1",
            env=os.environ | environment,
            stdout=file if out else subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_character_shows_its_escape(
    corranto: Callable[..., Said], publication: str, encoding: str
) -> None:
    assert corranto("publication", "edit", publication, "--title", "Ring — 环").code == 0
    done = run_as_process("publication", "show", publication, PYTHONIOENCODING=encoding, PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u73af" in done.stdout


def test_a_full_disk_behind_the_output_is_no_fault_of_ours(corranto: Callable[..., Said]) -> None:
    done = run_as_process("--help", out="/dev/full", PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert done.stderr == "corranto: the output could not be written: No space left on device\n"


def test_a_noun_without_its_verb_shows_help_and_no_empty_error(corranto: Callable[..., Said]) -> None:
    said = corranto("issue")
    assert said.code == 2
    assert "deliveries" in said.out
    assert said.err == ""


def test_a_wrong_option_names_the_help_as_this_command_was_called(
    corranto: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLED_AS", "./run corranto")
    assert "see: ./run corranto issue show --help" in corranto("issue", "show", "--foo").err


def test_two_forms_of_the_same_list_are_refused(corranto: Callable[..., Said]) -> None:
    said = corranto("issue", "deliveries", "latest", "--csv", "--json")
    assert said.code == 2
    assert "choose one of --csv and --json" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [(["issue", "show", "nowhere", "--json"], "issue.unknown", 2), (["db", "check", "--json"], "settings.value", 2)],
)
def test_a_refusal_under_json_is_json_too(
    corranto: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str, exit_code: int
) -> None:
    if code == "settings.value":
        monkeypatch.setenv("CORRANTO_HOLD_S", "long")
    said = corranto(*arguments)
    told = json.loads(said.err)
    assert (said.code, said.out, told["exit_code"]) == (exit_code, "", exit_code)
    assert [each["code"] for each in told["errors"]] == [code]
    assert told["errors"][0]["sentence"]


@pytest.mark.parametrize("arguments", [("status", "--json=yes"), ("publication", "show", "x", "--json=")])
def test_json_with_a_value_is_refused_as_json(corranto: Callable[..., Said], arguments: tuple[str, ...]) -> None:
    said = corranto(*arguments)

    assert said.code == 2
    assert json.loads(said.err)["exit_code"] == 2


def test_json_after_two_dashes_is_a_name(corranto: Callable[..., Said]) -> None:
    said = corranto("publication", "show", "--", "--json")

    assert said.code == 2
    assert said.err.startswith("corranto: there is no publication --json")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_output_is_silence_and_no_fault(corranto: Callable[..., Said], publication: str, closed: str) -> None:
    command = f"{sys.executable} -P -m worker.cli publication list {closed}"

    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert "fault" not in done.stderr


def test_help_shows_what_is_to_be_typed_in_one_form(corranto: Callable[..., Said]) -> None:
    for words in (["lint"], ["preview"], ["explain"], ["dkim", "create"], ["subscriber", "import"], ["db", "backup"]):
        shown = corranto(*words, "--help").out

        assert not re.search(r"[{}<>]|list\[|\[\[|\.\.\.\.", shown), shown
    assert "lint [OPTIONS] FILE..." in corranto("lint", "--help").out
    assert "preview [OPTIONS] FILE [OUT]" in corranto("preview", "--help").out


def test_intake_says_of_each_mail_what_it_was(
    corranto: Callable[..., Said], sqlite_database: Database, tmp_path: Path
) -> None:
    # Given: three mails, of which one is about a copy in doubt
    issue_id = planned_issue(sqlite_database, 3)
    in_doubt = {"state": DeliveryState.IN_DOUBT, "reason": "line_broke", "fingerprint": FINGERPRINT}
    send(sqlite_database, issue_id, lambda n: in_doubt if n == 1 else {"state": DeliveryState.ACCEPTED, "code": 250})
    keyring = Keyring([KEY])
    for n in (1, 2):
        to = f"bounces+{keyring.sign_verp(issue_id, n)}@rivers.example.org"
        (tmp_path / f"{n}.eml").write_bytes(delivery_report("failed", to=to))
    (tmp_path / "note.eml").write_text("Subject: Out of office\n\nI am away.\n")

    # When
    said = corranto("intake", "1.eml", "2.eml", "note.eml")
    again = corranto("intake", "1.eml", "--json")

    # Then
    assert said.code == 0
    assert said.out.splitlines() == [
        "1.eml: copy 1 of spring was in doubt and is bounced now: a report says failed",
        "2.eml: copy 2 of spring is not in doubt but accepted; nothing was changed",
        "note.eml: no report that Corranto reads; nothing was changed",
    ]
    assert "corranto issue report spring" in said.err
    assert again.json["mails"][0]["finding"] == "not_in_doubt"
    assert "returned later by a report" in corranto("issue", "deliveries", "spring", "--state", "bounced").out


@pytest.mark.parametrize("file", ["missing.eml", "."])
def test_intake_of_what_cannot_be_read_is_one_sentence(corranto: Callable[..., Said], file: str) -> None:
    said = corranto("intake", file)
    assert said.code == 2
    assert f"{file} cannot be read" in said.err
