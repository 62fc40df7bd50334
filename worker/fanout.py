"""Fan-out: shard → envelopes → outcomes. Read, seal, push, judge, record."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import queue
from app.database import Sessions, transaction
from app.domain import shards, subscriptions
from app.domain.alerts import Alert, AlertState, Level, alert_by_id, close_if_done
from app.domain.lanes import lane_for_change, too_many_endings
from app.domain.messages import message, topic_header
from app.domain.outcomes import Answer, Cause, Outcome, Verdict, judge, next_try
from app.domain.shards import Shard
from app.domain.subscriptions import Recipient
from app.vapid import Signer
from worker.pace import Pace
from worker.push import Envelope, Errand
from worker.seal import seal

log = logging.getLogger("newsbell.fanout")

# How much of a worker's sending a crash may repeat.
CHECKPOINT = 0.4  # seconds
# One strange endpoint may refuse our token for reasons of its own; this many, and this share, may not.
DOUBTS, DOUBTFUL = 5, 0.05
STRIKING = (Cause.UNCLEAR, Cause.REDIRECTED)


class Pushes(Protocol):
    """What fan-out needs of worker/push.py."""

    def send(
        self, envelopes: Iterator[tuple[int, Envelope | Answer]], *, origin: str, urgent: bool = False
    ) -> Errand: ...


@dataclass
class Run:
    """One pass over a shard: what is known of its recipients so far."""

    shard: Shard
    alert: Alert
    recipients: Mapping[int, Recipient]
    outcomes: bytearray
    token: str = ""  # The Authorization header of this pass.
    gone: list[Recipient] = field(default_factory=list)
    struck: list[Recipient] = field(default_factory=list)
    forgiven: list[Recipient] = field(default_factory=list)
    doubted: list[int] = field(default_factory=list)  # Places where our authorisation was refused.
    causes: Counter[Cause] = field(default_factory=Counter)
    asked: timedelta | None = None  # The longest Retry-After of this pass.

    @property
    def waiting(self) -> list[int]:
        return [place for place, outcome in enumerate(self.outcomes) if outcome == Outcome.WAITING]

    @property
    def doubtful(self) -> bool:
        return len(self.doubted) >= DOUBTS and len(self.doubted) > DOUBTFUL * self.causes.total()

    def settle(self, outcome: Outcome) -> None:
        for place in self.waiting:
            self.outcomes[place] = outcome

    def recipient(self, place: int) -> Recipient | None:
        return self.recipients.get(self.shard.subscription_ids[place])

    def note(self, place: int, verdict: Verdict) -> None:
        self.outcomes[place] = verdict.outcome
        self.causes[verdict.cause] += 1
        recipient = self.recipients[self.shard.subscription_ids[place]]
        if verdict.outcome is Outcome.GONE:
            self.gone.append(recipient)
        elif verdict.cause in STRIKING:
            self.struck.append(recipient)
        elif verdict.outcome is Outcome.ACCEPTED and recipient.strikes:
            self.forgiven.append(recipient)
        elif verdict.cause is Cause.OUR_AUTHORISATION:
            self.doubted.append(place)
        if verdict.retry_after is not None:
            self.asked = max(verdict.retry_after, self.asked or verdict.retry_after)


@dataclass(frozen=True)
class Ahead:
    """What one must know of a shard to see whether it can be sent now."""

    lane: str
    alert_state: AlertState
    level: Level
    expires_at: datetime

    def is_over(self, now: datetime) -> bool:
        return self.alert_state is AlertState.RECALLED or self.expires_at <= now


class Fanout:
    """Sends shards. `draining` is set when the worker was asked to stop: what is in flight is finished, no more."""

    def __init__(self, sessions: Sessions, pushes: Pushes, signer: Signer, pace: Pace, draining: asyncio.Event) -> None:
        self.sessions, self.pushes, self.signer, self.pace, self.draining = sessions, pushes, signer, pace, draining

    async def send_shard(self, shard_id: int) -> None:
        ahead = await self._look_ahead(shard_id)
        if ahead is None:
            return
        now = datetime.now(UTC)
        closed = None if ahead.is_over(now) else self.pace.closed_until(ahead.lane, now)
        if closed is not None:
            await self._come_back(shard_id, ahead, closed + timedelta(seconds=random.random()))
            return
        async with self.pace.place(ahead.lane, urgent=ahead.level is Level.BREAKING) as free:
            if free:
                await self._pass(shard_id)
                return
        await self._come_back(shard_id, ahead, now + timedelta(seconds=1 + random.random()))

    async def _look_ahead(self, shard_id: int) -> Ahead | None:
        query = select(Shard.lane, Alert).join(Alert, Alert.id == Shard.alert_id).where(Shard.id == shard_id)
        async with transaction(self.sessions) as session:
            row = (await session.execute(query.where(Shard.waiting > 0))).one_or_none()
        return Ahead(row[0], row[1].state, row[1].level, row[1].expires_at) if row else None

    async def _come_back(self, shard_id: int, ahead: Ahead, at: datetime) -> None:
        async with transaction(self.sessions) as session:
            await self._enqueue(session, shard_id, ahead.level, min(at, ahead.expires_at))

    async def _pass(self, shard_id: int) -> None:
        run = await self._open(shard_id)
        if run is None:
            return
        if run.alert.state is AlertState.RECALLED:
            run.settle(Outcome.RECALLED)
        elif run.alert.expires_at <= datetime.now(UTC):
            run.settle(Outcome.REFUSED if self.pace.paused(run.shard.lane) else Outcome.EXPIRED)
        elif not self.draining.is_set() and not await self._send(run):
            return  # another worker has taken the shard
        if run.doubted:
            await self._doubt(run)
        await self._close(run)

    async def _open(self, shard_id: int) -> Run | None:
        async with transaction(self.sessions) as session:
            shard = await shards.take(session, shard_id)
            if shard is None or shard.waiting == 0:
                return None
            alert = await alert_by_id(session, shard.alert_id)
            run = Run(shard, alert, {}, bytearray(shard.outcomes))
            ids = [shard.subscription_ids[place] for place in run.waiting]
            run.recipients = await subscriptions.recipients(session, ids)
        for place in run.waiting:
            if run.recipient(place) is None:  # stopped since the alert was planned
                run.outcomes[place] = Outcome.GONE
        return run

    async def _send(self, run: Run) -> bool:
        """Push to everybody who waits, with a checkpoint every half second; False if the shard is no longer ours."""
        lane, host = run.shard.lane, urlsplit(run.shard.lane).hostname or ""
        errand = self.pushes.send(self._envelopes(run), origin=lane, urgent=run.alert.level is Level.BREAKING)
        async with aclosing(errand.answers(every=CHECKPOINT)) as batches:
            async for answers in batches:
                now = datetime.now(UTC)
                for place, answer in answers:
                    verdict = judge(host, answer, now)
                    run.note(place, verdict)
                    self.pace.note(lane, verdict)
                if not await self._checkpoint(run):
                    return False
                if self._should_stop(run, now):
                    errand.stop()
        return True

    def _should_stop(self, run: Run, now: datetime) -> bool:
        return (
            self.draining.is_set()
            or run.doubtful
            or run.alert.state is AlertState.RECALLED
            or self.pace.closed_until(run.shard.lane, now) is not None
        )

    def _envelopes(self, run: Run) -> Iterator[tuple[int, Envelope | Answer]]:
        """Drawn on the pusher's thread, one by one, as places come free: sealing and sending overlap."""
        alert, now = run.alert, datetime.now(UTC)
        clear = message(
            alert=alert.id,
            thread=alert.thread,
            title=alert.title,
            body=alert.body,
            url=alert.url,
            image=alert.image,
            level=alert.level,
        )
        run.token = self.signer.authorization(run.shard.lane, now)
        headers: dict[str, list[str]] = {}
        for place in run.waiting:
            recipient = run.recipient(place)
            assert recipient is not None  # _open() has settled those who stopped
            if recipient.lane not in headers:  # nearly always the shard's; a renewal may have changed it meanwhile
                headers[recipient.lane] = self._headers(alert, recipient.lane, now)
            try:
                body = seal(recipient.p256dh, recipient.auth, clear)
            except ValueError:
                yield place, Answer(0, trouble="bad_keys")
                continue
            yield place, Envelope(recipient.endpoint, headers[recipient.lane], body)

    def _headers(self, alert: Alert, lane: str, now: datetime) -> list[str]:
        """RFC 8030 section 5; the time to live is what is left of the alert's."""
        return [
            f"Authorization: {self.signer.authorization(lane, now)}",
            f"TTL: {max(int((alert.expires_at - now).total_seconds()), 1)}",
            f"Urgency: {alert.level.urgency}",
            f"Topic: {topic_header(alert.thread)}",
            "Content-Encoding: aes128gcm",
            "Content-Type: application/octet-stream",
        ]

    async def _doubt(self, run: Run) -> None:
        """Our authorisation was refused: try a fresh token once; if that is refused too, a person must look."""
        now, lane = datetime.now(UTC), run.shard.lane
        if self.signer.renew(lane, run.token, now):
            again = True
        elif again := run.doubtful:
            await self.pace.pause(lane, REFUSED, now)
        else:
            log.error("ALARM: %s refused our authorisation for %d of its readers", lane, len(run.doubted))
        if again:  # they wait, for the fresh token or for the person
            for place in run.doubted:
                run.outcomes[place] = Outcome.WAITING

    async def _checkpoint(self, run: Run) -> bool:
        async with transaction(self.sessions) as session:
            if not await self._record(session, run, run.shard.tries):
                return False
            state = await session.scalar(select(Alert.state).where(Alert.id == run.alert.id))
        run.alert.state = state or AlertState.RECALLED
        return True

    async def _close(self, run: Run) -> None:
        """The last word on this pass: the page, and the next pass if somebody still waits."""
        now = datetime.now(UTC)
        async with transaction(self.sessions) as session:
            if run.alert.state is AlertState.RECALLED:
                run.settle(Outcome.RECALLED)
            tries = run.shard.tries + (0 if self.draining.is_set() else 1)
            if not await self._record(session, run, tries):
                return
            if run.waiting:
                await self._try_later(session, run, tries, now)
        self._say(run)
        if not run.waiting:
            async with transaction(self.sessions) as session:
                if await close_if_done(session, run.alert.id, now):
                    log.info("alert %s: finished", run.alert.id)

    async def _record(self, session: AsyncSession, run: Run, tries: int) -> bool:
        """The page of the ledger, and what the answers mean for the subscriptions, in one transaction."""
        if not await shards.record(session, run.shard.id, run.shard.claim, run.outcomes, tries):
            return False
        now = datetime.now(UTC)
        if run.gone and await self._may_end(session, run, now):
            await subscriptions.end(session, run.gone, "gone", now)
        if run.struck:
            await subscriptions.strike(session, [recipient.id for recipient in run.struck], now)
        if run.forgiven:
            await subscriptions.forgive(session, [recipient.id for recipient in run.forgiven])
        run.gone, run.struck, run.forgiven = [], [], []
        return True

    async def _may_end(self, session: AsyncSession, run: Run, now: datetime) -> bool:
        """Not if this alert alone would end an implausible share of the lane: then a person is asked."""
        lane = await lane_for_change(session, run.shard.lane, now)
        if lane.endings_stopped_at is None:
            of_lane = (Shard.alert_id == run.alert.id, Shard.lane == run.shard.lane)
            sums = select(func.sum(Shard.gone), func.sum(func.cardinality(Shard.subscription_ids))).where(*of_lane)
            ended, recipients = (await session.execute(sums)).one()
            if too_many_endings(ended, recipients):
                lane.endings_stopped_at = now
                lane.alarm = MANY_LEFT.format(ended=ended, recipients=recipients)
                log.error("ALARM: %s: %s", lane.origin, lane.alarm)
        return lane.endings_stopped_at is None

    async def _try_later(self, session: AsyncSession, run: Run, tries: int, now: datetime) -> None:
        """Not after the alert's end: then the next pass is what writes `expired`."""
        wait = timedelta() if self.draining.is_set() else next_try(tries, run.asked, random.random())
        await self._enqueue(session, run.shard.id, run.alert.level, min(now + wait, run.alert.expires_at))

    async def _enqueue(self, session: AsyncSession, shard_id: int, level: Level, at: datetime) -> None:
        await queue.enqueue(
            session,
            queue.SEND_SHARD,
            at=at,
            priority=level.priority,
            breaking=level is Level.BREAKING,
            shard_id=shard_id,
        )

    def _say(self, run: Run) -> None:
        told = ", ".join(f"{count} {cause}" for cause, count in run.causes.most_common()) or "nothing sent"
        log.info("alert %s: shard %d at %s: %s", run.alert.id, run.shard.id, run.shard.lane, told)


REFUSED = (
    "it refuses our authorisation, also with a fresh token. Check this machine's clock, NEWSBELL_VAPID_SUBJECT and "
    "the VAPID key, then: ./newsbell lane resume."
)
MANY_LEFT = (
    "one alert found {ended:,} of {recipients:,} readers gone. They were not ended. ./newsbell lane confirm ends them, "
    "./newsbell lane dismiss keeps them."
)
