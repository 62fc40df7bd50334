"""Spent proofs: which deliveries' receipts were counted, so that each counts once. They name nobody."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_01_spent_proofs"
down_revision = "2026_12_01_feed_bodies"
branch_labels = None
depends_on = None

EVENTS = ("shown", "clicked", "closed", "stopped", "topic_off")


def upgrade() -> None:
    op.create_table(
        "spent_proofs",
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Enum(*EVENTS, name="event", native_enum=False, length=16), nullable=False),
        sa.Column("number", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_spent_proofs_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alert_id", "event", "number", name=op.f("pk_spent_proofs")),
    )


def downgrade() -> None:
    op.drop_table("spent_proofs")
