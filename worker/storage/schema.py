"""Every table. The ledger's states, reasons and required columns are CHECKs here, equal to `domain.delivery`.

Times are aware UTC. PostgreSQL and SQLite hold the same shapes; what differs is in `storage.engine`.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

from worker.domain.delivery import (
    CLAIMABLE,
    BounceKind,
    ClaimKind,
    DeliveryState,
    DoubtPolicy,
    DoubtReason,
    FailureReason,
    SkipReason,
)
from worker.domain.issue import AudienceKind, IssueKind, IssueState, WaitReason
from worker.domain.process import Role, WorkerState
from worker.domain.subscription import Channel, ConsentEvent, SubscriptionState
from worker.domain.suppression import SuppressionReason


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time: timestamptz on PostgreSQL, ISO text on SQLite. A naive time is an error."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone reached the database")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigId = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column declared INTEGER, which holds 64 bits there anyway."""


def _one_of(column: str, values: Any) -> str:  # noqa: ANN401 - any StrEnum class or list of strings
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


_CLAIMABLE = [state for state in DeliveryState if state in CLAIMABLE]

instance = Table(
    "instance",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("uuid", String(36), nullable=False),
    Column(
        "pepper",
        LargeBinary,
        nullable=False,
        comment="keys Message-IDs; of address hashes the first step",
    ),
    Column("created_at", UtcDateTime, nullable=False),
    Column("wrapped_keys", LargeBinary, comment="key of address hashes, once for each secret that opens it"),
    Column("epoch", BigInteger, nullable=False, server_default="0", comment="starts of workers"),
    CheckConstraint("id = 1", name="only_one"),
)

publication = Table(
    "publication",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("slug", String(64), nullable=False, unique=True),
    Column("title", String(200), nullable=False),
    Column("from_name", String(200), nullable=False),
    Column("from_address", String(254), nullable=False),
    Column("postal_address", Text, nullable=False),
    Column("reply_to", String(254)),
    Column("bounce_address", String(254)),
    Column("contact", String(254), nullable=False),
    Column("promise", Text, nullable=False),
    Column("privacy_url", Text),
    Column("language", String(35), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

subscriber = Table(
    "subscriber",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("address", String(254), comment="local part as typed, domain as A-labels; NULL after erasure"),
    Column("address_hash", LargeBinary(16), unique=True, comment="keyed hash of the folded address: the identity"),
    Column("name", String(200), nullable=False),
    Column("language", String(35)),
    Column("attributes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("erased_at", UtcDateTime),
    CheckConstraint("(address IS NULL) = (erased_at IS NOT NULL)", name="erased_has_no_address"),
    CheckConstraint("(address_hash IS NULL) = (erased_at IS NOT NULL)", name="erased_has_no_hash"),
    sqlite_autoincrement=True,
)

import_batch = Table(
    "import_batch",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("publication_id", ForeignKey("publication.id"), nullable=False),
    Column("file_name", Text, nullable=False),
    Column("consent", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("undone_at", UtcDateTime),
)

subscription = Table(
    "subscription",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("subscriber_id", ForeignKey("subscriber.id"), nullable=False),
    Column("publication_id", ForeignKey("publication.id"), nullable=False),
    Column("generation", Integer, nullable=False, default=1),
    Column("state", String(9), nullable=False),
    Column("confirmed_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("ended_by", String(12), comment="channel of the opt-out"),
    Column("ended_issue_id", Integer, comment="the issue whose link was used"),
    Column("paused_until", UtcDateTime),
    Column("consent_at", UtcDateTime, comment="when the reader asked; NULL when the evidence has no date"),
    Column("consent_source", Text, nullable=False, comment="where and how they asked"),
    Column("import_id", ForeignKey("import_batch.id")),
    UniqueConstraint("subscriber_id", "publication_id"),
    Index(None, "publication_id", "id"),
    Index(None, "import_id"),
    CheckConstraint(_one_of("state", SubscriptionState), name="state"),
    CheckConstraint(
        f"state <> '{SubscriptionState.CONFIRMED}' OR (confirmed_at IS NOT NULL AND ended_at IS NULL)", name="confirmed"
    ),
    CheckConstraint(f"(state = '{SubscriptionState.ENDED}') = (ended_at IS NOT NULL)", name="ended"),
    CheckConstraint("ended_at IS NULL OR ended_by IS NOT NULL", name="ended_names_its_channel"),
    CheckConstraint("generation >= 1", name="generation"),
    sqlite_autoincrement=True,
)

consent_log = Table(
    "consent_log",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("subscription_id", BigInteger, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("event", String(16), nullable=False),
    Column("channel", String(12), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("issue_id", Integer),
    Column("import_id", Integer),
    Column("evidence", Text, nullable=False),
    Index(None, "subscription_id"),
    Index(
        "ix_consent_log_issue_id",
        "issue_id",
        postgresql_where=text("issue_id IS NOT NULL"),
        sqlite_where=text("issue_id IS NOT NULL"),
    ),
    CheckConstraint(_one_of("event", ConsentEvent), name="event"),
    CheckConstraint(_one_of("channel", Channel), name="channel"),
    sqlite_autoincrement=True,
    comment="append-only: triggers refuse UPDATE and DELETE",
)

suppression = Table(
    "suppression",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("address_hash", LargeBinary(16), nullable=False, unique=True),
    Column("address", String(254), comment="NULL after erasure; the hash keeps the no"),
    Column("reason", String(12), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint(_one_of("reason", SuppressionReason), name="reason"),
)

issue = Table(
    "issue",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("publication_id", ForeignKey("publication.id"), nullable=False),
    Column("slug", String(80), nullable=False, unique=True),
    Column("kind", String(12), nullable=False),
    Column("subject", Text, nullable=False),
    Column("state", String(10), nullable=False),
    Column("doubt", String(12), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("source", Text, nullable=False, comment="the file as queued"),
    Column("queued_at", UtcDateTime, nullable=False),
    Column("queued_by", Text, nullable=False),
    Column("hold_s", Integer, nullable=False),
    Column("hold_until", UtcDateTime),
    Column("due_at", UtcDateTime),
    Column("zone", String(64), nullable=False),
    Column("audience_kind", String(12), nullable=False),
    Column("audience_of", ForeignKey("issue.id")),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("stopped_reason", Text, nullable=False, default="", comment="why paused, held late or cancelled"),
    Column("plan_cursor", BigInteger, comment="highest subscription id planned; NULL = the audience is complete"),
    Column("plan_until", BigInteger, comment="highest subscription id when planning started"),
    Column("audience", Integer, nullable=False, default=0),
    Column("nudge_no", Integer, nullable=False, default=0),
    Column("nudge_at", UtcDateTime, comment="nothing may be sent before; NULL = now"),
    Column("wait_reason", Text, nullable=False, default="", comment="why nudge_at lies ahead"),
    Column("last_claim_at", UtcDateTime),
    Column("last_progress_at", UtcDateTime),
    Column("last_nudged_at", UtcDateTime),
    Column("wait_detail", Text, nullable=False, default="", comment="what wait_reason names: a rate, a cause"),
    Column("unswept", Boolean, nullable=False, default=False, comment="cancelled, and a copy may still be in flight"),
    CheckConstraint(_one_of("state", IssueState), name="state"),
    CheckConstraint(_one_of("kind", IssueKind), name="kind"),
    CheckConstraint(_one_of("doubt", DoubtPolicy), name="doubt"),
    CheckConstraint(_one_of("audience_kind", AudienceKind), name="audience_kind"),
    CheckConstraint(_one_of("wait_reason", WaitReason), name="wait_reason"),
    CheckConstraint(f"NOT unswept OR state = '{IssueState.CANCELLED}'", name="unswept_is_cancelled"),
    CheckConstraint(f"state <> '{IssueState.HOLDING}' OR hold_until IS NOT NULL", name="holding_has_an_end"),
    CheckConstraint(
        f"state NOT IN ('{IssueState.SCHEDULED}', '{IssueState.HELD_LATE}') OR due_at IS NOT NULL",
        name="scheduled_has_a_time",
    ),
    CheckConstraint(
        f"state NOT IN ('{IssueState.SENDING}', '{IssueState.PAUSED}') OR started_at IS NOT NULL",
        name="sending_has_started",
    ),
    CheckConstraint(
        f"state <> '{IssueState.FINISHED}' OR (finished_at IS NOT NULL AND plan_cursor IS NULL)",
        name="finished_is_complete",
    ),
    CheckConstraint(f"(audience_kind = '{AudienceKind.ALL}') = (audience_of IS NULL)", name="audience_of"),
    Index(None, "publication_id"),
    sqlite_autoincrement=True,
)

compiled_issue = Table(
    "compiled_issue",
    metadata,
    Column("issue_id", ForeignKey("issue.id"), primary_key=True, autoincrement=False),
    Column("fingerprint", String(64), nullable=False),
    Column("body", Text, nullable=False, comment="domain.compiled.CompiledIssue as canonical JSON"),
)

media = Table(
    "media",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("ext", String(8), nullable=False),
    Column("content_type", String(100), nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("title", Text, nullable=False, comment="file name shown for downloads"),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

figure = Table(
    "figure",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("issue_id", ForeignKey("issue.id"), nullable=False),
    Column("media", String(80), nullable=False, comment="{sha256}.{ext}"),
    Column("alt", Text, nullable=False),
    Column("caption", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Index(None, "issue_id"),
)

proof = Table(
    "proof",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("publication_id", ForeignKey("publication.id"), nullable=False),
    Column("slug", String(80), nullable=False, comment="of the issue, which may not be queued yet"),
    Column("subject", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False, comment="of the text without its view link"),
    Column("body", Text, nullable=False, comment="CompiledIssue as JSON"),
    Column("sent_at", UtcDateTime, nullable=False),
    Index(None, "publication_id", "slug"),
    sqlite_autoincrement=True,
    comment="test mails, kept for 90 days",
)

proof_copy = Table(
    "proof_copy",
    metadata,
    Column("proof_id", ForeignKey("proof.id"), nullable=False),
    Column("no", SmallInteger, nullable=False),
    Column("address", String(254), comment="NULL after erasure"),
    Column("approved_at", UtcDateTime),
    PrimaryKeyConstraint("proof_id", "no"),
)

shard = Table(
    "shard",
    metadata,
    Column("issue_id", ForeignKey("issue.id"), nullable=False),
    Column("no", Integer, nullable=False),
    Column("from_n", Integer, nullable=False),
    Column("to_n", Integer, nullable=False),
    Column("next_n", Integer, nullable=False, comment="first number no first claim has taken yet"),
    *(Column(str(state), Integer, nullable=False, default=0) for state in DeliveryState),
    PrimaryKeyConstraint("issue_id", "no"),
    CheckConstraint(" + ".join(DeliveryState) + " = to_n - from_n + 1", name="adds_up"),
    *(CheckConstraint(f"{state} >= 0", name=f"{state}_counts") for state in DeliveryState),
    CheckConstraint("next_n BETWEEN from_n AND to_n + 1", name="next_n"),
)

claim = Table(
    "claim",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("issue_id", Integer, nullable=False),
    Column("shard_no", Integer, nullable=False),
    Column("kind", String(5), nullable=False),
    Column("from_n", Integer, nullable=False),
    Column("to_n", Integer, nullable=False),
    Column("owner", String(36), comment="worker uuid; NULL = released"),
    Column("left", Integer, nullable=False, comment="rows of it without a result"),
    Column("of_state", String(9), nullable=False, comment="stored state of all its rows"),
    Column("claimed_at", UtcDateTime, nullable=False),
    CheckConstraint(_one_of("kind", ClaimKind), name="kind"),
    CheckConstraint('"left" >= 0', name="left"),
    CheckConstraint(f"kind = '{ClaimKind.FIRST}' OR owner IS NOT NULL", name="retry_is_owned"),
    CheckConstraint(
        f"(kind = '{ClaimKind.FIRST}' AND of_state = '{DeliveryState.WAITING}')"
        f" OR (kind = '{ClaimKind.RETRY}' AND {_one_of('of_state', _CLAIMABLE)})",
        name="of_state",
    ),
    Index(None, "issue_id", "shard_no"),
    Index(None, "owner"),
    sqlite_autoincrement=True,
    comment="ids are never reused: the id is the fencing epoch",
)

delivery = Table(
    "delivery",
    metadata,
    # Wide fixed columns first: PostgreSQL pads to alignment, and a million rows pay for each hole.
    Column("subscriber_id", BigInteger, nullable=False),
    Column("claim", BigInteger, comment="owned retry claim; of an in_doubt row the claim that lost it"),
    Column("next_try", UtcDateTime, comment="claimable one by one from here on"),
    Column("at", UtcDateTime, comment="when the present state became known"),
    Column("claimed_at", UtcDateTime, comment="Date of the copy that went in doubt, kept for its repeat"),
    Column("first_try", UtcDateTime, comment="set by the first deferral: the life of retries counts from here"),
    Column("issue_id", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("tries", SmallInteger, nullable=False, default=0),
    Column("code", SmallInteger),
    Column("doubts", SmallInteger, nullable=False, default=0, comment="times in doubt; never-miss repeats the first"),
    Column("state", String(9), nullable=False),
    Column("reason", String(15)),
    Column("enhanced", String(11)),
    Column("provider", String(12)),
    Column("fingerprint", LargeBinary(8)),
    PrimaryKeyConstraint("issue_id", "n"),
    UniqueConstraint("issue_id", "subscriber_id"),
    Index(
        "ix_delivery_next_try",
        "issue_id",
        "next_try",
        postgresql_where=text("next_try IS NOT NULL"),
        sqlite_where=text("next_try IS NOT NULL"),
    ),
    CheckConstraint(_one_of("state", DeliveryState), name="state"),
    CheckConstraint(
        "COALESCE(CASE state"
        f" WHEN '{DeliveryState.SKIPPED}' THEN {_one_of('reason', SkipReason)}"
        f" WHEN '{DeliveryState.BOUNCED}' THEN {_one_of('reason', BounceKind)}"
        f" WHEN '{DeliveryState.FAILED}' THEN {_one_of('reason', FailureReason)}"
        f" WHEN '{DeliveryState.IN_DOUBT}' THEN {_one_of('reason', DoubtReason)}"
        " ELSE reason IS NULL END, FALSE)",
        name="reason",
    ),
    CheckConstraint(f"state = '{DeliveryState.WAITING}' OR at IS NOT NULL", name="known_since"),
    CheckConstraint(
        f"state <> '{DeliveryState.DEFERRED}' OR (next_try IS NOT NULL AND first_try IS NOT NULL)", name="deferred"
    ),
    CheckConstraint(f"next_try IS NULL OR {_one_of('state', _CLAIMABLE)}", name="next_try_is_open"),
    CheckConstraint(
        f"claim IS NULL OR {_one_of('state', [*_CLAIMABLE, DeliveryState.IN_DOUBT])}", name="claim_is_open"
    ),
    CheckConstraint(
        f"state <> '{DeliveryState.IN_DOUBT}' OR (claim IS NOT NULL AND claimed_at IS NOT NULL AND doubts > 0)",
        name="in_doubt",
    ),
    CheckConstraint(f"state NOT IN ('{DeliveryState.ACCEPTED}', '{DeliveryState.BOUNCED}') OR tries > 0", name="tried"),
    # Half-full pages: the second and last write of a row then stays on its page (HOT) and touches no index.
    postgresql_with={"fillfactor": "50"},
)

reply = Table(
    "reply",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("issue_id", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("try_no", SmallInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("phase", String(12), nullable=False),
    Column("code", SmallInteger),
    Column("enhanced", String(11)),
    Column("text", Text, nullable=False, comment="the relay's words, cut and escaped; non-2xx only"),
    Index(None, "issue_id", "n"),
    sqlite_autoincrement=True,
)

worker = Table(
    "worker",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("host_id", String(80), nullable=False, comment="boot id and uuid of the state directory"),
    Column("label", Text, nullable=False, comment="host name and process id, for people"),
    Column("state", String(8), nullable=False),
    Column("beat", BigInteger, nullable=False, comment="grows while the process lives; observers watch it change"),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("note", Text, nullable=False, default="", comment="what it waits for: a Trouble as JSON"),
    Column("outfit", Text, comment="relay, limits, broker and a mark of the key, as JSON"),
    CheckConstraint(_one_of("state", WorkerState), name="state"),
)

presence = Table(
    "presence",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("role", String(9), nullable=False),
    Column("host_id", String(80), nullable=False, comment="boot id and uuid of the state directory"),
    Column("label", Text, nullable=False, comment="host name and process id, for people"),
    Column("started_at", UtcDateTime, nullable=False),
    Column(
        "seen_at",
        UtcDateTime,
        nullable=False,
        comment="it lived, and no wish noted on its host before was still unfulfilled",
    ),
    CheckConstraint(_one_of("role", Role), name="role"),
    comment="processes that hold no claims",
)

lease = Table(
    "lease",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("owner", String(36), nullable=False),
    Column("until", UtcDateTime, nullable=False),
    comment="saves work only; nothing is correct because of it",
)

rate = Table(
    "rate",
    metadata,
    Column("relay", String(260), primary_key=True),
    Column("next_slot_at", Float(53), nullable=False, comment="database epoch seconds"),
    Column("buckets", JSON, nullable=False, comment="[[start second, slots granted], ...] of the longest window"),
)

nudge = Table(
    "nudge",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("queue", String(40), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "queue", "id"),
    sqlite_autoincrement=True,
    comment="the SQL broker: worth nothing, may be emptied at any time",
)

act = Table(
    "act",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", String(40), nullable=False),
    Column("object", Text, nullable=False),
    Column("counts", JSON, nullable=False),
    Index(None, "at"),
    Index(None, "object"),
    sqlite_autoincrement=True,
    comment="append-only: triggers refuse UPDATE and DELETE",
)

APPEND_ONLY = (consent_log, act)
