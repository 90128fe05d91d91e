"""How one recipient's copy is shown: its reason and the relay's words, and its cells in a CSV."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from worker.operations.deliveries import DeliveryRow
from worker.screen.deliveries import csv_cells, spell_why

AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
ROW = DeliveryRow(1, "ann@example.org", "Ann", "bounced", None, 550, "5.1.1", None, 1, AT, None, "No such mailbox")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("5.1.1 No such mailbox", "550 5.1.1 No such mailbox"),
        ("No such mailbox", "550 5.1.1 No such mailbox"),
        ("5.1.1", "550 5.1.1"),
        ("550 5.1.1 No such mailbox", "550 5.1.1 No such mailbox"),
        ("5.1.1 No such mailbox 5.1.1 Try another", "550 5.1.1 No such mailbox Try another"),
        ("5.1.1 No such mailbox 550-5.1.1 Try another", "550 5.1.1 No such mailbox Try another"),
        ("No such mailbox (5.1.1)", "550 5.1.1 No such mailbox (5.1.1)"),
        ("5.1.10 Null MX", "550 5.1.1 5.1.10 Null MX"),
    ],
)
def test_a_code_is_shown_once(said: str, shown: str) -> None:
    # Given
    row = replace(ROW, reply_text=said)

    # When
    why = spell_why(row)

    # Then
    assert why == shown


def test_a_csv_has_times_as_json_has_them() -> None:
    # Given a row with a time and one without

    # When
    cells = csv_cells(ROW)

    # Then
    assert cells[-5:] == ["2026-11-24T09:30:00+00:00", "", "No such mailbox", "", ""]


@pytest.mark.parametrize(("state", "is_named"), [("in_doubt", True), ("accepted", False)])
def test_a_copy_in_doubt_is_listed_with_its_message_id(state: str, is_named: bool) -> None:
    row = replace(ROW, state=state, message_id="<left@rivers.example.org>")
    assert ("<left@rivers.example.org>" in spell_why(row)) is is_named
