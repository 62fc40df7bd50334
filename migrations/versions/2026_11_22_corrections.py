"""Corrections: an alert may correct another one, and replaces it on the screen and at the push service.

All columns may be left out: the previous release, which knows none of them, goes on writing alerts.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_22_corrections"
down_revision = "2026_11_22_spine"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alerts", sa.Column("corrects_id", sa.Uuid(), nullable=True))
    op.add_column("alerts", sa.Column("thread_id", sa.Uuid(), nullable=True))
    op.add_column("alerts", sa.Column("growing", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_foreign_key(
        op.f("fk_alerts_corrects_id_alerts"), "alerts", "alerts", ["corrects_id"], ["id"], ondelete="SET NULL"
    )
    op.create_unique_constraint(op.f("uq_alerts_corrects_id"), "alerts", ["corrects_id"])
    op.create_index(op.f("ix_alerts_thread_id"), "alerts", ["thread_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_alerts_thread_id"), table_name="alerts")
    op.drop_constraint(op.f("uq_alerts_corrects_id"), "alerts", type_="unique")
    op.drop_constraint(op.f("fk_alerts_corrects_id_alerts"), "alerts", type_="foreignkey")
    op.drop_column("alerts", "growing")
    op.drop_column("alerts", "thread_id")
    op.drop_column("alerts", "corrects_id")
