"""Fan-out: shard → envelopes → outcomes. Read, seal, push, judge, record."""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, heart, queue
from app.database import Sessions, transaction
from app.domain import probation, shards, subscriptions
from app.domain.alerts import Alert, AlertState, Level, close_if_done
from app.domain.lanes import lane_for_change, too_many_endings
from app.domain.messages import LARGEST, SHORT, message, topic_header
from app.domain.outcomes import ACCEPTED, Answer, Cause, Outcome, Remedy, judge
from app.domain.probation import Standing
from app.domain.proofs import Proofs
from app.domain.receipts import sample
from app.domain.shards import VARIOUS, Shard
from app.vapid import RECEIPTS, Signer
from worker.pace import Pace
from worker.push import Errand
from worker.seal import seal
from worker.shard_run import LONG_ENOUGH, STRIKING, Job, Run
from worker.wire import CREATED, Envelope

log = logging.getLogger("newsbell.fanout")

# How much of a worker's sending a crash may repeat.
WATCH = 0.5  # seconds between two looks whether what is under way is still wanted
CHECKPOINT = 0.3  # seconds; on a busy machine it takes a fifth of one to write


class Pushes(Protocol):
    """What fan-out needs of worker/push.py."""

    def send(
        self,
        envelopes: Iterator[tuple[int, Envelope | Answer]],
        *,
        origin: str,
        urgent: bool = False,
        on_probation: bool = False,
    ) -> Errand: ...


class Fanout:
    """Sends shards. `draining` is set when the worker was asked to stop: what is in flight is finished, no more."""

    def __init__(self, sessions: Sessions, pushes: Pushes, signer: Signer, pace: Pace, draining: asyncio.Event) -> None:
        self.sessions, self.pushes, self.signer, self.pace, self.draining = sessions, pushes, signer, pace, draining
        self.proofs = Proofs(signer.key.secret_for(RECEIPTS))
        self.under_way: defaultdict[UUID, list[Run]] = defaultdict(list)  # by alert

    async def watch(self) -> None:
        """For as long as the worker lives: what is under way stops within a second of a recall, however slow its lane.

        (A checkpoint hears of it as well, but a service that takes its time gives no reason for one.)
        """
        while True:
            await asyncio.sleep(WATCH)
            with suppress(DBAPIError, PoolTimeout, OSError):
                await self._stop_what_is_over(clock.now())
            heart.beat("recalls")

    async def _stop_what_is_over(self, now: datetime) -> None:
        runs = [run for each in self.under_way.values() for run in each]
        if not runs:
            return
        over = select(Alert.id).where(Alert.id.in_(self.under_way), Alert.state == AlertState.RECALLED)
        async with transaction(self.sessions) as session:
            recalled = set(await session.scalars(over))
        for run in runs:
            if run.alert.id in recalled or run.alert.expires_at <= now:
                run.stop()

    async def send_shard(
        self, shard_id: int, lane: str, level: str, standing: int = Standing.PROVEN, excused: bool = False
    ) -> None:
        """The job. It names lane, level and standing, so that what cannot be sent now costs no look at the shard."""
        job = Job(shard_id, lane, Level(level), standing, excused)
        opens = self.pace.closed_until(lane, clock.now())
        if opens is None:
            urgent, on_probation = job.level is Level.BREAKING, standing != Standing.PROVEN
            async with self.pace.place(lane, urgent=urgent, on_probation=on_probation) as place:
                if place:
                    await self._pass(job, drawn_out=place.leave)
                    return
        rest = timedelta(seconds=random.random() + (standing != Standing.PROVEN))
        if not await self._put_off(job, (opens or clock.now()) + rest):
            await self._pass(job)  # nothing is sent any more, so no place is needed

    async def _put_off(self, job: Job, at: datetime) -> bool:
        """False if the alert is over: recalled, or too old."""
        query = select(Alert).join(Shard, Shard.alert_id == Alert.id).where(Shard.id == job.shard_id)
        async with transaction(self.sessions) as session:
            alert = await session.scalar(query)
            if alert is None or alert.state is AlertState.RECALLED or alert.expires_at <= clock.now():
                return False
            await self._enqueue(session, job, min(at, alert.expires_at))
        return True

    async def _pass(self, job: Job, drawn_out: Callable[[], None] = lambda: None) -> None:
        run = await self._open(job.shard_id)
        if run is None:
            return
        run.drawn_out, run.excused = drawn_out, job.excused
        with self._listed(run):
            await self._work_off(run)
        if not run.waiting and run.alert.id not in self.under_way:  # otherwise the last of its runs looks
            async with transaction(self.sessions) as session:
                if await close_if_done(session, run.alert.id, clock.now()):
                    log.info("alert %s: finished", run.alert.id)

    async def _work_off(self, run: Run) -> None:
        if run.alert.state is AlertState.RECALLED:
            run.settle(Outcome.RECALLED)
        elif run.alert.expires_at <= clock.now():
            run.settle(Outcome.REFUSED if self.pace.paused(run.shard.lane) else Outcome.EXPIRED)
        elif not self.draining.is_set() and not await self._send(run):
            return  # another worker has taken the shard
        if run.doubted:
            await self._doubt(run)
        await self._close(run)
        await self._raise_alarm(run)

    async def _raise_alarm(self, run: Run) -> None:
        """The last pass of an alert may be to a handful, and all of them odd: of its lane they are few."""
        for causes, sentence in ALARMS:
            if run.has_many(causes):
                async with transaction(self.sessions) as session:
                    answered = await shards.answered(session, run.alert.id, run.shard.lane)
                if run.has_many(causes, of=answered):
                    await self.pace.alarm(run.shard.lane, sentence, clock.now())
                return

    async def _open(self, shard_id: int) -> Run | None:
        async with transaction(self.sessions) as session:
            shard = await shards.take(session, shard_id)
            if shard is None or shard.waiting == 0:
                return None
            run = Run(shard, await session.get_one(Alert, shard.alert_id), bytearray(shard.outcomes))
            ids = {place: shard.subscription_ids[place] for place in run.waiting}
            living = await subscriptions.recipients(session, ids.values())
        run.expect({place: living[id_] for place, id_ in ids.items() if id_ in living})
        for place in ids.keys() - run.recipients.keys():  # stopped since the alert was planned
            run.outcomes[place] = Outcome.GONE
        return run

    async def _send(self, run: Run) -> bool:
        """Push to everybody who waits; False if the shard is no longer ours."""
        if not await self._push(run, self._everybody(run)):
            return False
        if run.remedies and not self._should_stop(run, clock.now()):
            return await self._push(run, self._remedied(run))
        return True

    async def _push(self, run: Run, envelopes: Iterator[tuple[int, Envelope | Answer]]) -> bool:
        """One errand, with checkpoints on the way."""
        urgent = run.alert.level is Level.BREAKING
        on_probation = run.shard.standing != Standing.PROVEN
        run.errand = errand = self.pushes.send(
            envelopes, origin=run.shard.lane, urgent=urgent, on_probation=on_probation
        )
        async with aclosing(errand.answers(every=CHECKPOINT)) as batches:
            async for answers in batches:
                now = clock.now()
                self._judge(run, answers, now)
                if errand.over and not run.remedies:
                    continue  # what closes the run records this, too
                if not await self._checkpoint(run):
                    return False
                if self._should_stop(run, now):
                    errand.stop()
        return True

    def _judge(self, run: Run, answers: Sequence[tuple[int, Answer]], now: datetime) -> None:
        """What the answers mean for the recipients, and those of the proven for the lane."""
        lane = run.shard.lane
        before = len(run.doubted)
        taken = run.note_accepted([place for place, answer in answers if answer is CREATED])
        self.pace.note(lane, ACCEPTED, times=taken)
        for place, answer in answers:
            if answer is not CREATED:
                verdict = judge(urlsplit(run.recipients[place].lane).hostname or "", answer, now)
                if run.note(place, verdict):
                    self.pace.note(lane, verdict)
        refused = 0 if run.excused else len(run.doubted) - before
        if taken or (refused and run.token == self.signer.authorization(lane, now)):
            self.pace.note_token(lane, taken=taken, refused=refused)

    @contextmanager
    def _listed(self, run: Run) -> Iterator[None]:
        self.under_way[run.alert.id].append(run)
        try:
            yield
        finally:
            self.under_way[run.alert.id].remove(run)
            if not self.under_way[run.alert.id]:
                del self.under_way[run.alert.id]

    def _should_stop(self, run: Run, now: datetime) -> bool:
        return (
            self.draining.is_set()
            or self.pace.is_refused(run.shard.lane)
            or run.alert.state is AlertState.RECALLED
            or run.alert.expires_at <= now
            or self.pace.closed_until(run.shard.lane, now) is not None
        )

    def _everybody(self, run: Run) -> Iterator[tuple[int, Envelope | Answer]]:
        """Everybody who waits."""
        run.clear, run.short = _message(run.alert, LARGEST), _message(run.alert, SHORT)
        run.token = self.signer.authorization(run.shard.lane, clock.now())
        yield from self._envelopes(run, run.recipients)
        if not run.remedies:
            run.drawn_out()

    def _remedied(self, run: Run) -> Iterator[tuple[int, Envelope | Answer]]:
        """Once more to those whose service did not take it, the way it seems to want it."""
        for remedy in Remedy:
            places = [place for place, wanted in run.remedies.items() if wanted is remedy]
            yield from self._envelopes(run, places, remedy)
        run.drawn_out()

    def _envelopes(
        self, run: Run, places: Iterable[int], remedy: Remedy | None = None
    ) -> Iterator[tuple[int, Envelope | Answer]]:
        """Drawn one by one, as places come free: sealing and sending overlap."""
        now = clock.now()
        stamped = self.proofs.stamper(run.short if remedy is Remedy.SHORTER else run.clear, run.alert.id)
        headers: dict[str, list[str]] = {}
        for place in places:
            recipient = run.recipients[place]
            if run.shard.lane == VARIOUS and self.pace.closed_until(recipient.lane, now):
                continue
            if recipient.lane not in headers:  # nearly always the shard's; a renewal may have changed it meanwhile
                headers[recipient.lane] = self._headers(run.alert, recipient.lane, now, remedy)
            try:
                body = seal(recipient.p256dh, recipient.auth, stamped())
            except ValueError:
                yield place, Answer(0, trouble="bad_keys")
                continue
            yield place, Envelope(recipient.endpoint, headers[recipient.lane], body)

    def _headers(self, alert: Alert, lane: str, now: datetime, remedy: Remedy | None) -> list[str]:
        """RFC 8030 section 5; the time to live is what is left of the alert's."""
        left = int((alert.expires_at - now).total_seconds())
        headers = [
            f"Authorization: {self.signer.authorization(lane, now)}",
            f"TTL: {max(left, LONG_ENOUGH if remedy is Remedy.LONGER_TTL else 1)}",
            f"Urgency: {alert.level.urgency}",
            "Content-Encoding: aes128gcm",
            "Content-Type: application/octet-stream",
        ]
        if remedy is not Remedy.WITHOUT_TOPIC:
            headers.append(f"Topic: {topic_header(alert.thread)}")
        return headers

    async def _doubt(self, run: Run) -> None:
        """Our authorisation was refused: try a fresh token once; if that is refused too, a person must look."""
        now, lane = clock.now(), run.shard.lane
        if self.signer.renew(lane, run.token, now):
            run.excused = run.has_asked_all and not self.pace.is_refused(lane)
            self.pace.try_fresh_token(lane)
            return  # they wait for the fresh token
        if self.pace.is_refused(lane) or self.pace.paused(lane):
            await self.pace.pause(lane, REFUSED, now)
            return  # they wait for the person
        log.warning("%s refused our authorisation for %d of its readers", lane, len(run.doubted))
        for place in run.doubted:
            run.outcomes[place] = Outcome.REFUSED

    async def _checkpoint(self, run: Run) -> bool:
        async with transaction(self.sessions) as session:
            return await self._record(session, run, run.shard.tries)

    async def _close(self, run: Run) -> None:
        """The last word on this pass: the page, and the next pass if somebody still waits."""
        now = clock.now()
        tries = run.shard.tries + (0 if self.draining.is_set() else 1)
        if tries >= probation.TRIES:
            run.give_up_strangers()
        async with transaction(self.sessions) as session:
            if not await self._record(session, run, tries):
                return
            if run.waiting and run.alert.state is AlertState.RECALLED:
                run.settle(Outcome.RECALLED)
                await self._record(session, run, tries)
            elif run.waiting:
                await self._try_later(session, run, tries, now)
        self._say(run)

    async def _record(self, session: AsyncSession, run: Run, tries: int) -> bool:
        """The page of the ledger, and what the answers mean for the subscriptions, in one transaction.

        False if the page is no longer ours. If its alert was recalled, all that this worker sends of it stops.
        """
        state = await shards.record(session, run.shard.id, run.shard.claim, run.outcomes, tries)
        if state is None:
            return False
        run.alert.state = AlertState(state)
        if run.alert.state is AlertState.RECALLED:
            for each in self.under_way.get(run.alert.id, ()):
                each.stop()
        now = clock.now()
        if run.gone and await self._may_end(session, run, now):
            await subscriptions.end(session, run.gone, "gone", now)
        if run.struck and not run.strange:
            await subscriptions.strike(session, [recipient.id for recipient in run.struck], now)
        if run.forgiven:
            await subscriptions.forgive(session, [recipient.id for recipient in run.forgiven])
        run.gone, run.struck, run.forgiven = [], [], []
        await self._record_strangers(session, run, now)
        return True

    async def _record_strangers(self, session: AsyncSession, run: Run, now: datetime) -> None:
        """What the answers mean for those on probation. Nobody ends where a person is asked whether so many left."""
        if run.proven:
            await subscriptions.note_proven(session, run.proven, now)
        if gone := [recipient for recipient in run.strangers_gone if not self.pace.endings_stopped(recipient.lane)]:
            await subscriptions.end(session, gone, "gone", now)
        if run.vain:
            await subscriptions.note_vain(session, run.vain, now)
        run.proven, run.strangers_gone, run.vain = [], [], []

    async def _may_end(self, session: AsyncSession, run: Run, now: datetime) -> bool:
        """Not if this alert alone would end an implausible share of the lane: then a person is asked."""
        lane = await lane_for_change(session, run.shard.lane, now)
        if lane.endings_stopped_at is None:
            of_lane = (Shard.alert_id == run.alert.id, Shard.lane == run.shard.lane, Shard.standing == Standing.PROVEN)
            sums = select(func.sum(Shard.gone), func.sum(func.cardinality(Shard.subscription_ids))).where(*of_lane)
            ended, recipients = (await session.execute(sums)).one()
            if too_many_endings(ended, recipients):
                lane.endings_stopped_at = now
                lane.alarm = MANY_LEFT.format(ended=ended, recipients=recipients)
                log.error("ALARM: %s: %s", lane.origin, lane.alarm)
        return lane.endings_stopped_at is None

    async def _try_later(self, session: AsyncSession, run: Run, tries: int, now: datetime) -> None:
        """Not after the alert's end: then the next pass is what writes `expired`."""
        wait = timedelta() if self.draining.is_set() else run.next_try(tries, random.random())
        await self._enqueue(session, run.job, min(now + wait, run.alert.expires_at))

    async def _enqueue(self, session: AsyncSession, job: Job, at: datetime) -> None:
        urgent = job.level is Level.BREAKING
        arguments = {name: value for name, value in job._asdict().items() if value or name not in Job._field_defaults}
        priority = probation.lowered(job.level.priority, job.standing)
        await queue.enqueue(session, queue.SEND_SHARD, at=at, priority=priority, breaking=urgent, **arguments)

    def _say(self, run: Run) -> None:
        told = ", ".join(f"{count} {cause}" for cause, count in run.causes.most_common()) or "nothing sent"
        log.info("alert %s: shard %d at %s: %s", run.alert.id, run.shard.id, run.shard.lane, told)


def _message(alert: Alert, largest: int) -> bytes:
    return message(
        alert=alert.id,
        thread=alert.thread,
        title=alert.title,
        body=alert.body,
        url=alert.url,
        image=alert.image,
        level=alert.level,
        sample=sample(alert.recipients),
        largest=largest,
    )


REFUSED = (
    "it refuses our authorisation, also with a fresh token. Check this machine's clock, NEWSBELL_VAPID_SUBJECT and "
    "the VAPID key, then: ./newsbell lane resume."
)
OTHER_KEY = (
    "many of its readers subscribed with another VAPID key than the one in use, so it refuses what we send them. They "
    "were not ended. If the key was lost or replaced, put the old one back."
)
OUR_FORM = (
    "it refuses the form of many of our requests: a header, or HTTP itself. Where there was another way, it was tried. "
    "Is there a proxy in between? Is this the newest Newsbell? Then: ./newsbell lane resume."
)
NOT_PUBLIC = (
    "its name leads to an address that is not a public one, so nothing was sent there. Nobody was ended for it. Look "
    "at this machine's name service (DNS), then: ./newsbell lane resume."
)
STRANGE = (
    "many of its answers are none that a push service gives. Nobody was ended for it. Is there a proxy in between, or "
    "has the service changed? Look at the log, then: ./newsbell lane resume."
)
# What so many answers of one kind in one pass mean; the first that applies is said.
ALARMS = (
    ([Cause.KEY_MISMATCH], OTHER_KEY),
    ([Cause.OUR_REQUEST], OUR_FORM),
    ([Cause.BLOCKED], NOT_PUBLIC),
    (STRIKING, STRANGE),
)
MANY_LEFT = (
    "one alert found {ended:,} of {recipients:,} readers gone. They were not ended. ./newsbell lane confirm ends them, "
    "./newsbell lane dismiss keeps them."
)
