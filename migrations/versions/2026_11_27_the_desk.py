"""The desk: editors and their sessions, links and keys; the audit; receipts; lookups; scheduled and approved alerts.

The previous release may still be running on this database: add, fill, switch, remove are four releases.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_27_desk"
down_revision = "2026_11_22_lanes"
branch_labels = None
depends_on = None

# What is in the audit stays as it is, whoever asks: only the owner of the database could take this away.
KEEP_AUDIT = """
CREATE FUNCTION newsbell_keep_audit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'The audit is only ever added to.'; END $$;
CREATE TRIGGER audit_rows_stay BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION newsbell_keep_audit();
CREATE TRIGGER audit_stays BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION newsbell_keep_audit();
"""


def upgrade() -> None:
    op.create_table(
        "answered_requests",
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_answered_requests")),
    )
    op.create_index(op.f("ix_answered_requests_at"), "answered_requests", ["at"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("start", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "role", sa.Enum("writer", "editor", "owner", name="role", native_enum=False, length=16), nullable=False
        ),
        sa.Column("topics", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("levels", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"], unique=False)
    op.create_table(
        "editors",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "role", sa.Enum("writer", "editor", "owner", name="role", native_enum=False, length=16), nullable=False
        ),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signed_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_editors")),
        sa.UniqueConstraint("email", name=op.f("uq_editors_email")),
        sa.UniqueConstraint("subject", name=op.f("uq_editors_subject")),
    )
    op.create_table(
        "guesses",
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_guesses")),
    )
    op.create_index(op.f("ix_guesses_last_at"), "guesses", ["last_at"], unique=False)
    op.create_table(
        "lookups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Enum("feed", "link", name="kind", native_enum=False, length=16), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lookups")),
    )
    op.create_index(op.f("ix_lookups_asked_at"), "lookups", ["asked_at"], unique=False)
    op.create_table(
        "editor_browsers",
        sa.Column("editor_id", sa.BigInteger(), nullable=False),
        sa.Column("subscription_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["editor_id"], ["editors.id"], name=op.f("fk_editor_browsers_editor_id_editors"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name=op.f("fk_editor_browsers_subscription_id_subscriptions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("editor_id", "subscription_id", name=op.f("pk_editor_browsers")),
    )
    op.create_index(op.f("ix_editor_browsers_subscription_id"), "editor_browsers", ["subscription_id"], unique=False)
    op.create_table(
        "editor_sessions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("editor_id", sa.BigInteger(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["editor_id"], ["editors.id"], name=op.f("fk_editor_sessions_editor_id_editors"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_editor_sessions")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_editor_sessions_key_hash")),
    )
    op.create_index(op.f("ix_editor_sessions_editor_id"), "editor_sessions", ["editor_id"], unique=False)
    op.create_index(op.f("ix_editor_sessions_expires_at"), "editor_sessions", ["expires_at"], unique=False)
    op.create_table(
        "sign_in_links",
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("editor_id", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["editor_id"], ["editors.id"], name=op.f("fk_sign_in_links_editor_id_editors"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_sign_in_links")),
    )
    op.create_index(op.f("ix_sign_in_links_editor_id"), "sign_in_links", ["editor_id"], unique=False)
    op.create_table(
        "beats",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("shard_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["shard_id"], ["shards.id"], name=op.f("fk_beats_shard_id_shards"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_beats")),
    )
    op.create_index(op.f("ix_beats_shard_id"), "beats", ["shard_id"], unique=False)
    op.create_table(
        "receipts",
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column(
            "event",
            sa.Enum("shown", "clicked", "closed", "stopped", "topic_off", name="event", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_receipts_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alert_id", "event", "lane", "minute", name=op.f("pk_receipts")),
    )
    op.create_table(
        "marks",
        sa.Column(
            "what",
            sa.Enum("throttled", "stopped", "visited", name="happening", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("what", "lane", "hour", name=op.f("pk_marks")),
    )
    op.create_index(op.f("ix_marks_hour"), "marks", ["hour"], unique=False)
    op.add_column("alerts", sa.Column("made_by", sa.Text(), server_default="newsbell", nullable=False))
    op.add_column("alerts", sa.Column("proposed_by", sa.Text(), nullable=True))
    op.add_column("alerts", sa.Column("approved_by", sa.Text(), nullable=True))
    op.add_column("alerts", sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("alerts", sa.Column("time_zone", sa.Text(), server_default="", nullable=False))
    op.add_column("alerts", sa.Column("for_editor_id", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_alerts_for_editor_id"), "alerts", ["for_editor_id"], unique=False)
    op.create_index(op.f("ix_alerts_released_at"), "alerts", ["released_at"], unique=False)
    op.create_index(
        "ix_alerts_due",
        "alerts",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('proposed', 'scheduled')"),
    )
    op.create_foreign_key(
        op.f("fk_alerts_for_editor_id_editors"), "alerts", "editors", ["for_editor_id"], ["id"], ondelete="CASCADE"
    )
    op.add_column("feeds", sa.Column("next_poll_because", sa.Text(), server_default="", nullable=False))
    op.add_column("feeds", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("subscriptions", sa.Column("quiet_from", sa.Time(), nullable=True))
    op.add_column("subscriptions", sa.Column("quiet_to", sa.Time(), nullable=True))
    op.add_column("subscriptions", sa.Column("daily_limit", sa.Integer(), nullable=True))
    op.add_column("subscriptions", sa.Column("levels", postgresql.ARRAY(sa.Text()), nullable=True))
    op.create_index(
        "ix_subscriptions_quiet",
        "subscriptions",
        ["time_zone"],
        unique=False,
        postgresql_where=sa.text("quiet_from IS NOT NULL"),
    )
    # Ascending numbers hardly shrink, and trying to compress them took a third of the time of planning a million.
    op.execute("ALTER TABLE shards ALTER COLUMN subscription_ids SET STORAGE EXTERNAL")
    op.execute(KEEP_AUDIT)


def downgrade() -> None:
    op.execute("ALTER TABLE shards ALTER COLUMN subscription_ids SET STORAGE EXTENDED")
    op.drop_index(
        "ix_subscriptions_quiet", table_name="subscriptions", postgresql_where=sa.text("quiet_from IS NOT NULL")
    )
    op.drop_column("subscriptions", "levels")
    op.drop_column("subscriptions", "daily_limit")
    op.drop_column("subscriptions", "quiet_to")
    op.drop_column("subscriptions", "quiet_from")
    op.drop_column("feeds", "paused_at")
    op.drop_column("feeds", "next_poll_because")
    op.drop_constraint(op.f("fk_alerts_for_editor_id_editors"), "alerts", type_="foreignkey")
    op.drop_index("ix_alerts_due", table_name="alerts", postgresql_where=sa.text("state IN ('proposed', 'scheduled')"))
    op.drop_index(op.f("ix_alerts_released_at"), table_name="alerts")
    op.drop_index(op.f("ix_alerts_for_editor_id"), table_name="alerts")
    op.drop_column("alerts", "for_editor_id")
    op.drop_column("alerts", "time_zone")
    op.drop_column("alerts", "due_at")
    op.drop_column("alerts", "approved_by")
    op.drop_column("alerts", "proposed_by")
    op.drop_column("alerts", "made_by")
    op.drop_index(op.f("ix_marks_hour"), table_name="marks")
    op.drop_table("marks")
    op.drop_table("receipts")
    op.drop_index(op.f("ix_beats_shard_id"), table_name="beats")
    op.drop_table("beats")
    op.drop_index(op.f("ix_sign_in_links_editor_id"), table_name="sign_in_links")
    op.drop_table("sign_in_links")
    op.drop_index(op.f("ix_editor_sessions_expires_at"), table_name="editor_sessions")
    op.drop_index(op.f("ix_editor_sessions_editor_id"), table_name="editor_sessions")
    op.drop_table("editor_sessions")
    op.drop_index(op.f("ix_editor_browsers_subscription_id"), table_name="editor_browsers")
    op.drop_table("editor_browsers")
    op.drop_index(op.f("ix_lookups_asked_at"), table_name="lookups")
    op.drop_table("lookups")
    op.drop_index(op.f("ix_guesses_last_at"), table_name="guesses")
    op.drop_table("guesses")
    op.drop_table("editors")
    op.drop_index(op.f("ix_audit_subject"), table_name="audit")
    op.drop_index(op.f("ix_audit_at"), table_name="audit")
    op.drop_table("audit")
    op.drop_table("api_keys")
    op.drop_index(op.f("ix_answered_requests_at"), table_name="answered_requests")
    op.drop_table("answered_requests")
    op.execute("DROP FUNCTION newsbell_keep_audit()")
