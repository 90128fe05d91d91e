"""Export and import are inverse: whatever is kept about readers comes back as it was, whatever the values hold."""

import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.publication import ACTOR, publish
from tests.support.words import refuses
from worker.consent.exports import export_publication
from worker.consent.import_rows import read_value
from worker.consent.imports import import_subscribers
from worker.consent.subscribe import add_subscriber
from worker.errors import UsageError
from worker.storage.engine import Database

_NUMBERS = itertools.count()
_SIGNS = "'=+-@\t\r\n\x00\x1b\u2028\u202e\u200b\ufeff\uff1d\uff0b\u00a0 \",;|\\N/#a\u00c4\u4e2d"
_WORDS = st.sampled_from(["NULL", "'NULL", "N/A", "none", "\\N", "-", "''-", "sep=;", "inactive", "unsubscribed"])
_VALUES = st.one_of(st.text(st.sampled_from(_SIGNS), max_size=12), st.text(max_size=12), _WORDS)
_NAMES = ["phone", "status", "type", "confirmed", "first_name", "unsubscribed_at", "mail", "locale", "customer_status"]


@given(st.lists(st.tuples(_VALUES, st.dictionaries(st.sampled_from(_NAMES), _VALUES)), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_readers_with_any_value_come_back_as_they_were(
    sqlite_database: Database, tmp_path: Path, readers: list[tuple[str, dict[str, str]]]
) -> None:
    # Given readers with any value that can be kept
    number = next(_NUMBERS)
    here, there = f"here-{number}", f"there-{number}"
    publish(sqlite_database, here)
    publish(sqlite_database, there)
    for n, (name, attributes) in enumerate(readers):
        kept = {key: read_value(value, 500, Counter()) for key, value in attributes.items()}
        add_subscriber(
            sqlite_database, here, f"r{n}.{number}@example.org", name=read_value(name, 200, Counter()), attributes=kept,
            consent="a form", actor=ACTOR,
        )  # fmt: skip
    first = "".join(export_publication(sqlite_database, here))
    (tmp_path / "e.csv").write_text(first, encoding="utf-8", newline="")

    # When
    result = import_subscribers(
        sqlite_database, there, tmp_path / "e.csv", consent="the old list", actor=ACTOR, state_dir=tmp_path
    )

    # Then
    assert (result.added, result.folds, result.updated) == (len(readers), {}, 0)
    assert "".join(export_publication(sqlite_database, there)) == first


@pytest.mark.parametrize("sign", ["\u200b", "\u200e", "\u2060", "\x1b"])
def test_by_hand_nothing_is_taken_that_an_import_would_drop(sqlite_database: Database, sign: str) -> None:
    publish(sqlite_database)
    with refuses(UsageError, "control|sign"):
        add_subscriber(
            sqlite_database, "briefing", "a@example.org", name=f"A{sign}B", consent="a form", actor=ACTOR
        )  # fmt: skip
