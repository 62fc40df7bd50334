"""Shards: up to 2,500 named recipients of one alert in one lane. The unit of work and a page of the ledger."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    TextClause,
    exists,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.base import Base
from app.domain.outcomes import Outcome
from app.domain.probation import OWN_LANES, STANDING, Standing
from app.domain.probation import SIZE as FEWER
from app.domain.time_zones import clock_in

# Taking, reading and closing a shard costs a worker some 20 ms: at 1,000 recipients that was a twentieth of its time.
SIZE = 2500
COUNTED = tuple(outcome.label for outcome in Outcome)
# The lane of a shard whose recipients, all on probation, are at several push services.
VARIOUS = ""


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
    lane: Mapped[str]  # The push service's origin, which all recipients of a shard share; or VARIOUS.
    subscription_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    outcomes: Mapped[bytes] = mapped_column(LargeBinary)  # One byte (Outcome) for each id, in the same order.
    # How often a worker took it. Only the last taker may write: one that was thought dead and is not, may not.
    claim: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)  # Passes that left somebody waiting.
    standing: Mapped[int] = mapped_column(default=0, server_default="0")  # What its recipients' was (Standing).
    waiting: Mapped[int] = mapped_column(default=0)
    accepted: Mapped[int] = mapped_column(default=0)
    gone: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    held: Mapped[int] = mapped_column(default=0)
    expired: Mapped[int] = mapped_column(default=0)
    recalled: Mapped[int] = mapped_column(default=0)


class Beat(Base):
    """A checkpoint's new acceptances: when a page reached how many of its recipients, to half a second.

    It hangs on the page, which its checkpoint has locked anyway. If it hung on the alert, the database would lock that
    for each beat, and wait for an editor who recalls it, who waits for the page.
    """

    __tablename__ = "beats"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    shard_id: Mapped[int] = mapped_column(ForeignKey("shards.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    accepted: Mapped[int]


def counts(outcomes: bytes | bytearray) -> dict[str, int]:
    """How many recipients stand where; every outcome is named."""
    tally = Counter(outcomes)
    return {outcome.label: tally[outcome] for outcome in Outcome}


@dataclass(frozen=True)
class Planned:
    id: int
    lane: str
    size: int
    waiting: int  # 0 if these are held back: they are in the books, and there is nothing to send
    standing: int = Standing.PROVEN


@dataclass(frozen=True)
class Audience:
    """Who an alert would go to, each reader once, and what would hold some of them back."""

    readers: int
    rings: int
    paused: int  # told nothing at all until they say so
    level: int  # do not want alerts of this level
    quiet_hours: int
    daily_limit: int
    lanes: dict[str, int]  # where it rings, by push service


# Why an alert does not ring for a reader, the first that holds. A pause is the reader's own word for "not there".
_IS_PAUSED = "paused_until IS NOT NULL AND paused_until > :now"
_IS_LEVEL_OFF = "levels IS NOT NULL AND CAST(:level AS text) <> ALL (levels)"
# The clock on each reader's wall comes from us: PostgreSQL would refuse the whole plan for one zone that it lacks.
_IS_QUIET = """CASE WHEN quiet_from IS NULL OR :level = 'breaking' THEN false ELSE coalesce((
    SELECT CASE WHEN quiet_from <= quiet_to THEN clock >= quiet_from AND clock < quiet_to
                ELSE clock >= quiet_from OR clock < quiet_to END
    FROM unnest(CAST(:zones AS text[]), CAST(:clocks AS time[])) AS wall (zone, clock) WHERE zone = time_zone
), false) END"""
_IS_SATED = "daily_limit IS NOT NULL AND :level <> 'breaking' AND id IN (SELECT id FROM sated)"
# Read only if somebody has a limit. Corrections and tests do not count.
_SATED = f"""sated AS (
    SELECT member.id FROM shards JOIN alerts ON alerts.id = alert_id,
        unnest(subscription_ids) WITH ORDINALITY AS member (id, place), subscriptions AS limited
    WHERE released_at > :now - interval '24 hours' AND released_at <= :now AND level <> 'breaking'
      AND thread_id IS NULL AND for_editor_id IS NULL AND NOT is_welcome AND accepted > 0
      AND get_byte(outcomes, place::int - 1) = {Outcome.ACCEPTED:d}
      AND limited.id = member.id AND limited.daily_limit IS NOT NULL
    GROUP BY member.id, limited.daily_limit HAVING count(*) >= limited.daily_limit)"""
_FOLLOWERS = "SELECT subscription_id FROM follows WHERE topic_id = ANY(:topics)"

# An audience, cut into shards lane by lane. Who is held back stands in shards of their own, and so do those on
# probation, of whom all but a few lanes' share theirs. Who it is for is a list and no table to join: so the database
# looks them up by their ids, in order, whatever it believes of the tables. (One that was empty when it was last looked
# through passes for empty: each of 10,000 readers was compared with each follower, for half a minute.)
_WRITE = f"""
    WITH {_SATED}, lists AS MATERIALIZED (
        SELECT lane, {{holds}} AS holds, {STANDING} AS standing, array_agg(id ORDER BY id) AS ids
        FROM subscriptions
        WHERE ended_at IS NULL AND {{wants}}
          AND id = ANY (ARRAY({{audience}} {{but}}))
        GROUP BY lane, holds, standing),
    own AS (
        SELECT lane FROM lists GROUP BY lane HAVING bool_or(standing > 0)
        ORDER BY bool_or(standing = 0) DESC, sum(cardinality(ids)) DESC, lane LIMIT {OWN_LANES}),
    pages AS (
        SELECT lane, holds, standing, ids FROM lists WHERE standing = 0 OR lane IN (SELECT lane FROM own)
        UNION ALL
        SELECT '{VARIOUS}', holds, standing, array_agg(id ORDER BY id) FROM lists, unnest(ids) AS id
        WHERE standing > 0 AND lane NOT IN (SELECT lane FROM own) GROUP BY holds, standing)
    INSERT INTO shards (alert_id, lane, standing, subscription_ids, outcomes, waiting, held,
                        claim, tries, accepted, gone, refused, failed, expired, recalled)
    SELECT :alert, lane, standing, ids[first:last],
           decode(repeat(CASE WHEN holds THEN '{Outcome.HELD:02x}' ELSE '00' END, last - first + 1), 'hex'),
           CASE WHEN holds THEN 0 ELSE last - first + 1 END, CASE WHEN holds THEN last - first + 1 ELSE 0 END,
           0, 0, 0, 0, 0, 0, 0, 0
    FROM pages, LATERAL (SELECT CASE standing WHEN 0 THEN :size ELSE LEAST(:size, {FEWER}) END AS size) AS page,
         generate_series(1, cardinality(ids), size) AS first, LEAST(first + size - 1, cardinality(ids)) AS last
    RETURNING id, lane, cardinality(subscription_ids) AS size, waiting, standing
"""

# Less those whom the ledger has already: planning twice is harmless, and an alert that gains a topic reaches only whom
# it has not reached. (Left out of an alert's first plan: with a million readers it takes a third of a second.)
_BUT_THOSE_TOLD = "EXCEPT SELECT unnest(subscription_ids) FROM shards WHERE alert_id = :alert"


def _statements(**parts: str) -> tuple[TextClause, TextClause]:
    """The first plan of an alert, and every later one."""
    return text(_WRITE.format(but="", **parts)), text(_WRITE.format(but=_BUT_THOSE_TOLD, **parts))


_PLAN = _statements(
    wants=f"NOT ({_IS_PAUSED})",
    audience=_FOLLOWERS,
    holds=f"({_IS_LEVEL_OFF}) OR ({_IS_QUIET}) OR ({_IS_SATED})",
)

# They have the wrong text on their screens, so what they follow, pause or limit since makes no difference.
_TOLD = f"""
            SELECT told.id
            FROM shards CROSS JOIN LATERAL unnest(subscription_ids) WITH ORDINALITY AS told (id, place)
            WHERE alert_id = ANY(CAST(:wrong AS uuid[])) AND accepted > 0
              AND get_byte(outcomes, told.place::int - 1) = {Outcome.ACCEPTED:d}
    """
_PLAN_CORRECTION = _statements(wants="true", holds="false", audience=_TOLD)

_PLAN_FOR_EDITOR = _statements(
    wants="true",
    holds="false",
    audience="SELECT subscription_id FROM editor_browsers WHERE editor_id = :editor",
)

_PLAN_WELCOME = _statements(wants="true", holds="false", audience="SELECT unnest(CAST(:newcomers AS bigint[]))")

_COUNT = text(f"""
    WITH {_SATED}
    SELECT lane, reason, count(*) FROM (
        SELECT lane, CASE WHEN {_IS_PAUSED} THEN 'paused' WHEN {_IS_LEVEL_OFF} THEN 'level'
                          WHEN {_IS_QUIET} THEN 'quiet_hours' WHEN {_IS_SATED} THEN 'daily_limit'
                          ELSE 'rings' END AS reason
        FROM subscriptions WHERE ended_at IS NULL AND id = ANY (ARRAY({_FOLLOWERS}))
    ) AS readers GROUP BY lane, reason
""")

_COUNT_TOLD = text(f"""
    SELECT lane, count(*) FROM subscriptions WHERE ended_at IS NULL AND id = ANY (ARRAY({_TOLD})) GROUP BY lane
""")

# Sorting and counting a million readers on disk, in the usual 4 MB, takes longer than the rest of the plan.
_ENOUGH_MEMORY = text("SET LOCAL work_mem = '256MB'")


async def plan(
    session: AsyncSession,
    alert_id: UUID,
    topic_ids: Collection[int],
    now: datetime,
    *,
    level: str = "normal",
    size: int = SIZE,
) -> list[Planned]:
    """Write the audience down: one statement, each reader once however many of the topics they follow."""
    walls = await _walls(session, now)
    return await _write(session, _PLAN, alert_id, now, size, topics=list(topic_ids), level=level, **walls)


async def plan_correction(
    session: AsyncSession, alert_id: UUID, wrong: Collection[UUID], now: datetime, *, size: int = SIZE
) -> list[Planned]:
    """Write down exactly those whom the ledger knows to have got one of the wrong alerts, each once."""
    return await _write(session, _PLAN_CORRECTION, alert_id, now, size, wrong=list(wrong))


async def plan_for_editor(session: AsyncSession, alert_id: UUID, editor_id: int, now: datetime) -> list[Planned]:
    """Write down an editor's own browsers."""
    return await _write(session, _PLAN_FOR_EDITOR, alert_id, now, SIZE, editor=editor_id)


async def plan_welcome(
    session: AsyncSession, alert_id: UUID, newcomers: Collection[int], now: datetime
) -> list[Planned]:
    """Write down readers who have just come."""
    return await _write(session, _PLAN_WELCOME, alert_id, now, SIZE, newcomers=list(newcomers))


async def _write(
    session: AsyncSession,
    statements: tuple[TextClause, TextClause],
    alert_id: UUID,
    now: datetime,
    size: int,
    **more: object,
) -> list[Planned]:
    await session.execute(_ENOUGH_MEMORY)
    was_planned = await session.scalar(select(exists().where(Shard.alert_id == alert_id)))
    statement = statements[1 if was_planned else 0]
    rows = await session.execute(statement, {"alert": alert_id, "now": now, "size": size, **more})
    return [Planned(*row) for row in rows]


async def audience(session: AsyncSession, topic_ids: Collection[int], level: str, now: datetime) -> Audience:
    """Who would get an alert that was planned now, without writing anything."""
    await session.execute(_ENOUGH_MEMORY)
    walls = await _walls(session, now)
    rows = await session.execute(_COUNT, {"topics": list(topic_ids), "level": level, "now": now, **walls})
    reasons: Counter[str] = Counter()
    lanes: Counter[str] = Counter()
    for lane, reason, count in rows:
        reasons[reason] += count
        if reason == "rings":
            lanes[lane] += count
    held = {reason: reasons[reason] for reason in ("paused", "level", "quiet_hours", "daily_limit")}
    return Audience(readers=reasons.total(), rings=reasons["rings"], lanes=dict(lanes.most_common()), **held)


async def audience_of_correction(session: AsyncSession, wrong: Collection[UUID]) -> Audience:
    """Who would get a correction that was planned now: nothing of their own holds it back."""
    lanes = {lane: count for lane, count in await session.execute(_COUNT_TOLD, {"wrong": list(wrong)})}
    total = sum(lanes.values())
    return Audience(readers=total, rings=total, paused=0, level=0, quiet_hours=0, daily_limit=0, lanes=lanes)


async def _walls(session: AsyncSession, now: datetime) -> dict[str, object]:
    """What the clock says in each time zone in which somebody has quiet hours.

    A zone that was stored by a machine with a newer list, and that this one lacks, has no clock: the quiet hours of its
    readers do not hold, and everybody gets the alert.
    """
    zones = (
        await session.scalars(text("SELECT DISTINCT time_zone FROM subscriptions WHERE quiet_from IS NOT NULL"))
    ).all()
    return {"zones": list(zones), "clocks": [clock_in(zone, now) for zone in zones]}


async def take(session: AsyncSession, shard_id: int) -> Shard | None:
    """The shard, now ours: whoever had it before can no longer write to it."""
    return await session.scalar(
        update(Shard).where(Shard.id == shard_id).values(claim=Shard.claim + 1).returning(Shard)
    )


# `before` is of the moment at which the statement began. Between that and its update only a recall can have written the
# page, which leaves `accepted` alone.
_RECORD = text(f"""
    WITH page AS (
        UPDATE shards SET outcomes = :outcomes, tries = :tries, {", ".join(f"{label} = :{label}" for label in COUNTED)}
        FROM alerts, shards AS before
        WHERE shards.id = :id AND shards.claim = :claim AND before.id = shards.id AND alerts.id = shards.alert_id
        RETURNING shards.id, state, shards.accepted - before.accepted AS more
    ), beat AS (
        INSERT INTO beats (shard_id, at, accepted) SELECT id, clock_timestamp(), more FROM page WHERE more > 0
    )
    SELECT state FROM page
""")


async def record(
    session: AsyncSession, shard_id: int, claim: int, outcomes: bytes | bytearray, tries: int
) -> str | None:
    """Write the page and its beat. The state of its alert, or None if another worker took the page meanwhile."""
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


async def answered(session: AsyncSession, alert_id: UUID, lane: str) -> int:
    """How many recipients of an alert in a lane, those on probation aside, wait no more."""
    of_lane = (Shard.alert_id == alert_id, Shard.lane == lane, Shard.standing == Standing.PROVEN)
    sums = select(func.sum(func.cardinality(Shard.subscription_ids)) - func.sum(Shard.waiting)).where(*of_lane)
    return int(await session.scalar(sums) or 0)


async def open_shards(session: AsyncSession, alert_id: UUID) -> Sequence[int]:
    return (await session.scalars(select(Shard.id).where(Shard.alert_id == alert_id, Shard.waiting > 0))).all()
