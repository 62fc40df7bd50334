"""The queue: Procrastinate's own schema, as the locked version ships it.

An upgrade of Procrastinate that changes its schema comes with a revision of its own here, which runs the scripts of
procrastinate/sql/migrations that are newer than 3.10.
"""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "2026_11_22_queue"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))


def downgrade() -> None:
    op.execute(
        """
        DO $$
        DECLARE name text;
        BEGIN
            FOR name IN SELECT oid::regclass FROM pg_class
                WHERE relname LIKE 'procrastinate\\_%' AND relkind = 'r' AND relnamespace = current_schema::regnamespace
            LOOP EXECUTE 'DROP TABLE ' || name || ' CASCADE'; END LOOP;
            FOR name IN SELECT oid::regprocedure FROM pg_proc
                WHERE proname LIKE 'procrastinate\\_%' AND pronamespace = current_schema::regnamespace
            LOOP EXECUTE 'DROP FUNCTION ' || name || ' CASCADE'; END LOOP;
            FOR name IN SELECT oid::regtype FROM pg_type
                WHERE typname LIKE 'procrastinate\\_%' AND typtype IN ('c', 'e')
                  AND typnamespace = current_schema::regnamespace
            LOOP EXECUTE 'DROP TYPE ' || name || ' CASCADE'; END LOOP;
        END $$
        """
    )
