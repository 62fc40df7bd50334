"""Shards: up to 2,500 named recipients of one alert in one lane. The unit of work and a page of the ledger."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, LargeBinary, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.outcomes import Outcome

# Taking, reading and closing a shard costs a worker some 20 ms: at 1,000 recipients that was a twentieth of its time.
SIZE = 2500
COUNTED = tuple(outcome.label for outcome in Outcome)


class Shard(Base):
    __tablename__ = "shards"
    __table_args__ = (
        # The books balance, whatever a program does: every recipient is counted once.
        CheckConstraint(
            f"{' + '.join(COUNTED)} = length(outcomes) AND length(outcomes) = cardinality(subscription_ids)",
            name="balance",
        ),
        Index("ix_shards_open", "alert_id", postgresql_where=text("waiting > 0")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), index=True)
    lane: Mapped[str]  # The push service's origin: all recipients of a shard share it.
    subscription_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    outcomes: Mapped[bytes] = mapped_column(LargeBinary)  # One byte (Outcome) for each id, in the same order.
    # How often a worker took it. Only the last taker may write: one that was thought dead and is not, may not.
    claim: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)  # Passes that left somebody waiting.
    waiting: Mapped[int] = mapped_column(default=0)
    accepted: Mapped[int] = mapped_column(default=0)
    gone: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    held: Mapped[int] = mapped_column(default=0)
    expired: Mapped[int] = mapped_column(default=0)
    recalled: Mapped[int] = mapped_column(default=0)


def counts(outcomes: bytes | bytearray) -> dict[str, int]:
    """How many recipients stand where; every outcome is named."""
    tally = Counter(outcomes)
    return {outcome.label: tally[outcome] for outcome in Outcome}


@dataclass(frozen=True)
class Planned:
    id: int
    lane: str
    size: int


# An audience, less those whom the ledger has already (so planning twice is harmless, and an alert that gains a topic
# reaches only whom it has not reached), cut into shards lane by lane.
_WRITE = """
    INSERT INTO shards (alert_id, lane, subscription_ids, outcomes, waiting,
                        claim, tries, accepted, gone, refused, failed, held, expired, recalled)
    SELECT :alert, lane, array_agg(id ORDER BY id), decode(repeat('00', count(*)::int), 'hex'), count(*),
           0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM (
        SELECT id, lane, (row_number() OVER (PARTITION BY lane ORDER BY id) - 1) / :size AS page
        FROM subscriptions
        WHERE ended_at IS NULL AND {wants}
          AND id IN ({audience} EXCEPT SELECT unnest(subscription_ids) FROM shards WHERE alert_id = :alert)
    ) AS recipients
    GROUP BY lane, page
    RETURNING id, lane, cardinality(subscription_ids) AS size
"""

_PLAN = text(
    _WRITE.format(
        wants="(paused_until IS NULL OR paused_until <= :now)",
        audience="SELECT subscription_id FROM follows WHERE topic_id = ANY(:topics)",
    )
)

# They have the wrong text on their screens, so what they follow or pause since makes no difference.
_PLAN_CORRECTION = text(
    _WRITE.format(
        wants="true",
        audience=f"""
            SELECT told.id
            FROM shards CROSS JOIN LATERAL unnest(subscription_ids) WITH ORDINALITY AS told (id, place)
            WHERE alert_id = ANY(CAST(:wrong AS uuid[])) AND accepted > 0
              AND get_byte(outcomes, told.place::int - 1) = {Outcome.ACCEPTED:d}
        """,
    )
)


async def plan(
    session: AsyncSession, alert_id: UUID, topic_ids: Collection[int], now: datetime, *, size: int = SIZE
) -> list[Planned]:
    """Write the audience down: one statement, each reader once however many of the topics they follow."""
    arguments = {"alert": alert_id, "topics": list(topic_ids), "now": now, "size": size}
    rows = await session.execute(_PLAN, arguments)
    return [Planned(*row) for row in rows]


async def plan_correction(
    session: AsyncSession, alert_id: UUID, wrong: Collection[UUID], *, size: int = SIZE
) -> list[Planned]:
    """Write down exactly those whom the ledger knows to have got one of the wrong alerts, each once."""
    rows = await session.execute(_PLAN_CORRECTION, {"alert": alert_id, "wrong": list(wrong), "size": size})
    return [Planned(*row) for row in rows]


async def take(session: AsyncSession, shard_id: int) -> Shard | None:
    """The shard, now ours: whoever had it before can no longer write to it."""
    return await session.scalar(
        update(Shard).where(Shard.id == shard_id).values(claim=Shard.claim + 1).returning(Shard)
    )


_RECORD = text(f"""
    UPDATE shards SET outcomes = :outcomes, tries = :tries, {", ".join(f"{label} = :{label}" for label in COUNTED)}
    FROM alerts WHERE shards.id = :id AND claim = :claim AND alerts.id = alert_id RETURNING state
""")


async def record(
    session: AsyncSession, shard_id: int, claim: int, outcomes: bytes | bytearray, tries: int
) -> str | None:
    """Write the page. Returns the state of its alert, or None if another worker took the page meanwhile."""
    values = {"id": shard_id, "claim": claim, "outcomes": bytes(outcomes), "tries": tries, **counts(outcomes)}
    row = (await session.execute(_RECORD, values)).first()
    return row.state if row else None


async def claims(session: AsyncSession, alert_id: UUID) -> dict[int, int]:
    """The open shards of an alert, and how often each was taken."""
    rows = await session.execute(select(Shard.id, Shard.claim).where(Shard.alert_id == alert_id, Shard.waiting > 0))
    return {shard_id: claim for shard_id, claim in rows}


# In bytea's escape format a zero byte is written \000 and the other outcomes stand for themselves.
_RECALL = text(rf"""
    UPDATE shards
    SET outcomes = decode(
            replace(encode(outcomes, 'escape'), '\{Outcome.WAITING:03o}', '\{Outcome.RECALLED:03o}'), 'escape'),
        recalled = recalled + waiting, waiting = 0
    FROM unnest(CAST(:ids AS bigint[]), CAST(:claims AS int[])) AS idle (id, claim)
    WHERE shards.id = idle.id AND shards.claim = idle.claim AND waiting > 0
""")


async def recall(session: AsyncSession, idle: Mapping[int, int]) -> None:
    """Who waits in these shards gets nothing any more, unless a worker took theirs since its claim was read.

    A worker that takes it from now on finds nobody waiting. The claim itself stays. It is there to keep a worker from
    writing what it no longer knows best; but should there be one after all that was thought dead and sends, its page
    says who has got the alert and ours does not. So its next checkpoint may overwrite ours; the same checkpoint tells
    it that the alert is recalled, and it puts down the rest as recalled itself.
    """
    await session.execute(_RECALL, {"ids": list(idle), "claims": list(idle.values())})


async def progress(session: AsyncSession, alert_id: UUID) -> dict[str, int]:
    """Exact at every moment: how many recipients have which outcome."""
    return (await progress_of(session, [alert_id]))[alert_id]


async def progress_of(session: AsyncSession, alert_ids: Collection[UUID]) -> dict[UUID, dict[str, int]]:
    """The same for many alerts."""
    sums = [func.sum(getattr(Shard, label)) for label in COUNTED]
    query = select(Shard.alert_id, *sums).where(Shard.alert_id.in_(alert_ids)).group_by(Shard.alert_id)
    found = {row[0]: dict(zip(COUNTED, map(int, row[1:]), strict=True)) for row in await session.execute(query)}
    return {alert_id: found.get(alert_id, dict.fromkeys(COUNTED, 0)) for alert_id in alert_ids}


async def open_shards(session: AsyncSession, alert_id: UUID) -> Sequence[int]:
    return (await session.scalars(select(Shard.id).where(Shard.alert_id == alert_id, Shard.waiting > 0))).all()
