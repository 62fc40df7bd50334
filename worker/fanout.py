"""Fan-out: shard → envelopes → outcomes. Read, seal, push, judge, record."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import queue
from app.database import Sessions, transaction
from app.domain import shards, subscriptions
from app.domain.alerts import Alert, AlertState, alert_by_id, close_if_done
from app.domain.messages import message, topic_header
from app.domain.outcomes import Answer, Cause, Outcome, judge, next_try
from app.domain.shards import Shard
from app.domain.subscriptions import Recipient
from app.vapid import Signer
from worker.push import Envelope, Errand
from worker.seal import seal

log = logging.getLogger("newsbell.fanout")

# How much of a worker's sending a crash may repeat.
CHECKPOINT = 0.4  # seconds


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
    host: str
    gone: list[Recipient] = field(default_factory=list)
    causes: Counter[Cause] = field(default_factory=Counter)
    asked: timedelta | None = None  # The longest Retry-After of this pass.

    @property
    def waiting(self) -> list[int]:
        return [place for place, outcome in enumerate(self.outcomes) if outcome == Outcome.WAITING]

    def settle(self, outcome: Outcome) -> None:
        for place in self.waiting:
            self.outcomes[place] = outcome

    def recipient(self, place: int) -> Recipient | None:
        return self.recipients.get(self.shard.subscription_ids[place])


class Fanout:
    """Sends shards. `draining` is set when the worker was asked to stop: what is in flight is finished, no more."""

    def __init__(self, sessions: Sessions, pushes: Pushes, signer: Signer, draining: asyncio.Event) -> None:
        self.sessions, self.pushes, self.signer, self.draining = sessions, pushes, signer, draining

    async def send_shard(self, shard_id: int) -> None:
        run = await self._open(shard_id)
        if run is None:
            return
        if run.alert.state is AlertState.RECALLED:
            run.settle(Outcome.RECALLED)
        elif run.alert.expires_at <= datetime.now(UTC):
            run.settle(Outcome.EXPIRED)
        elif not self.draining.is_set() and not await self._send(run):
            return  # another worker has taken the shard
        await self._close(run)

    async def _open(self, shard_id: int) -> Run | None:
        async with transaction(self.sessions) as session:
            shard = await shards.take(session, shard_id)
            if shard is None or shard.waiting == 0:
                return None
            alert = await alert_by_id(session, shard.alert_id)
            run = Run(shard, alert, {}, bytearray(shard.outcomes), urlsplit(shard.lane).hostname or "")
            ids = [shard.subscription_ids[place] for place in run.waiting]
            run.recipients = await subscriptions.recipients(session, ids)
        for place in run.waiting:
            if run.recipient(place) is None:  # stopped since the alert was planned
                run.outcomes[place] = Outcome.GONE
        return run

    async def _send(self, run: Run) -> bool:
        """Push to everybody who waits, with a checkpoint every half second; False if the shard is no longer ours."""
        errand = self.pushes.send(self._envelopes(run), origin=run.shard.lane, urgent=run.alert.level.urgency == "high")
        async for answers in errand.answers(every=CHECKPOINT):
            for place, answer in answers:
                self._note(run, place, answer)
            if self.draining.is_set():
                errand.stop()
            if not await self._checkpoint(run):
                errand.stop()
                return False
            if run.alert.state is AlertState.RECALLED:
                errand.stop()
        return True

    def _envelopes(self, run: Run) -> Iterator[tuple[int, Envelope | Answer]]:
        """Drawn on the pusher's thread, one by one, as places come free: sealing and sending overlap."""
        alert, now = run.alert, datetime.now(UTC)
        clear = message(
            alert=alert.id,
            title=alert.title,
            body=alert.body,
            url=alert.url,
            image=alert.image,
            level=alert.level,
        )
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
            f"Topic: {topic_header(alert.id)}",
            "Content-Encoding: aes128gcm",
            "Content-Type: application/octet-stream",
        ]

    def _note(self, run: Run, place: int, answer: Answer) -> None:
        verdict = judge(run.host, answer, datetime.now(UTC))
        run.outcomes[place] = verdict.outcome
        run.causes[verdict.cause] += 1
        if verdict.outcome is Outcome.GONE and (recipient := run.recipient(place)):
            run.gone.append(recipient)
        if verdict.retry_after is not None:
            run.asked = max(verdict.retry_after, run.asked or timedelta())

    async def _checkpoint(self, run: Run) -> bool:
        async with transaction(self.sessions) as session:
            if not await self._record(session, run, run.shard.tries):
                return False
            state = await alert_state(session, run.alert)
        run.alert.state = state
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
        if not await shards.record(session, run.shard.id, run.shard.claim, run.outcomes, tries):
            return False
        if run.gone:
            await subscriptions.end(session, run.gone, "gone", datetime.now(UTC))
            run.gone = []
        return True

    async def _try_later(self, session: AsyncSession, run: Run, tries: int, now: datetime) -> None:
        """Not after the alert's end: then the next pass is what writes `expired`."""
        wait = timedelta() if self.draining.is_set() else next_try(tries, run.asked, random.random())
        await queue.enqueue(
            session,
            queue.SEND_SHARD,
            at=min(now + wait, run.alert.expires_at),
            priority=run.alert.level.priority,
            shard_id=run.shard.id,
        )

    def _say(self, run: Run) -> None:
        told = ", ".join(f"{count} {cause}" for cause, count in run.causes.most_common()) or "nothing sent"
        log.info("alert %s: shard %d at %s: %s", run.alert.id, run.shard.id, run.shard.lane, told)


async def alert_state(session: AsyncSession, alert: Alert) -> AlertState:
    return await session.scalar(select(Alert.state).where(Alert.id == alert.id)) or AlertState.RECALLED
