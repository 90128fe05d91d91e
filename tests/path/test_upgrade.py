"""The database is upgraded under a running process: the old one ends, what it held is known, the new one goes on.

This version is the old one here: the next one is a number that it does not know.
"""

import pytest
from sqlalchemy import text

from tests.support.databases import give_version
from tests.support.lists import DEADLINE_S, SCHEDULER, WORKER, Newsroom
from worker.domain.issue import IssueState
from worker.storage import migrations
from worker.storage.engine import Database


def test_a_worker_whose_database_was_upgraded_settles_and_ends(both_desks: Newsroom) -> None:
    # Given: mails on the wire
    desk = both_desks
    desk.readers([f"slow+0.05.reader{n}@example.org" for n in range(600)])
    with desk.worker(claim_size="200") as worker:
        desk.queue()
        desk.until(lambda: desk.totals().accepted > 50, "mails leave")

        # When
        give_version(desk.database, "9999")
        code = worker.process.wait(DEADLINE_S)

    # Then: nothing is in doubt, and nothing held
    assert code == 1
    assert "the database was upgraded, this process ends" in worker.said
    assert (desk.totals().sending, desk.totals().in_doubt) == (0, 0)
    before = desk.totals().accepted
    assert before < 600

    # When: the version that belongs to it
    give_version(desk.database, migrations.HEAD)
    with desk.worker():
        desk.until_state(IssueState.FINISHED)

    # Then
    assert set(desk.copies().values()) == {1}
    assert len(desk.copies()) == 600
    desk.assert_books_add_up()


@pytest.mark.parametrize("script", [WORKER, SCHEDULER], ids=["worker", "scheduler"])
def test_no_process_begins_on_a_database_of_another_version(desk: Newsroom, script: str) -> None:
    # Given
    give_version(desk.database, "9999")

    # When
    with desk.worker(script) as process:
        code = process.process.wait(DEADLINE_S)

    # Then
    assert code != 0
    assert "newer than this Corranto knows" in process.said


def test_a_scheduler_whose_database_was_upgraded_ends(desk: Newsroom) -> None:
    with desk.worker(SCHEDULER) as process:
        give_version(desk.database, "9999")
        code = process.process.wait(DEADLINE_S)
    assert code == 1
    assert "the database was upgraded, this process ends" in process.said


def test_a_database_whose_tables_are_just_put_back_has_no_other_version(database: Database) -> None:
    assert not database.has_other_version()
    with database.write() as conn:
        conn.execute(text("DELETE FROM alembic_version"))
    assert not database.has_other_version()
