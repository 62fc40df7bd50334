"""What every table stands on: the mapped base class and the names of constraints."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import DateTime, Enum, MetaData, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase

from app.domain.refusals import Forbidden as Forbidden
from app.domain.refusals import NotFound as NotFound
from app.domain.refusals import Refusal as Refusal
from app.domain.refusals import Unauthenticated as Unauthenticated


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
