"""The first schema: every table, the append-only triggers, and this installation's identity.

Frozen: a later change is a script of its own. A test compares the result with `storage.schema` on both databases.
"""

# ruff: noqa: E501 - CHECKs stand here as the database prints them

import secrets
import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = ("consent_log", "act")


def upgrade() -> None:
    """Create everything, referenced tables first."""
    _act()
    _claim()
    _consent_log()
    _delivery()
    _instance()
    _lease()
    _media()
    _nudge()
    _publication()
    _rate()
    _reply()
    _subscriber()
    _suppression()
    _worker()
    _import_batch()
    _issue()
    _compiled_issue()
    _figure()
    _shard()
    _subscription()
    for table in APPEND_ONLY:
        _refuse_changes(table)
    _name_this_installation()


def _act() -> None:
    op.create_table(
        "act",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("act", sa.String(length=40), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_act")),
        comment="append-only: triggers refuse UPDATE and DELETE",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_act_at"), "act", ["at"], unique=False)
    op.create_index(op.f("ix_act_object"), "act", ["object"], unique=False)


def _claim() -> None:
    op.create_table(
        "claim",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("issue_id", sa.Integer(), nullable=False),
        sa.Column("shard_no", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=5), nullable=False),
        sa.Column("from_n", sa.Integer(), nullable=False),
        sa.Column("to_n", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=True, comment="worker uuid; NULL = released"),
        sa.Column("left", sa.Integer(), nullable=False, comment="rows of it without a result"),
        sa.Column("of_state", sa.String(length=9), nullable=False, comment="stored state of all its rows"),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(kind = 'first' AND of_state = 'waiting') OR (kind = 'retry' AND of_state IN ('waiting', 'deferred'))",
            name=op.f("ck_claim_of_state"),
        ),
        sa.CheckConstraint("kind = 'first' OR owner IS NOT NULL", name=op.f("ck_claim_retry_is_owned")),
        sa.CheckConstraint("kind IN ('first', 'retry')", name=op.f("ck_claim_kind")),
        sa.CheckConstraint('"left" >= 0', name=op.f("ck_claim_left")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim")),
        comment="ids are never reused: the id is the fencing epoch",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_claim_issue_id_shard_no"), "claim", ["issue_id", "shard_no"], unique=False)
    op.create_index(op.f("ix_claim_owner"), "claim", ["owner"], unique=False)


def _consent_log() -> None:
    op.create_table(
        "consent_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("subscription_id", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("channel", sa.String(length=12), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issue_id", sa.Integer(), nullable=True),
        sa.Column("import_id", sa.Integer(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "channel IN ('one_click', 'page', 'cli', 'import', 'complaint', 'mailto')",
            name=op.f("ck_consent_log_channel"),
        ),
        sa.CheckConstraint(
            "event IN ('imported', 'added', 'ended', 'undone', 'import_undone', 'erased')",
            name=op.f("ck_consent_log_event"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_log")),
        comment="append-only: triggers refuse UPDATE and DELETE",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_consent_log_subscription_id"), "consent_log", ["subscription_id"], unique=False)
    op.create_index(
        "ix_consent_log_issue_id",
        "consent_log",
        ["issue_id"],
        unique=False,
        postgresql_where=sa.text("issue_id IS NOT NULL"),
        sqlite_where=sa.text("issue_id IS NOT NULL"),
    )


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("subscriber_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "claim",
            sa.BigInteger(),
            nullable=True,
            comment="owned retry claim; of an in_doubt row the claim that lost it",
        ),
        sa.Column("next_try", sa.DateTime(timezone=True), nullable=True, comment="claimable one by one from here on"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=True, comment="when the present state became known"),
        sa.Column(
            "claimed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Date of the copy that went in doubt, kept for its repeat",
        ),
        sa.Column(
            "first_try",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="set by the first deferral: the life of retries counts from here",
        ),
        sa.Column("issue_id", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=True),
        sa.Column("doubts", sa.SmallInteger(), nullable=False, comment="times in doubt; never-miss repeats the first"),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("reason", sa.String(length=15), nullable=True),
        sa.Column("enhanced", sa.String(length=11), nullable=True),
        sa.Column("provider", sa.String(length=12), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(length=8), nullable=True),
        sa.CheckConstraint(
            "COALESCE(CASE state WHEN 'skipped' THEN reason IN ('opted_out', 'suppressed', 'paused', 'erased') WHEN 'bounced' THEN reason IN ('at_handover', 'returned') WHEN 'failed' THEN reason IN ('unbuildable', 'message_refused', 'sender_refused', 'no_smtputf8', 'too_big') WHEN 'in_doubt' THEN reason IN ('line_broke', 'reply_unclear', 'worker_lost', 'host_lost', 'not_the_same') ELSE reason IS NULL END, FALSE)",
            name=op.f("ck_delivery_reason"),
        ),
        sa.CheckConstraint(
            "claim IS NULL OR state IN ('waiting', 'deferred', 'in_doubt')", name=op.f("ck_delivery_claim_is_open")
        ),
        sa.CheckConstraint(
            "next_try IS NULL OR state IN ('waiting', 'deferred')", name=op.f("ck_delivery_next_try_is_open")
        ),
        sa.CheckConstraint(
            "state <> 'deferred' OR (next_try IS NOT NULL AND first_try IS NOT NULL)", name=op.f("ck_delivery_deferred")
        ),
        sa.CheckConstraint(
            "state <> 'in_doubt' OR (claim IS NOT NULL AND claimed_at IS NOT NULL AND doubts > 0)",
            name=op.f("ck_delivery_in_doubt"),
        ),
        sa.CheckConstraint("state = 'waiting' OR at IS NOT NULL", name=op.f("ck_delivery_known_since")),
        sa.CheckConstraint(
            "state IN ('waiting', 'accepted', 'bounced', 'deferred', 'in_doubt', 'failed', 'skipped', 'cancelled', 'expired')",
            name=op.f("ck_delivery_state"),
        ),
        sa.CheckConstraint("state NOT IN ('accepted', 'bounced') OR tries > 0", name=op.f("ck_delivery_tried")),
        sa.PrimaryKeyConstraint("issue_id", "n", name=op.f("pk_delivery")),
        sa.UniqueConstraint("issue_id", "subscriber_id", name=op.f("uq_delivery_issue_id_subscriber_id")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "ix_delivery_next_try",
        "delivery",
        ["issue_id", "next_try"],
        unique=False,
        postgresql_where=sa.text("next_try IS NOT NULL"),
        sqlite_where=sa.text("next_try IS NOT NULL"),
    )


def _instance() -> None:
    op.create_table(
        "instance",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column(
            "pepper", sa.LargeBinary(), nullable=False, comment="keys address hashes and Message-IDs; never changes"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_instance_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
    )


def _lease() -> None:
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
        comment="saves work only; nothing is correct because of it",
    )


def _media() -> None:
    op.create_table(
        "media",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("ext", sa.String(length=8), nullable=False),
        sa.Column("content_type", sa.String(length=100), nullable=False),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False, comment="file name shown for downloads"),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_media")),
    )


def _nudge() -> None:
    op.create_table(
        "nudge",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("queue", sa.String(length=40), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nudge")),
        comment="the SQL broker: worth nothing, may be emptied at any time",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_nudge_queue_id"), "nudge", ["queue", "id"], unique=False)


def _publication() -> None:
    op.create_table(
        "publication",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("from_name", sa.String(length=200), nullable=False),
        sa.Column("from_address", sa.String(length=254), nullable=False),
        sa.Column("postal_address", sa.Text(), nullable=False),
        sa.Column("reply_to", sa.String(length=254), nullable=True),
        sa.Column("bounce_address", sa.String(length=254), nullable=True),
        sa.Column("contact", sa.String(length=254), nullable=False),
        sa.Column("promise", sa.Text(), nullable=False),
        sa.Column("privacy_url", sa.Text(), nullable=True),
        sa.Column("language", sa.String(length=35), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publication")),
        sa.UniqueConstraint("slug", name=op.f("uq_publication_slug")),
    )


def _rate() -> None:
    op.create_table(
        "rate",
        sa.Column("relay", sa.String(length=260), nullable=False),
        sa.Column("next_slot_at", sa.Float(precision=53), nullable=False, comment="database epoch seconds"),
        sa.Column(
            "buckets", sa.JSON(), nullable=False, comment="[[start second, slots granted], ...] of the longest window"
        ),
        sa.PrimaryKeyConstraint("relay", name=op.f("pk_rate")),
    )


def _reply() -> None:
    op.create_table(
        "reply",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("issue_id", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("try_no", sa.SmallInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("phase", sa.String(length=12), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=True),
        sa.Column("enhanced", sa.String(length=11), nullable=True),
        sa.Column("text", sa.Text(), nullable=False, comment="the relay's words, cut and escaped; non-2xx only"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_reply_issue_id_n"), "reply", ["issue_id", "n"], unique=False)


def _subscriber() -> None:
    op.create_table(
        "subscriber",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "address",
            sa.String(length=254),
            nullable=True,
            comment="local part as typed, domain as A-labels; NULL after erasure",
        ),
        sa.Column(
            "address_hash",
            sa.LargeBinary(length=16),
            nullable=True,
            comment="keyed hash of the folded address: the identity",
        ),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("language", sa.String(length=35), nullable=True),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(address IS NULL) = (erased_at IS NOT NULL)", name=op.f("ck_subscriber_erased_has_no_address")
        ),
        sa.CheckConstraint(
            "(address_hash IS NULL) = (erased_at IS NOT NULL)", name=op.f("ck_subscriber_erased_has_no_hash")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriber")),
        sa.UniqueConstraint("address_hash", name=op.f("uq_subscriber_address_hash")),
        sqlite_autoincrement=True,
    )


def _suppression() -> None:
    op.create_table(
        "suppression",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("address", sa.String(length=254), nullable=True, comment="NULL after erasure; the hash keeps the no"),
        sa.Column("reason", sa.String(length=12), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "reason IN ('bounced', 'complained', 'erased', 'manual')", name=op.f("ck_suppression_reason")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression")),
        sa.UniqueConstraint("address_hash", name=op.f("uq_suppression_address_hash")),
    )


def _worker() -> None:
    op.create_table(
        "worker",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("host_id", sa.String(length=80), nullable=False, comment="boot id and uuid of the state directory"),
        sa.Column("label", sa.Text(), nullable=False, comment="host name and process id, for people"),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column(
            "beat", sa.BigInteger(), nullable=False, comment="grows while the process lives; observers watch it change"
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.Text(), nullable=False, comment="what it waits for, in a sentence"),
        sa.CheckConstraint("state IN ('ready', 'draining', 'lost')", name=op.f("ck_worker_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )


def _import_batch() -> None:
    op.create_table(
        "import_batch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("publication_id", sa.Integer(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("consent", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["publication_id"], ["publication.id"], name=op.f("fk_import_batch_publication_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_batch")),
    )


def _issue() -> None:
    op.create_table(
        "issue",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("publication_id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("doubt", sa.String(length=12), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="the file as queued"),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("queued_by", sa.Text(), nullable=False),
        sa.Column("hold_s", sa.Integer(), nullable=False),
        sa.Column("hold_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("audience_kind", sa.String(length=12), nullable=False),
        sa.Column("audience_of", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_reason", sa.Text(), nullable=False, comment="why paused, held late or cancelled"),
        sa.Column(
            "plan_cursor",
            sa.BigInteger(),
            nullable=True,
            comment="highest subscription id planned; NULL = the audience is complete",
        ),
        sa.Column(
            "plan_until", sa.BigInteger(), nullable=True, comment="highest subscription id when planning started"
        ),
        sa.Column("audience", sa.Integer(), nullable=False),
        sa.Column("nudge_no", sa.Integer(), nullable=False),
        sa.Column(
            "nudge_at", sa.DateTime(timezone=True), nullable=True, comment="nothing may be sent before; NULL = now"
        ),
        sa.Column("wait_reason", sa.Text(), nullable=False, comment="why nudge_at lies ahead"),
        sa.Column("last_claim_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_progress_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(audience_kind = 'all') = (audience_of IS NULL)", name=op.f("ck_issue_audience_of")),
        sa.CheckConstraint("audience_kind IN ('all', 'rest_of', 'accepted_of')", name=op.f("ck_issue_audience_kind")),
        sa.CheckConstraint("doubt IN ('never-twice', 'never-miss')", name=op.f("ck_issue_doubt")),
        sa.CheckConstraint("kind IN ('newsletter', 'statement')", name=op.f("ck_issue_kind")),
        sa.CheckConstraint(
            "state <> 'finished' OR (finished_at IS NOT NULL AND plan_cursor IS NULL)",
            name=op.f("ck_issue_finished_is_complete"),
        ),
        sa.CheckConstraint("state <> 'holding' OR hold_until IS NOT NULL", name=op.f("ck_issue_holding_has_an_end")),
        sa.CheckConstraint(
            "state IN ('draft', 'holding', 'scheduled', 'held_late', 'sending', 'paused', 'finished', 'cancelled')",
            name=op.f("ck_issue_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('scheduled', 'held_late') OR due_at IS NOT NULL", name=op.f("ck_issue_scheduled_has_a_time")
        ),
        sa.CheckConstraint(
            "state NOT IN ('sending', 'paused') OR started_at IS NOT NULL", name=op.f("ck_issue_sending_has_started")
        ),
        sa.ForeignKeyConstraint(["audience_of"], ["issue.id"], name=op.f("fk_issue_audience_of")),
        sa.ForeignKeyConstraint(["publication_id"], ["publication.id"], name=op.f("fk_issue_publication_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issue")),
        sa.UniqueConstraint("slug", name=op.f("uq_issue_slug")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_issue_publication_id"), "issue", ["publication_id"], unique=False)


def _compiled_issue() -> None:
    op.create_table(
        "compiled_issue",
        sa.Column("issue_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="domain.compiled.CompiledIssue as canonical JSON"),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"], name=op.f("fk_compiled_issue_issue_id")),
        sa.PrimaryKeyConstraint("issue_id", name=op.f("pk_compiled_issue")),
    )


def _figure() -> None:
    op.create_table(
        "figure",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("issue_id", sa.Integer(), nullable=False),
        sa.Column("media", sa.String(length=80), nullable=False, comment="{sha256}.{ext}"),
        sa.Column("alt", sa.Text(), nullable=False),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.Column("credit", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"], name=op.f("fk_figure_issue_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_figure")),
    )
    op.create_index(op.f("ix_figure_issue_id"), "figure", ["issue_id"], unique=False)


def _shard() -> None:
    op.create_table(
        "shard",
        sa.Column("issue_id", sa.Integer(), nullable=False),
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("from_n", sa.Integer(), nullable=False),
        sa.Column("to_n", sa.Integer(), nullable=False),
        sa.Column("next_n", sa.Integer(), nullable=False, comment="first number no first claim has taken yet"),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("bounced", sa.Integer(), nullable=False),
        sa.Column("deferred", sa.Integer(), nullable=False),
        sa.Column("in_doubt", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("expired", sa.Integer(), nullable=False),
        sa.CheckConstraint("accepted >= 0", name=op.f("ck_shard_accepted_counts")),
        sa.CheckConstraint("bounced >= 0", name=op.f("ck_shard_bounced_counts")),
        sa.CheckConstraint("cancelled >= 0", name=op.f("ck_shard_cancelled_counts")),
        sa.CheckConstraint("deferred >= 0", name=op.f("ck_shard_deferred_counts")),
        sa.CheckConstraint("expired >= 0", name=op.f("ck_shard_expired_counts")),
        sa.CheckConstraint("failed >= 0", name=op.f("ck_shard_failed_counts")),
        sa.CheckConstraint("in_doubt >= 0", name=op.f("ck_shard_in_doubt_counts")),
        sa.CheckConstraint("next_n BETWEEN from_n AND to_n + 1", name=op.f("ck_shard_next_n")),
        sa.CheckConstraint("skipped >= 0", name=op.f("ck_shard_skipped_counts")),
        sa.CheckConstraint(
            "waiting + accepted + bounced + deferred + in_doubt + failed + skipped + cancelled + expired = to_n - from_n + 1",
            name=op.f("ck_shard_adds_up"),
        ),
        sa.CheckConstraint("waiting >= 0", name=op.f("ck_shard_waiting_counts")),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"], name=op.f("fk_shard_issue_id")),
        sa.PrimaryKeyConstraint("issue_id", "no", name=op.f("pk_shard")),
    )


def _subscription() -> None:
    op.create_table(
        "subscription",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("subscriber_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("publication_id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.String(length=12), nullable=True, comment="channel of the opt-out"),
        sa.Column("ended_issue_id", sa.Integer(), nullable=True, comment="the issue whose link was used"),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "consent_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the reader asked; NULL when the evidence has no date",
        ),
        sa.Column("consent_source", sa.Text(), nullable=False, comment="where and how they asked"),
        sa.Column("import_id", sa.Integer(), nullable=True),
        sa.CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name=op.f("ck_subscription_ended")),
        sa.CheckConstraint(
            "state <> 'confirmed' OR (confirmed_at IS NOT NULL AND ended_at IS NULL)",
            name=op.f("ck_subscription_confirmed"),
        ),
        sa.CheckConstraint("state IN ('pending', 'confirmed', 'ended')", name=op.f("ck_subscription_state")),
        sa.CheckConstraint(
            "ended_at IS NULL OR ended_by IS NOT NULL", name=op.f("ck_subscription_ended_names_its_channel")
        ),
        sa.CheckConstraint("generation >= 1", name=op.f("ck_subscription_generation")),
        sa.ForeignKeyConstraint(["import_id"], ["import_batch.id"], name=op.f("fk_subscription_import_id")),
        sa.ForeignKeyConstraint(["publication_id"], ["publication.id"], name=op.f("fk_subscription_publication_id")),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name=op.f("fk_subscription_subscriber_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription")),
        sa.UniqueConstraint(
            "subscriber_id", "publication_id", name=op.f("uq_subscription_subscriber_id_publication_id")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_subscription_import_id"), "subscription", ["import_id"], unique=False)
    op.create_index(op.f("ix_subscription_publication_id_id"), "subscription", ["publication_id", "id"], unique=False)


def _refuse_changes(table: str) -> None:
    """No line is ever changed or removed, not even by a mistake of ours: what a reader wished stays provable."""
    if op.get_context().dialect.name == "sqlite":
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
    )


def _name_this_installation() -> None:
    instance = sa.table(
        "instance",
        sa.column("id", sa.SmallInteger),
        sa.column("uuid", sa.String),
        sa.column("pepper", sa.LargeBinary),
        sa.column("created_at", sa.DateTime(timezone=True)),
    )
    now = datetime.now(UTC)
    op.bulk_insert(
        instance,
        [
            {
                "id": 1,
                "uuid": str(uuid.uuid4()),
                "pepper": secrets.token_bytes(32),
                # SQLite keeps times as UTC text without a zone, as the column type does.
                "created_at": now.replace(tzinfo=None) if op.get_context().dialect.name == "sqlite" else now,
            }
        ],
    )
