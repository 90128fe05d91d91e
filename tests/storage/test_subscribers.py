"""Readers on both databases: added, found, listed, told about, exported, erased."""

import json

import pytest
from sqlalchemy import select, text, update

from tests.support.publication import ACTOR, CONSENT, publish
from tests.support.words import refuses
from worker.consent.subscribe import Added, add_subscriber
from worker.domain.address import parse_address
from worker.domain.publication import Publication
from worker.domain.subscription import Channel, SubscriptionState
from worker.domain.suppression import SuppressionReason
from worker.errors import NotFoundError, RefusedError, Remedy, Trouble, UsageError
from worker.storage import acts, proof_mails, schema
from worker.storage.engine import Database
from worker.storage.people import subscribers, subscriptions, suppressions, timelines

ANNA = "Anna.Sample@Example.org"
LONGER = "\u0130" * 20


@pytest.fixture
def briefing(database: Database) -> Publication:
    return publish(database)


def add(database: Database, publication: Publication, address: str = ANNA, **values: object) -> Added:
    return add_subscriber(database, publication.slug, address, consent=CONSENT, actor=ACTOR, **values)


def leave(database: Database, subscription_id: int) -> None:
    with database.write() as conn:
        subscriptions.end(conn, [subscription_id], channel=Channel.PAGE, issue_id=None, evidence="")


def test_added_reader_is_confirmed_with_dated_evidence(database: Database, briefing: Publication) -> None:
    # When
    made = add(database, briefing, name="Anna Sample", language="fr", attributes={"city": "Ghent"})

    # Then
    assert made.added
    with database.read() as conn:
        found = subscribers.find_by_address(conn, database.instance(), "anna.sample@EXAMPLE.ORG ")
        row = conn.execute(select(schema.subscription)).one()
        act = acts.latest(conn)[0]
    assert (found.id, found.name, found.language, dict(found.attributes)) == (
        made.subscriber_id, "Anna Sample", "fr", {"city": "Ghent"},
    )  # fmt: skip
    assert found.address == "Anna.Sample@example.org"
    assert (row.state, row.generation, row.consent_source) == ("confirmed", 1, CONSENT)
    assert row.consent_at.date().isoformat() == "2024-05-04"
    assert (made.subscription_id, made.address) == (row.id, "Anna.Sample@example.org")
    assert (act.actor, act.act, act.object) == (ACTOR, "subscriber.add", f"subscriber:{made.subscriber_id}")
    assert act.counts == {"added": 1}


def test_adding_twice_keeps_the_subscription_and_updates_what_is_given(
    database: Database, briefing: Publication
) -> None:
    # Given
    first = add(database, briefing, name="Anna", language="fr", attributes={"city": "Ghent", "plan": "free"})

    # When
    again = add(database, briefing, attributes={"city": "Bruges"})

    # Then
    assert again == Added(first.subscriber_id, first.subscription_id, added=False, address="Anna.Sample@example.org")
    with database.read() as conn:
        found = subscribers.find_by_address(conn, database.instance(), ANNA)
    assert (found.name, found.language, found.attributes) == ("Anna", "fr", {"city": "Bruges", "plan": "free"})


def test_adding_a_reader_who_left_is_refused_and_changes_nothing(database: Database, briefing: Publication) -> None:
    # Given
    made = add(database, briefing)
    leave(database, made.subscription_id)

    # When
    with refuses(RefusedError, match="only the reader") as refused:
        add(database, briefing, name="New Name")

    # Then
    with database.read() as conn:
        subscription = subscriptions.find(conn, made.subscription_id)
        assert subscribers.find_by_address(conn, database.instance(), ANNA).name == ""
    assert subscription is not None
    assert subscription.state is SubscriptionState.ENDED
    assert refused.value.trouble == Trouble("subscription.left", publication=briefing.slug, since=subscription.ended_at)
    assert refused.value.remedy is Remedy.NONE


def test_adding_a_suppressed_address_is_refused(database: Database, briefing: Publication) -> None:
    with database.write() as conn:
        wanted = suppressions.hashes_of(database.instance(), [parse_address(ANNA)])
        suppressions.add(conn, wanted, SuppressionReason.MANUAL, "asked by phone", actor=ACTOR)
    with refuses(RefusedError, match="do-not-mail") as refused:
        add(database, briefing)
    with database.read() as conn:
        (since,) = conn.scalars(select(schema.suppression.c.created_at))
    assert refused.value.trouble == Trouble(
        "subscription.suppressed", address="Anna.Sample@example.org", since=since, reason=SuppressionReason.MANUAL
    )


@pytest.mark.parametrize(
    ("values", "trouble"),
    [
        ({"name": "a\x00b"}, Trouble("row.control", column="name")),
        ({"name": "x" * 201}, Trouble("row.too_long", column="name", limit=200)),
        ({"language": "English!"}, Trouble("row.no_language", typed="English!")),
        ({"attributes": {"Not A Name": "x"}}, Trouble("attribute.no_name", name="Not A Name")),
        ({"attributes": {"unsubscribe_url": "x"}}, Trouble("attribute.no_name", name="unsubscribe_url")),
        ({"attributes": {"city": "x" * 501}}, Trouble("row.too_long", column="city", limit=500)),
    ],
)
def test_values_that_cannot_be_kept_are_wrong_usage(
    database: Database, briefing: Publication, values: dict[str, object], trouble: Trouble
) -> None:
    with pytest.raises(UsageError) as refused:
        add(database, briefing, **values)
    assert refused.value.trouble == trouble


@pytest.mark.parametrize(
    ("address", "typed", "kept"),
    [
        (ANNA, f"mail from {ANNA.upper()} to the desk, <{ANNA}>", "mail from [address] to the desk, <[address]>"),
        # One that the scrubbing of logs does not know, behind letters of which `lower` makes two each.
        (
            "anna'@example.org",
            f"{LONGER} (Anna'@Example.org, anna'@example.org)",
            f"{LONGER} ([address], [address])",
        ),
    ],
)
def test_consent_text_that_repeats_the_address_is_kept_without_it(
    database: Database, briefing: Publication, address: str, typed: str, kept: str
) -> None:
    # When
    add_subscriber(database, briefing.slug, address, consent=typed, actor=ACTOR)

    # Then all else of it stays
    with database.read() as conn:
        evidence = conn.scalars(select(schema.consent_log.c.evidence)).one()
        source = conn.scalars(select(schema.subscription.c.consent_source)).one()
    assert evidence == kept
    assert address.lower() not in source.lower()
    assert source.startswith(kept.partition("[address]")[0])


def test_unknown_and_impossible_addresses_are_told_apart(database: Database) -> None:
    with database.read() as conn:
        with pytest.raises(NotFoundError):
            subscribers.find_by_address(conn, database.instance(), "nobody@example.org")
        with pytest.raises(UsageError):
            subscribers.find_by_address(conn, database.instance(), "no\nbody")


def test_list_filters_by_publication_state_and_domain(database: Database, briefing: Publication) -> None:
    # Given
    other = publish(database, "other")
    left = add(database, briefing, "left@example.org")
    leave(database, left.subscription_id)
    stays = add(database, briefing, "stays@sub.example.org")
    away = add(database, other, "away@münchen.example")

    def ids(**filters: object) -> list[int]:
        with database.read() as conn:
            return [one.subscriber.id for one in subscribers.list_subscribers(conn, **filters)]

    # Then
    assert ids() == [left.subscriber_id, stays.subscriber_id, away.subscriber_id]
    assert ids(publication_id=briefing.id) == [left.subscriber_id, stays.subscriber_id]
    assert ids(publication_id=briefing.id, state=SubscriptionState.ENDED) == [left.subscriber_id]
    assert ids(domain="EXAMPLE.org") == [left.subscriber_id]
    assert ids(domain="München.example") == [away.subscriber_id]
    assert ids(after_id=left.subscriber_id, limit=1) == [stays.subscriber_id]
    with database.read() as conn:
        assert subscribers.list_subscribers(conn)[0].states == {"briefing": SubscriptionState.ENDED}


def send_issue(database: Database, publication: Publication, subscriber_id: int) -> None:
    """An issue whose one copy to this reader bounced, with the relay repeating the address."""
    at = "2026-01-02 03:04:05.000006"
    kept = {"postgresql": f"TIMESTAMPTZ '{at}+00'", "sqlite": f"'{at}'"}[database.dialect]
    with database.write() as conn:
        conn.execute(text(
            "INSERT INTO issue (id, publication_id, slug, kind, subject, state, doubt, fingerprint, source, queued_at,"
            " queued_by, hold_s, zone, audience_kind, stopped_reason, audience, nudge_no, wait_reason, wait_detail,"
            " unswept, started_at)"
            f" VALUES (1, {publication.id}, 'spring', 'newsletter', 'Spring', 'sending', 'never-twice', '', '', {kept},"
            f" 'e', 0, 'UTC', 'all', '', 1, 0, '', '', FALSE, {kept})"
        ))  # fmt: skip
        row = {"issue_id": 1, "n": 1, "subscriber_id": subscriber_id, "tries": 1, "code": 550, "state": "bounced"}
        now = database.now(conn)
        conn.execute(schema.delivery.insert().values(**row, reason="at_handover", at=now))
        said = {"issue_id": 1, "n": 1, "try_no": 1, "phase": "rcpt", "code": 550, "text": f"<{ANNA}> unknown"}
        conn.execute(schema.reply.insert().values(**said, at=now))


def test_timeline_tells_consent_copies_and_the_end_in_order(database: Database, briefing: Publication) -> None:
    # Given
    made = add(database, briefing)
    send_issue(database, briefing, made.subscriber_id)
    leave(database, made.subscription_id)

    # When
    with database.read() as conn:
        entries = timelines.timeline(conn, made.subscriber_id)

    # Then
    assert [entry.what for entry in entries] == ["first known", "subscribed", "relay answered", "bounced", "opted out"]
    assert entries[1].detail == f"on the command line: {CONSENT}"
    assert entries[3] == timelines.TimelineEntry(entries[3].at, "bounced", "bounced: at handover", "briefing", "spring")


def test_export_is_plain_json_with_everything_kept(database: Database, briefing: Publication) -> None:
    # Given
    made = add(database, briefing, attributes={"city": "Ghent"})
    send_issue(database, briefing, made.subscriber_id)

    # When
    with database.read() as conn:
        found = json.loads(json.dumps(timelines.export_subscriber(conn, made.subscriber_id)))

    # Then
    assert found["subscriber"]["address"] == "Anna.Sample@example.org"
    assert found["subscriber"]["attributes"] == {"city": "Ghent"}
    assert found["subscriptions"][0]["consent_at"] == "2024-05-04T00:00:00+00:00"
    assert found["consent"][0]["evidence"] == CONSENT
    assert found["deliveries"][0]["state"] == "bounced"
    assert ANNA in found["replies"][0]["text"]


def everything(database: Database) -> str:
    """All rows of all tables as text."""
    with database.read() as conn:
        return " ".join(str(row) for table in schema.metadata.sorted_tables for row in conn.execute(select(table)))


def test_erasure_leaves_no_trace_of_the_address_and_keeps_the_no(database: Database, briefing: Publication) -> None:
    # Given
    made = add(database, briefing, name="Anna Sample", attributes={"city": "Ghent"})
    send_issue(database, briefing, made.subscriber_id)
    with database.write() as conn:
        address = conn.execute(select(schema.subscriber.c.address)).scalar_one()
        proof = {"publication_id": briefing.id, "slug": "spring", "subject": "S", "fingerprint": "f" * 64, "body": "{}"}
        proof_mails.add(conn, proof, [address])
    assert "anna" in everything(database).lower()

    # When
    with database.write_durably() as conn:
        erased = subscribers.erase_subscriber(conn, made.subscriber_id, actor=ACTOR)

    # Then
    kept = everything(database).lower()
    assert "anna" not in kept
    assert "ghent" not in kept
    assert erased == subscribers.Erased(made.subscriber_id, subscriptions=1, replies=1, suppressed=True)
    with database.read() as conn:
        assert subscribers.list_subscribers(conn) == []
        assert timelines.timeline(conn, made.subscriber_id)[-1].what == "erased"
    with pytest.raises(RefusedError):
        add(database, briefing)
    with pytest.raises(NotFoundError), database.write() as conn:
        subscribers.erase_subscriber(conn, made.subscriber_id, actor=ACTOR)


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 <Zoe.Mustermann@xn--mnchen-3ya.example>: unknown",
        "550 <ZOE.MUSTERMANN@XN--MNCHEN-3YA.EXAMPLE> unknown",
        "550 zoe.mustermann@münchen.example does not exist",
        "550 zoe.mustermann=xn--mnchen-3ya.example is no mailbox",
        "550 no mailbox zoe.mustermann here",
        "550 Zoe Muster has left",
    ],
)
def test_erasure_takes_a_reader_out_of_texts_that_tell_of_more_than_them(
    database: Database, briefing: Publication, said: str
) -> None:
    # Given a relay's words about one reader, in every text that keeps such words
    made = add(database, briefing, "Zoe.Mustermann@münchen.example", name="Zoe Muster", attributes={"city": "Ghent"})
    send_issue(database, briefing, made.subscriber_id)
    with database.write() as conn:
        now = database.now(conn)
        batch = {"publication_id": briefing.id, "file_name": "zoe muster.csv", "consent": said, "actor": "e", "at": now}
        batch_id = conn.execute(schema.import_batch.insert().values(**batch, counts={})).inserted_primary_key[0]
        conn.execute(update(schema.subscription).values(import_id=batch_id, consent_source=said))
        words = {"stopped_reason": f"safety stop: {said}", "wait_reason": "relay", "wait_detail": said}
        conn.execute(update(schema.issue).values(**words))
        conn.execute(update(schema.reply).values(text=said))
        row = {"id": "w1", "host_id": "h", "label": "host 1", "state": "ready", "beat": 1, "started_at": now}
        note = Trouble("relay.refuses", cause=said).to_json()
        conn.execute(schema.worker.insert().values(**row, seen_at=now, note=note))
        picture = {"sha256": "a" * 64, "ext": "png", "content_type": "image/png", "data": b"x", "created_at": now}
        conn.execute(schema.media.insert().values(**picture, title="Zoe.Mustermann@MÜNCHEN.example.png"))

    # When
    with database.write_durably() as conn:
        subscribers.erase_subscriber(conn, made.subscriber_id, actor=ACTOR)

    # Then only the sentences around them are left
    kept = everything(database).lower()
    for trace in ("zoe", "muster", "ghent"):
        assert trace not in kept
    with database.read() as conn:
        assert conn.scalar(select(schema.issue.c.stopped_reason)).startswith("safety stop: 550 ")
        assert isinstance(Trouble.from_json(conn.scalar(select(schema.worker.c.note))), Trouble)


def test_evidence_that_can_never_change_is_written_without_addresses(database: Database, briefing: Publication) -> None:
    made = add_subscriber(
        database, briefing.slug, ANNA, consent=f"mail from {ANNA}, 2024-05-04", actor=ACTOR, name="", attributes={}
    )
    with database.write_durably() as conn:
        subscribers.erase_subscriber(conn, made.subscriber_id, actor=ACTOR)
    assert "anna" not in everything(database).lower()


def test_erasure_leaves_other_readers_and_other_words_alone(database: Database, briefing: Publication) -> None:
    # Given two readers whose names are parts of each other
    gone = add(database, briefing, "ann@example.org", name="Ann")
    add(database, briefing, "joann@example.org", name="Joann Ann")
    send_issue(database, briefing, gone.subscriber_id)
    with database.write() as conn:
        conn.execute(update(schema.issue).values(stopped_reason="joann@example.org and annual reports"))

    # When
    with database.write_durably() as conn:
        subscribers.erase_subscriber(conn, gone.subscriber_id, actor=ACTOR)

    # Then
    with database.read() as conn:
        assert conn.scalar(select(schema.issue.c.stopped_reason)) == "joann@example.org and annual reports"
        assert [one.subscriber.name for one in subscribers.list_subscribers(conn)] == ["Joann Ann"]


def test_erasure_asked_to_forget_the_no_lets_the_reader_return_as_somebody_new(
    database: Database, briefing: Publication
) -> None:
    # Given
    made = add(database, briefing)

    # When
    with database.write_durably() as conn:
        subscribers.erase_subscriber(conn, made.subscriber_id, actor=ACTOR, keep_no=False)

    # Then
    assert add(database, briefing).subscriber_id != made.subscriber_id
