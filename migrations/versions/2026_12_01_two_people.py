"""Two people are two: who may be behind a key, a link, a session, a password and a proposal.

The previous release may still be running on this database: it leaves these columns empty, which means "nobody else".
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_12_01_two_people"
down_revision = "2026_12_01_wrong_clocks"
branch_labels = None
depends_on = None

IDS = [
    ("api_keys", "makers"),
    ("sign_in_links", "makers"),
    ("editor_sessions", "makers"),
    ("editors", "password_makers"),
    ("alerts", "proposer_ids"),
]


def upgrade() -> None:
    for table, column in IDS:
        op.add_column(table, sa.Column(column, postgresql.ARRAY(sa.BigInteger()), server_default="{}", nullable=False))
    op.add_column("editors", sa.Column("password_set_at", sa.DateTime(timezone=True), nullable=True))
    # Keys that there are count as theirs who made them; proposals that wait, as theirs who made them.
    op.execute("UPDATE api_keys SET makers = ARRAY[editors.id] FROM editors WHERE email = created_by")
    op.execute("""
        UPDATE alerts SET proposer_ids = ARRAY[editors.id] FROM editors
        WHERE state = 'proposed' AND email = proposed_by
    """)
    op.execute("""
        UPDATE alerts SET proposer_ids = makers FROM api_keys
        WHERE state = 'proposed' AND proposed_by = 'key ' || name AND revoked_at IS NULL
    """)


def downgrade() -> None:
    op.drop_column("editors", "password_set_at")
    for table, column in reversed(IDS):
        op.drop_column(table, column)
