"""Lists of issues and of people are whole, in order, and read piece by piece."""

from collections.abc import Callable

import pytest

from tests.support.ledgers import FINGERPRINT, add_issue, planned_issue, send
from worker.domain.delivery import DeliveryState
from worker.operations.deliveries import find_copy, list_copies
from worker.operations.issues import list_issues, show_issue
from worker.storage.engine import Database
from worker.storage.ledger import issues
from worker.tokens import Keyring

KEYS = Keyring(["k" * 40])


def accepted(_: int) -> dict[str, object]:
    return {"state": DeliveryState.ACCEPTED, "code": 250, "fingerprint": FINGERPRINT}


@pytest.mark.parametrize("limit", [None, 1, 3, 6, 7, 8])
def test_a_list_read_in_pages_names_everybody_once_and_stops_where_it_was_told(
    database: Database, limit: int | None
) -> None:
    # Given
    issue_id = planned_issue(database, 7)

    # When
    rows = list(list_copies(database, issue_id, limit=limit, page_rows=3))

    # Then
    assert [row.n for row in rows] == list(range(1, 1 + min(limit or 7, 7)))


def test_a_list_of_one_state_skips_the_others_over_the_edges_of_pages(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 7)
    send(database, issue_id, accepted, size=4)

    # When / Then
    assert [row.n for row in list_copies(database, issue_id, "accepted", page_rows=3)] == [1, 2, 3, 4]
    assert [row.n for row in list_copies(database, issue_id, "waiting", page_rows=2)] == [5, 6, 7]


@pytest.mark.parametrize("ref", ["spring", "latest", lambda number: number, str])
def test_an_issue_is_found_by_slug_id_and_latest(database: Database, ref: str | Callable[[int], str | int]) -> None:
    # Given
    issue_id = planned_issue(database, 2)

    # When
    view = show_issue(database, ref if isinstance(ref, str) else ref(issue_id))

    # Then
    assert (view.issue.id, view.publication, view.totals.audience) == (issue_id, "rivers", 2)
    assert view.as_dict()["totals"] == view.totals.as_dict()


def test_every_issue_is_listed_with_its_own_sum_the_newest_first(database: Database) -> None:
    # Given
    planned_issue(database, 2)
    with database.write() as conn:
        add_issue(conn, issues.get(conn, "spring").publication_id, "summer", plan_cursor=None)

    # When
    views = list_issues(database)

    # Then
    assert [(view.issue.slug, view.totals.audience) for view in views] == [("summer", 0), ("spring", 2)]


def test_a_return_path_finds_its_own_copy_and_no_other(database: Database) -> None:
    # Given
    issue_id = planned_issue(database, 3)

    def path(n: int) -> str:
        return f"bounces+{KEYS.sign_verp(issue_id, n)}@rivers.example.org"

    # When / Then
    copy = find_copy(database, KEYS, path(2))
    assert copy is not None
    assert (copy.issue, copy.row.n, copy.row.address, copy.state) == ("spring", 2, "reader2@example.org", "confirmed")
    assert find_copy(database, KEYS, path(0)) is None
    assert find_copy(database, KEYS, path(4)) is None
    assert find_copy(database, KEYS, "bounces+nothing@rivers.example.org") is None
