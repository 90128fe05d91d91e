"""Publications on both databases, and what an editor may type about one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.publication import ACTOR, CONSENT, TYPED, publish
from tests.support.words import refuses
from worker.consent.subscribe import add_subscriber
from worker.domain.publication import DEFAULT_PROMISE, read_mailbox, read_publication
from worker.domain.subscription import SubscriptionState
from worker.editorial import publications as desk
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


@pytest.mark.parametrize("field", ["title", "from", "postal_address", "slug"])
def test_an_edit_that_empties_what_every_issue_needs_is_refused(database: Database, field: str) -> None:
    # Given
    made = publish(database)

    # When
    with pytest.raises(UsageError), database.write() as conn:
        publications.edit_publication(conn, "briefing", {field: " "}, actor=ACTOR)

    # Then
    with database.read() as conn:
        assert publications.get_publication(conn, "briefing") == made


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("privacy_url", "javascript:alert(1)", "begins with https://"),
        ("privacy_url", "javascript://example.org/%0aalert(1)", "begins with https://"),
        ("privacy_url", "https://", "begins with https://"),
        ("privacy_url", "https://[nonsense", "begins with https://"),
        ("privacy_url", "https://example.org/\r\nX: y", "line break"),
        ("slug", "a" * 65, "at most 64"),
        ("slug", "ring_news", "small letters"),
        ("zone", "Paris", "no time zone"),
        ("language", "English!", "language tag"),
        ("description", "a\x00b", "control character"),
        ("postal_address", "x" * 2_001, "longer than 2000"),
        ("title", "t" * 201, "longer than 200"),
        ("from", "Two\u2028lines <a@b.test>", "line break"),
        ("reply_to", "desk", "has no @"),
    ],
)
def test_a_field_that_would_do_harm_says_why(field: str, typed: str, said: str) -> None:
    with refuses(UsageError, match=said):
        read_publication({**TYPED, field: typed}, {"UTC", "Europe/Paris"})


def test_readers_ask_whoever_answers_unless_somebody_else_is_named() -> None:
    # Given a publication with an address for answers, and one with a contact too
    answers = {**TYPED, "reply_to": "desk@example.org"}

    # Then
    assert read_publication(answers, {"UTC"}).contact == "desk@example.org"
    named = read_publication({**answers, "contact": "help@example.org"}, {"UTC"})
    assert named.contact == "help@example.org"
    assert read_publication({"title": "Other"}, {"UTC"}, named).contact == "help@example.org"


def test_counts_are_of_one_publication_only(database: Database) -> None:
    # Given a reader of one of two
    first, second = publish(database), publish(database, "other")
    add_subscriber(database, "other", "a@example.org", consent=CONSENT, actor=ACTOR)

    # Then
    with database.read() as conn:
        assert publications.count_subscriptions(conn, first.id)[SubscriptionState.CONFIRMED] == 0
        assert publications.count_subscriptions(conn, second.id)[SubscriptionState.CONFIRMED] == 1


def test_an_edit_names_the_fields_that_changed_and_a_list_counts_its_readers(database: Database) -> None:
    # Given
    publish(database)
    add_subscriber(database, "briefing", "a@example.org", consent=CONSENT, actor=ACTOR)

    # When
    edited = desk.edit_publication(database, "briefing", {"title": "News", "zone": "UTC"}, actor=ACTOR)

    # Then
    assert edited.as_dict() == {"publication": edited.publication.as_dict(), "changed": ["title"]}
    (listed,) = desk.count_publications(database)
    assert listed.publication == edited.publication == desk.list_publications(database)[0]
    assert listed.as_list_item()["subscriptions"] == {"pending": 0, "confirmed": 1, "ended": 0}
    assert desk.count_publication(database, "briefing") == listed
