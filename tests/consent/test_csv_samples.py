"""Files as other programs and hands make them, in tests/samples/csv: what becomes of each, dry and for real."""

import csv
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.publication import ACTOR, ANYWHERE, publish
from tests.support.words import refuses
from worker.cli.files import show_result
from worker.consent.dates import DateOrder
from worker.consent.exports import export_publication
from worker.consent.how import How
from worker.consent.imports import ImportResult, import_subscribers
from worker.errors import UsageError
from worker.storage import schema
from worker.storage.engine import Database

SAMPLES = Path(__file__).parent.parent / "samples" / "csv"


def run(database: Database, path: Path, publication: str = "briefing", **values: Any) -> ImportResult:
    result = import_subscribers(
        database,
        publication,
        path,
        **{"consent": "the form on our pages", "actor": ACTOR, "state_dir": ANYWHERE, **values},
    )
    assert result.adds_up
    return result


def told(result: ImportResult) -> dict[str, Any]:
    """What is said of a file, dry or for real."""
    assert result.columns is not None
    names = ("read", "added", "kept_out_left", "kept_out_unconfirmed", "rejected", "folds", "fold_lines", "left_by")
    said = {name: getattr(result, name) for name in names}
    reasons = {reason.code: count for reason, count in result.reasons.items()}
    return {**said, "program": result.columns.program, "renamed": dict(result.columns.renamed), "reasons": reasons}


def readers(database: Database) -> list[tuple[str, str, str, str]]:
    """(local part, name, language, day of consent), by address."""
    kept = (schema.subscriber.c[name] for name in ("address", "name", "language"))
    query = select(*kept, schema.subscription.c.consent_at).join(schema.subscription)
    with database.read() as conn:
        rows = sorted(tuple(row) for row in conn.execute(query))
    return [
        (at.partition("@")[0], name, language or "", str(day.date()) if day else "") for at, name, language, day in rows
    ]


OUT = {"added": 0, "kept_out_left": 1}


@pytest.mark.parametrize(
    ("sample", "how", "right", "came"),
    [
        ("01-mailchimp-de", How(), {"program": "Mailchimp", "added": 1}, ["anna: Anna Beispiel 2018-02-12"]),
        ("02-mailchimp-unsubscribed", How(), {**OUT, "program": "Mailchimp", "left_by": {"UNSUB_TIME": 1}}, []),
        ("03-beehiiv", How({"consent_at": "created_at"}),
         {"program": "beehiiv", "kept_out_left": 2, "left_by": {"status": 1, "unsubscribed_at": 1}},
         ["lorem: Lorem 2023-03-24"]),
        ("04-ghost", How(), {"program": "Ghost", "left_by": {"subscribed_to_emails": 1}}, ["yes: Grace"]),
        ("05-duplicate-heading", How(), {"renamed": {"Name": "name_2"}}, ["x: Xenia"]),
        ("07-google-forms", How(), {"program": "Google Forms"}, ["form:"]),
        ("08-space-after-comma", How(), {"folds": {}}, ["jane: Doe, Jane"]),
        ("09-mysql-backslash", How(escape="backslash"), {}, ["nul:", 'obrien: Pat "Paddy" O\'Brien']),
        ("10-listmonk", How(), {"program": "listmonk", "left_by": {"status": 1}}, ["enabled: E"]),
        ("11-bidi-phone", How(), {"folds": {"unseen": 2}}, ["lrm: Lars", "mark: Mark"]),
        ("12-tab-in-name", How(), {"folds": {"tabs": 1}}, ["tab: Jo Doe"]),
        ("13-zero-width-address", How(), {"folds": {"blanks": 5}}, ["lre: E", "nb: D", "zw1: A", "zw2: B", "zw3: C"]),
        ("14-long-note", How(), {"folds": {"cut": 1}}, ["long: L"]),
        ("15-locale", How(), {"folds": {"locale": 2}}, ["br: B pt-BR", "de: D DE", "us: U en-US"]),
        ("16-name-addr", How(), {"folds": {"wrapped": 5}, "rejected": 1},
         ["jd2: Jane", "jd3: Jane", "jd4: Jane", "jd7: Jane", "jd: Jane"]),
        ("17-blank-first-line", How(), {}, ["blank: B"]),
        ("18-curated", How(), {}, ["cu: 2021-02-04"]),
        ("19-us-date", How(), {"folds": {"date": 1}}, ["us2:"]),
        ("19-us-date", How(dates=DateOrder.MONTH_FIRST), {"folds": {}}, ["us2: 2021-03-04"]),
        ("20-null-words", How(), {"folds": {"nothing": 6}}, [f"n{n}:" for n in range(1, 7)]),
        ("21-padded", How(), {}, ["pad: Unknown Name"]),
        ("24-extra-cell", How(), {"rejected": 1, "reasons": {"row.more_cells": 1}}, []),
        ("25-stray-quote", How(), {"rejected": 1, "reasons": {"csv.quote_not_doubled": 1}}, ['inch: 27" screen']),
        ("att", How(), {}, ["att: Att 2024-05-04"]),
        ("ph", How(), {}, ["-dash: D", "phone: P"]),
    ],
)  # fmt: skip
def test_a_file_from_another_program_or_hand(
    sqlite_database: Database, sample: str, how: How, right: Mapping[str, Any], came: Sequence[str]
) -> None:
    # Given
    publish(sqlite_database)

    # When
    dry = told(run(sqlite_database, SAMPLES / f"{sample}.csv", how=how, dry_run=True))
    real = told(run(sqlite_database, SAMPLES / f"{sample}.csv", how=how))

    # Then dry and real agree, every count is the right one, and nothing that nobody sees is kept
    assert dry == real
    assert {name: real[name] for name in right} == right
    assert real["added"] == len(came)
    assert [f"{at}: {' '.join(filter(None, rest))}".rstrip() for at, *rest in readers(sqlite_database)] == came
    with sqlite_database.read() as conn:
        kept = str(conn.execute(select(schema.subscriber.c.attributes)).all())
    assert not set("\t\u200b\u200e\u202a\u202c\ufeff") & set(kept)


def test_files_that_are_no_csv_are_called_what_they_are(database: Database, tmp_path: Path) -> None:
    publish(database)
    with refuses(UsageError, "subscribed_members_export.csv"):
        run(database, SAMPLES / "26-export.zip")
    with refuses(UsageError, "--escape backslash"):
        run(database, SAMPLES / "09-mysql-backslash.csv")
    for octets, form in (
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture"), (b"<!-- list --><html><td>a@example.org", "a web page"),
        (b"From: a@example.org\nTo: b@example.org\n\nhello\n", "a mail"),
        (b"Received: from x\n by y; Mon\nFrom: a@example.org\n", "a mail"),
        (b"dn: cn=a\nmail: a@example.org\n", "LDIF"), (b"%!PS-Adobe-3.0\n", "PostScript"),
    ):  # fmt: skip
        path = tmp_path / "list.csv"
        path.write_bytes(octets)
        with refuses(UsageError, form):
            run(database, path)
    path.write_bytes(b"email,name\n" + bytes(3_000))
    with refuses(UsageError, "NUL"):
        run(database, path)
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        path.write_bytes("email\r\na@example.org\r\n".encode(encoding))
        with refuses(UsageError, f"--encoding {encoding}$"):
            run(database, path)
        assert run(database, path, how=How(encoding=encoding), dry_run=True).added == 1


@pytest.mark.parametrize("sample", ["att", "ph"])
def test_what_came_in_goes_out_and_comes_in_elsewhere_as_it_was(
    database: Database, tmp_path: Path, sample: str
) -> None:
    publish(database)
    publish(database, "other")
    run(database, SAMPLES / f"{sample}.csv")
    first = "".join(export_publication(database, "briefing"))
    (tmp_path / "e.csv").write_text(first, newline="")

    run(database, tmp_path / "e.csv", "other")

    assert "".join(export_publication(database, "other")) == first
    assert len(list(csv.reader(first.splitlines()))) == (2 if sample == "att" else 3)


def test_a_column_about_something_else_keeps_nobody_out_once_a_person_says_so(
    sqlite_database: Database, tmp_path: Path
) -> None:
    publish(sqlite_database)
    path = tmp_path / "customers.csv"
    path.write_text("email,status\na@example.org,inactive\nb@example.org,active\n")

    assert run(sqlite_database, path, dry_run=True).left_by == {"status": 1}
    result = run(sqlite_database, path, how=How(not_left=("Status",)))

    assert (result.added, result.kept_out_left, result.left_by) == (2, 0, {})
    with refuses(UsageError, "--not-left-column"):
        run(sqlite_database, path, how=How(left=("status",), not_left=("status",)))


@pytest.mark.parametrize(
    "text",
    [
        "email,status\na@example.org,inactive\nb@example.org,\n",
        "email,Status,status\na@example.org,active,inactive\nb@example.org,,\n",
        'email,"Abo\nStatus"\na@example.org,inactive\nb@example.org,\n',
        'email,"List\'s ""new"" status"\na@example.org,unsubscribed\nb@example.org,\n',
    ],
)
def test_the_printed_way_round_lets_everybody_in(
    sqlite_database: Database, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given columns called once, twice, over two lines, or with quotation marks
    publish(sqlite_database)
    path = tmp_path / "list.csv"
    path.write_text(text)

    # When
    kept_out = run(sqlite_database, path, dry_run=True)
    show_result(kept_out, "briefing", path, How(), None)
    printed = re.findall(r"add: (.*)", capsys.readouterr().out)
    words = [word for line in printed for word in shlex.split(line)]

    # Then
    assert kept_out.added == 1
    assert set(words[::2]) == {"--not-left-column"}
    assert run(sqlite_database, path, how=How(not_left=tuple(words[1::2]))).added == 2


def test_a_page_of_long_rows_is_merged_before_it_is_full(sqlite_database: Database, tmp_path: Path) -> None:
    # Given 100 readers of 100 columns with 500 characters each: five million characters
    publish(sqlite_database)
    cells = ",".join(["v" * 500] * 100)
    path = tmp_path / "wide.csv"
    path.write_text(
        ",".join(["email", *(f"c{n}" for n in range(100))]) + "\n"
        + "".join(f"r{n}@example.org,{cells}\n" for n in range(100))
    )  # fmt: skip
    seen: list[int] = []

    # When
    result = run(sqlite_database, path, dry_run=True, progress=lambda read, rows: seen.append(read))

    # Then it took two pages, though one has room for thousands
    assert result.added == 100
    assert len(seen) == 3
