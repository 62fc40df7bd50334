"""What every table stands on: the mapped base class, the names of constraints, the way to the driver."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Enum, MetaData, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's declared class attribute
        datetime: DateTime(timezone=True),
        str: Text(),
        list[str]: ARRAY(Text()),
        # The word itself in a text column: a new member needs no migration that locks the table.
        StrEnum: Enum(StrEnum, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e]),
    }


async def driver_connection(session: AsyncSession) -> Any:
    """Psycopg's own AsyncConnection, in the session's transaction and after all that the session has to write."""
    await session.flush()
    return (await (await session.connection()).get_raw_connection()).driver_connection
