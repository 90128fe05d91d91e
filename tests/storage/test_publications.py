"""Publications on both databases, and what an editor may type about one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.press import ACTOR, TYPED, publish
from tests.support.words import refuses
from worker.domain.publication import DEFAULT_PROMISE, read_mailbox, read_publication
from worker.domain.subscription import SubscriptionState
from worker.errors import NotFoundError, RefusedError, UsageError
from worker.screen.sentences import word
from worker.storage import acts, publications
from worker.storage.engine import Database


def test_created_publication_has_the_defaults(database: Database) -> None:
    # When
    made = publish(database)

    # Then
    with database.read() as conn:
        assert publications.get_publication(conn, "briefing") == made
        assert [act.act for act in acts.latest(conn)] == ["publication.create"]
    assert (made.from_name, made.from_address) == ("The Briefing", "briefing@news.example.org")
    assert made.contact == made.from_address
    assert (made.promise, made.language, made.zone) == (DEFAULT_PROMISE, "en", "UTC")


def test_slug_that_is_taken_is_refused(database: Database) -> None:
    publish(database)
    with refuses(RefusedError, match="publication edit briefing"):
        publish(database)


def test_edit_changes_what_was_typed_and_clears_what_was_emptied(database: Database) -> None:
    # Given
    publish(database)

    # When
    with database.write() as conn:
        publications.edit_publication(conn, "briefing", {"reply_to": "desk@example.org", "title": "News"}, actor=ACTOR)
        after = publications.edit_publication(conn, "briefing", {"reply_to": "", "zone": "Europe/Paris"}, actor=ACTOR)

    # Then
    with database.read() as conn:
        assert publications.get_publication(conn, "briefing") == after
    assert (after.title, after.reply_to, after.zone) == ("News", None, "Europe/Paris")


def test_edit_that_changes_nothing_writes_no_act(database: Database) -> None:
    publish(database)
    with database.write() as conn:
        publications.edit_publication(conn, "briefing", {"language": "en"}, actor=ACTOR)
    with database.read() as conn:
        assert [act.act for act in acts.latest(conn)] == ["publication.create"]


def test_slug_cannot_be_changed(database: Database) -> None:
    publish(database)
    with refuses(UsageError, match="cannot change"), database.write() as conn:
        publications.edit_publication(conn, "briefing", {"slug": "other"}, actor=ACTOR)


def test_unknown_slug_names_near_ones(database: Database) -> None:
    publish(database)
    with database.read() as conn, refuses(NotFoundError, match="did you mean briefing"):
        publications.get_publication(conn, "breifing")


def test_unknown_slug_in_an_empty_house_names_create(database: Database) -> None:
    with database.read() as conn, refuses(NotFoundError, match="publication create"):
        publications.get_publication(conn, "x\x1b[31m")


def test_counts_name_every_state(database: Database) -> None:
    made = publish(database)
    with database.read() as conn:
        assert publications.count_subscriptions(conn, made.id) == dict.fromkeys(SubscriptionState, 0)


def test_all_wrong_fields_are_named_at_once() -> None:
    # When
    with pytest.raises(UsageError) as caught:
        read_publication(
            {"slug": "Big Slug", "title": "a\nb", "from": "news@example.org", "zone": "Mars", "contact": "x@y@z.test"},
            {"UTC"},
        )

    # Then
    named = {line.partition(":")[0] for line in word(caught.value).splitlines()}
    assert named == {"SLUG", "--title", "--from", "--zone", "--contact", "--postal-address"}


@pytest.mark.parametrize(
    "typed", ["a@b.test", "<a@b.test>", "A <a@b.test> B", "A <<a@b.test>>", "A <a@b.test,c@d.test>"]
)
def test_mailbox_that_is_not_one_named_address_is_refused(typed: str) -> None:
    with pytest.raises(ValueError):
        read_mailbox(typed)


@settings(max_examples=150)
@given(st.text(max_size=60))
def test_no_field_that_stands_in_a_header_keeps_a_control_character(text: str) -> None:
    try:
        found = read_publication({**TYPED, "title": text, "from": f"{text} <a@b.test>"}, {"UTC"})
    except UsageError:
        return
    assert found.title.isprintable()
    assert found.from_name.isprintable()
