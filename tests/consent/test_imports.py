"""Imports on both databases: who comes in, who is kept out, what is counted, what a kill leaves, what undo does."""

import csv
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from tests.support.publication import ACTOR, ANYWHERE, CONSENT, publish, write_csv
from tests.support.readers import Killed
from tests.support.words import refuses
from worker.consent import optout
from worker.consent.exports import export_publication
from worker.consent.how import How
from worker.consent.imports import ImportResult, import_subscribers, list_imports, undo_import
from worker.consent.optout import Wish
from worker.consent.subscribe import add_subscriber
from worker.domain.address import parse_address
from worker.domain.publication import Publication
from worker.domain.subscription import Channel
from worker.domain.suppression import SuppressionReason
from worker.errors import NotFoundError, RefusedError, UsageError
from worker.storage import acts, schema
from worker.storage.engine import Database
from worker.storage.people import subscribers, suppressions, timelines


@pytest.fixture
def briefing(database: Database) -> Publication:
    return publish(database)


def run(database: Database, path: Path, **values: object) -> ImportResult:
    result = import_subscribers(
        database,
        "briefing",
        path,
        **{"consent": CONSENT, "actor": ACTOR, "state_dir": ANYWHERE, "page_size": 3, **values},
    )
    assert result.adds_up
    assert result.revived == 0
    return result


def leave(database: Database, folder: Path, address: str) -> None:
    optout.opt_out_address(
        database, address=address, publication="briefing", actor="reader", state_dir=folder, wait_s=0
    )


def states(database: Database) -> dict[str, tuple[str, int]]:
    """address → (state, generation) in the briefing."""
    query = select(schema.subscriber.c.address, schema.subscription.c.state, schema.subscription.c.generation).join(
        schema.subscription
    )
    with database.read() as conn:
        return {address: (state, generation) for address, state, generation in conn.execute(query)}


def rows_of(database: Database, table: object) -> int:
    with database.read() as conn:
        return conn.execute(select(func.count()).select_from(table)).scalar_one()


def test_readers_come_in_with_evidence_and_one_line_each(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    path = write_csv(
        tmp_path, "email;name;language;City\r\na@example.org;Zoë;fr;Ghent\r\nb@example.org;;;\r\n", "utf-8-sig"
    )

    # When
    result = run(database, path)

    # Then
    assert (result.read, result.added, result.import_id) == (2, 2, 1)
    with database.read() as conn:
        found = subscribers.find_by_address(conn, database.instance(), "a@example.org")
        lines = conn.execute(select(schema.consent_log)).all()
        subscription = conn.execute(select(schema.subscription)).first()
        assert [act.act for act in acts.latest(conn, object="import:1")] == ["import.finish", "import.begin"]
    assert (found.name, found.language, found.attributes) == ("Zoë", "fr", {"city": "Ghent"})
    assert [(line.event, line.channel, line.import_id, line.evidence) for line in lines] == [
        ("imported", "import", 1, CONSENT)
    ] * 2
    assert subscription is not None
    assert (subscription.import_id, subscription.consent_source) == (1, CONSENT)
    assert subscription.consent_at.date().isoformat() == "2024-05-04"


def test_consent_column_beats_the_date_of_the_text_and_no_date_stays_none(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # When
    run(
        database,
        write_csv(tmp_path, "email,consent_at\na@example.org,2023-01-02\nb@example.org,\n"),
        consent="at the fair",
    )
    run(database, write_csv(tmp_path, "email,consent_at\nc@example.org,2023-01-02\nd@example.org,\n"))

    # Then
    with database.read() as conn:
        found: list[datetime | None] = list(
            conn.scalars(select(schema.subscription.c.consent_at).order_by(schema.subscription.c.consent_at))
        )
    assert sorted(str(at and at.date()) for at in found) == ["2023-01-02", "2023-01-02", "2024-05-04", "None"]


def test_same_file_again_adds_nobody_and_updates_what_changed(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    first = "email,name,language,city,plan\n" + "".join(f"r{n}@example.org,R{n},fr,Ghent,gold\n" for n in range(8))
    run(database, write_csv(tmp_path, first))

    # When
    same = run(database, write_csv(tmp_path, first))
    changed = run(database, write_csv(tmp_path, "email,name,city\nr1@example.org,,Bruges\nr2@example.org,R2,Ghent\n"))

    # Then
    assert (same.added, same.already, same.updated) == (0, 8, 0)
    assert (changed.added, changed.already, changed.updated) == (0, 2, 1)
    with database.read() as conn:
        found = subscribers.find_by_address(conn, database.instance(), "r1@example.org")
    assert (found.name, found.language, found.attributes) == ("R1", "fr", {"city": "Bruges", "plan": "gold"})
    assert rows_of(database, schema.consent_log) == 8


def test_opted_out_and_suppressed_readers_are_kept_out_and_left_as_they_are(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    path = write_csv(tmp_path, "email,name\n" + "".join(f"r{n}@example.org,Old\n" for n in range(6)))
    run(database, path)
    leave(database, tmp_path, "r1@example.org")
    with database.write() as conn:
        no = [parse_address("r2@example.org"), parse_address("new@example.org")]
        wanted = suppressions.hashes_of(database.instance(), no)
        suppressions.add(conn, wanted, SuppressionReason.MANUAL, "", actor=ACTOR)

    # When
    result = run(
        database,
        write_csv(
            tmp_path, "email,name\n" + "".join(f"{n.upper()}@example.org,New\n" for n in ("r0", "r1", "r2", "new"))
        ),
    )

    # Then
    assert (result.added, result.already) == (0, 1)
    assert (result.kept_out_opted_out, result.kept_out_suppressed) == (1, 2)
    assert states(database)["r1@example.org"] == ("ended", 1)
    with database.read() as conn:
        assert subscribers.find(conn, database.instance(), parse_address("new@example.org")) is None
        for kept, name in (("r0", "New"), ("r1", "Old"), ("r2", "Old")):
            assert subscribers.find_by_address(conn, database.instance(), f"{kept}@example.org").name == name


def test_reader_of_another_publication_is_subscribed_and_updated(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    other = publish(database, "other")
    add_subscriber(database, other.slug, "a@example.org", name="Old", consent=CONSENT, actor=ACTOR)

    # When
    result = run(database, write_csv(tmp_path, "email,name\na@example.org,New\n"))

    # Then
    assert (result.added, result.updated) == (1, 1)
    assert rows_of(database, schema.subscriber) == 1
    assert rows_of(database, schema.subscription) == 2


def test_pending_reader_is_not_confirmed_by_an_import(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    path = write_csv(tmp_path, "email\na@example.org\n")
    run(database, path)
    with database.write() as conn:
        conn.execute(update(schema.subscription).values(state="pending", confirmed_at=None))

    # When
    result = run(database, path)

    # Then
    assert result.already == 1
    assert states(database) == {"a@example.org": ("pending", 1)}


def test_duplicates_rejects_and_folds_are_counted_and_sum_up(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    text = (
        "email,name\n"
        "a@example.org,=cmd|' /C calc'!A0\n"
        ' "=HYPERLINK(""x"")",\n'
        "b@example.org,B\n"
        "c@example.org,C\n"
        "d@example.org,D\n"
        " A@EXAMPLE.org ,again\n"
        "\n"
        "@example.org,nobody\n"
        '"e@example.org\r\nBcc: x@example.org",evil\n'
    )
    rejects = tmp_path / "rejects.csv"

    # When
    result = run(database, write_csv(tmp_path, text), rejects_path=rejects)

    # Then
    assert (result.read, result.added, result.duplicates_in_file, result.rejected) == (8, 4, 1, 3)
    assert result.folds == {"blanks": 1, "domain_case": 1, "local_case": 1}
    assert sum(result.reasons.values()) == 3
    with rejects.open(newline="") as file:
        header, *lines = list(csv.reader(file))
    assert header == ["line", "value", "reason", "email", "name"]
    assert [line[0] for line in lines] == ["3", "9", "10"]
    assert [line[1] for line in lines][1] == "'@example.org"
    assert all(not line[1].startswith(("=", "+", "-", "@")) for line in lines)
    assert rejects.stat().st_mode & 0o077 == 0
    assert [example.line for example in result.examples] == [3, 9, 10]


def test_dry_run_counts_like_the_real_one_and_changes_nothing(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    run(database, write_csv(tmp_path, "email,name\nr1@example.org,Old\nr2@example.org,Old\n"))
    leave(database, tmp_path, "r2@example.org")
    path = write_csv(tmp_path, "email,name\n" + "".join(f"r{n}@example.org,New\n" for n in range(10)) + "x,y\n")
    tables = (schema.subscriber, schema.subscription, schema.consent_log, schema.import_batch, schema.act)
    before = [rows_of(database, table) for table in tables]

    # When
    dry = run(database, path, dry_run=True)

    # Then
    assert [rows_of(database, table) for table in tables] == before
    real = run(database, path)
    assert (dry.dry_run, dry.import_id) == (True, None)
    assert (dry.added, dry.already, dry.updated, dry.kept_out_opted_out, dry.rejected) == (8, 1, 1, 1, 1)
    assert (real.added, real.already, real.updated, real.kept_out_opted_out, real.rejected) == (8, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("name\nA\n", {}),
        ("email\na@example.org\n", {"consent": " "}),
        ("email\na@example.org\n", {"how": How({"name": "Nom"})}),
        ('email\na@example.org,"x \\"y\\""\n', {}),
        ("email\na@example.org\n", {"how": How(encoding="nonsense")}),
        ("email\na@example.org\n", {"how": How(left=("Nom",))}),
    ],
)
def test_file_that_is_wrong_as_a_whole_changes_nothing(
    database: Database, briefing: Publication, tmp_path: Path, text: str, values: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        run(database, write_csv(tmp_path, text), **values)
    assert rows_of(database, schema.import_batch) == rows_of(database, schema.subscriber) == 0


def test_rejects_file_never_overwrites_the_source(database: Database, briefing: Publication, tmp_path: Path) -> None:
    path = write_csv(tmp_path, "email\na@example.org\n")
    with refuses(UsageError, match="name another"):
        run(database, path, rejects_path=tmp_path / "." / path.name)
    with refuses(UsageError, match="cannot be written"):
        run(database, path, rejects_path=tmp_path / "no" / "where.csv")
    assert path.read_text() == "email\na@example.org\n"


def test_unknown_publication_is_named_before_the_file_is_read(database: Database, tmp_path: Path) -> None:
    with refuses(NotFoundError, match="publication"):
        run(database, tmp_path / "nothing.csv")


def test_progress_ends_at_the_number_of_rows(database: Database, briefing: Publication, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = write_csv(tmp_path, "email\n" + "".join(f"r{n}@example.org\n" for n in range(7)))
    run(database, path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (7, 7)


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_killed_import_leaves_whole_pages_and_can_simply_be_repeated(
    database: Database, briefing: Publication, tmp_path: Path, pages: int
) -> None:
    # Given
    path = write_csv(tmp_path, "email\n" + "".join(f"r{n}@example.org\n" for n in range(9)))
    told: list[int] = []

    def die(done: int, total: int | None) -> None:
        told.append(done)
        if len(told) == pages:
            raise Killed

    # When
    with pytest.raises(Killed):
        run(database, path, progress=die)

    # Then
    assert rows_of(database, schema.subscription) == rows_of(database, schema.consent_log) == 3 * pages
    assert all("finished" not in batch.counts for batch in list_imports(database))

    # When
    again = run(database, path)

    # Then
    assert (again.added, again.already) == (9 - 3 * pages, 3 * pages)
    assert rows_of(database, schema.consent_log) == 9
    assert list_imports(database)[0].counts["finished"] is True


def test_undo_ends_what_the_import_added_and_nobody_touched(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    run(database, write_csv(tmp_path, "email\nbefore@example.org\n"))
    wrong = run(
        database, write_csv(tmp_path, "email\n" + "".join(f"{n}@example.org\n" for n in ("before", "a", "b", "c")))
    )
    leave(database, tmp_path, "b@example.org")
    with database.read() as conn:
        came_back = subscribers.find_by_address(conn, database.instance(), "c@example.org")
        ids = conn.scalars(
            select(schema.subscription.c.id).where(schema.subscription.c.subscriber_id == came_back.id)
        ).all()
    optout.opt_out(database, Wish(ids[0], Channel.PAGE, "reader"), tmp_path, 0)
    optout.undo(database, Wish(ids[0], Channel.PAGE, "reader"), tmp_path)

    # When
    assert wrong.import_id
    ended = undo_import(database, wrong.import_id, actor=ACTOR)

    # Then
    assert ended == 1
    assert states(database) == {
        "before@example.org": ("confirmed", 1),
        "a@example.org": ("ended", 1),
        "b@example.org": ("ended", 1),
        "c@example.org": ("confirmed", 2),
    }
    with refuses(RefusedError, match="undone already"):
        undo_import(database, wrong.import_id, actor=ACTOR)
    with refuses(NotFoundError, match="import list"):
        undo_import(database, 99, actor=ACTOR)
    assert [bool(batch.undone_at) for batch in list_imports(database, "briefing")] == [True, False]


def test_reader_of_an_undone_import_may_be_imported_again_until_they_say_no(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    path = write_csv(tmp_path, "email\na@example.org\nb@example.org\n")
    first = run(database, path)
    assert first.import_id
    undo_import(database, first.import_id, actor=ACTOR)
    leave(database, tmp_path, "b@example.org")

    # When
    again = run(database, path)

    # Then
    assert (again.added, again.kept_out_opted_out) == (1, 1)
    assert states(database) == {"a@example.org": ("confirmed", 2), "b@example.org": ("ended", 1)}
    with database.read() as conn:
        told = [entry.what for entry in timelines.timeline(conn, 1)] + [
            entry.what for entry in timelines.timeline(conn, 2)
        ]
    assert sorted(told) == sorted(
        [
            "first known",
            "subscribed",
            "import undone",
            "subscribed",
            "first known",
            "subscribed",
            "import undone",
            "opted out",
        ]
    )


def test_an_import_never_lifts_a_no_that_only_the_consent_log_remembers(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given a reader who left, and whose row says that taking an import back ended it
    path = write_csv(tmp_path, "email\na@example.org\n")
    run(database, path)
    leave(database, tmp_path, "a@example.org")
    with database.write() as conn:
        conn.execute(update(schema.subscription).values(ended_by="import"))

    # When the file comes again
    again = run(database, path)

    # Then the log decides
    assert (again.added, again.kept_out_opted_out) == (0, 1)
    assert states(database) == {"a@example.org": ("ended", 1)}


def test_channel_of_an_undone_import_is_told_apart_from_a_reader(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given
    first = run(database, write_csv(tmp_path, "email\na@example.org\n"))
    assert first.import_id
    undo_import(database, first.import_id, actor=ACTOR)

    # When
    made = add_subscriber(database, briefing.slug, "a@example.org", consent="asked again by phone", actor=ACTOR)

    # Then
    assert made.added
    assert states(database) == {"a@example.org": ("confirmed", 2)}
    with database.read() as conn:
        assert conn.scalars(select(schema.subscription.c.ended_by)).one() is None
        channels = conn.scalars(select(schema.consent_log.c.channel).order_by(schema.consent_log.c.id)).all()
    assert channels == [Channel.IMPORT, Channel.IMPORT, Channel.CLI]


def test_whoever_the_file_says_left_is_never_subscribed_and_can_be_kept_from_all_mail(
    database: Database, briefing: Publication, tmp_path: Path
) -> None:
    # Given an export in which one reader stands twice
    text = (
        "email,status,unsubscribed_at\n"
        "in@example.org,active,\n"
        "twice@example.org,active,\n"
        "new@example.org,pending,\n"
        "out@example.org,active,2024-01-01\n"
        "twice@example.org,unsubscribed,\n"
    )
    path = write_csv(tmp_path, text)

    # When
    dry = run(database, path, dry_run=True)
    real = run(database, path)
    named = run(database, path, how=How(left=("unsubscribed_at",)))

    # Then
    assert (real.added, real.kept_out_left, real.kept_out_unconfirmed) == (1, 3, 1)
    assert (dry.added, dry.kept_out_left, dry.kept_out_unconfirmed) == (1, 3, 1)
    assert real.left_by == {"status": 2, "unsubscribed_at": 1}
    assert states(database) == {"in@example.org": ("confirmed", 1)}
    assert named.opted_out == 2
    with database.read() as conn:
        assert suppressions.find(conn, database.instance(), parse_address("new@example.org")) is None


def test_broken_quote_costs_its_own_row(database: Database, briefing: Publication, tmp_path: Path) -> None:
    # Given a quotation mark that is never closed, and one that is not doubled
    path = write_csv(
        tmp_path, 'email,name\n"a@example.org,A\nb@example.org,27" screen\n"c@example.org","C "x" C"\nd@example.org,D\n'
    )

    # When
    result = run(database, path)

    # Then
    assert (result.read, result.added, result.rejected) == (4, 2, 2)
    assert [example.line for example in result.examples] == [2, 4]


def test_rejects_can_be_mended_and_imported_again(database: Database, briefing: Publication, tmp_path: Path) -> None:
    # Given a file of rejects that everybody could read
    rejects = tmp_path / "rejects.csv"
    rejects.write_text("old")
    rejects.chmod(0o644)
    path = write_csv(tmp_path, 'email,name,phone\njane.example.org,"Doe, Jane",\'+49 1\n')

    # When
    run(database, path, rejects_path=rejects)

    # Then
    assert rejects.stat().st_mode & 0o077 == 0
    mended = write_csv(tmp_path, rejects.read_text().replace("jane.example", "jane@example"), name="mended.csv")
    assert run(database, mended).added == 1
    with database.read() as conn:
        found = subscribers.find_by_address(conn, database.instance(), "jane@example.org")
    assert (found.name, found.attributes) == ("Doe, Jane", {"phone": "+49 1"})


def test_export_comes_back_byte_for_byte(database: Database, briefing: Publication, tmp_path: Path) -> None:
    # Given readers with values that a spreadsheet would run, and words that stand for nothing elsewhere
    publish(database, "other")
    path = write_csv(
        tmp_path,
        "email,name,phone,consent_at\n-d@example.org,'-,'+49 170,2024-05-04 10:00:00 UTC\nb@example.org,''=x,;=1,\n",
    )
    run(database, path, consent="a form")
    first = "".join(export_publication(database, "briefing"))

    # When
    import_subscribers(
        database,
        "other",
        write_csv(tmp_path, first, name="e.csv"),
        consent="a form of 2020-01-01 and 2021-01-01",
        actor=ACTOR,
        state_dir=tmp_path,
    )

    # Then
    assert "".join(export_publication(database, "other")) == first
    assert '"\'+49 170","' not in first.split("\n")[0]
    assert "2024-05-04T10:00:00+00:00" in first
