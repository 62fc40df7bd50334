"""One pass over a shard: what the answers mean for its recipients, and who of them has a vote about the lane."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from app import clock
from app.domain import probation
from app.domain.alerts import Alert, Level
from app.domain.outcomes import Cause, Outcome, Remedy, Verdict, next_try
from app.domain.probation import Standing
from app.domain.shards import Shard
from app.domain.subscriptions import Recipient
from worker.push import Errand

# One strange endpoint may answer as it likes for reasons of its own; this many, and this share, may not.
DOUBTS, DOUBTFUL = 5, 0.05
STRIKING = (Cause.UNCLEAR, Cause.REDIRECTED)
LONG_ENOUGH = 60  # seconds to live, with which Microsoft takes what it refused because of its TTL
# As plain numbers, for loops over a whole page: comparing enum members takes several times as long.
WAITING, TAKEN = int(Outcome.WAITING), int(Outcome.ACCEPTED)


class Job(NamedTuple):
    """A shard that is to be sent."""

    shard_id: int
    lane: str
    level: Level
    standing: int = Standing.PROVEN
    # Who waits was asked in an earlier pass, in which the service took enough of the others: if it refuses our
    # authorisation for them once more, that says nothing about the lane.
    excused: bool = False


@dataclass(eq=False)
class Run:
    """One pass over a shard: what is known of its recipients so far. They are numbered by their place in the shard."""

    shard: Shard
    alert: Alert
    outcomes: bytearray
    clear: bytes = b""  # The message,
    short: bytes = b""  # and for a service that finds it too big; often the same.
    recipients: Mapping[int, Recipient] = field(default_factory=dict)  # Those who waited when the pass began.
    # Of these, whose acceptance means something more; among them all that have no vote.
    remarkable: dict[int, Recipient] = field(default_factory=dict)
    strangers: set[int] = field(default_factory=set)  # Places without a vote.
    token: str = ""  # The Authorization header with which this pass began.
    excused: bool = False  # See Job.
    errand: Errand | None = None
    drawn_out: Callable[[], None] = lambda: None  # To be called when all is sent, though answers lack.
    gone: list[Recipient] = field(default_factory=list)
    struck: list[Recipient] = field(default_factory=list)
    forgiven: list[Recipient] = field(default_factory=list)
    doubted: list[int] = field(default_factory=list)  # Places where our authorisation was refused.
    proven: list[Recipient] = field(default_factory=list)  # Accepted for the first time.
    strangers_gone: list[Recipient] = field(default_factory=list)
    vain: list[Recipient] = field(default_factory=list)  # On probation, and not accepted at this alert's first try.
    at_last: dict[int, Outcome] = field(default_factory=dict)  # By place, on probation: what it is without more tries.
    remedies: dict[int, Remedy] = field(default_factory=dict)  # By place: how this service wants it, so it seems.
    causes: Counter[Cause] = field(default_factory=Counter)
    votes: Counter[Cause] = field(default_factory=Counter)  # Of these, the causes of those who have one.
    asks: list[timedelta] = field(default_factory=list)  # What answers of this pass said in Retry-After.

    @property
    def job(self) -> Job:
        return Job(self.shard.id, self.shard.lane, self.alert.level, self.shard.standing, self.excused)

    @property
    def waiting(self) -> list[int]:
        return [place for place, outcome in enumerate(self.outcomes) if outcome == WAITING]

    @property
    def strange(self) -> bool:
        """So many answers that nobody can explain are the service's (or a proxy's) doing, not single readers'."""
        return self.has_many(STRIKING)

    @property
    def asked(self) -> timedelta | None:
        """What most of those who wait were asked for; one reader's day is no reason for all to wait a day."""
        if 2 * len(self.asks) <= len(self.waiting):
            return None
        return sorted(self.asks)[len(self.asks) // 2]

    def has_many(self, causes: Iterable[Cause], of: int = 0) -> bool:
        """of: how many answers of the lane are known, if that is more than in this pass."""
        count = sum(self.votes[cause] for cause in causes)
        return count >= DOUBTS and count > DOUBTFUL * max(self.votes.total(), of)

    def next_try(self, tries: int, luck: float) -> timedelta:
        """On probation all wait longer, and are not asked how long."""
        if self.strangers.issuperset(self.waiting):
            return probation.next_try(tries, luck)
        return next_try(tries, self.asked, luck)

    def settle(self, outcome: Outcome) -> None:
        for place in self.waiting:
            self.outcomes[place] = outcome

    def give_up_strangers(self) -> None:
        """Those who were tried once more in this pass. Whose lane was closed meanwhile was not."""
        for place, outcome in self.at_last.items():
            if self.outcomes[place] == WAITING:
                self.outcomes[place] = outcome

    @property
    def has_asked_all(self) -> bool:
        return self.errand is not None and not self.errand.stopped

    def stop(self) -> None:
        if self.errand:
            self.errand.stop()

    def expect(self, recipients: Mapping[int, Recipient]) -> None:
        """Who waits. In a shard of various lanes nobody votes, nor does whoever has another endpoint since the plan."""
        lane = self.shard.lane
        self.recipients = recipients
        for place, recipient in recipients.items():
            if recipient.standing or recipient.lane != lane:
                self.strangers.add(place)
                self.remarkable[place] = recipient
            elif recipient.strikes:
                self.remarkable[place] = recipient

    def note(self, place: int, verdict: Verdict) -> bool:
        """Whether it counts as the lane's answer."""
        if verdict.remedy and place not in self.remedies and self._helps(verdict.remedy):
            self.remedies[place] = verdict.remedy
            return place not in self.strangers
        self.causes[verdict.cause] += 1
        if place in self.strangers:
            self._note_stranger(place, verdict)
            return False
        self.votes[verdict.cause] += 1
        if verdict.cause is Cause.OUR_AUTHORISATION:  # fan-out decides what that means; until then they wait
            self.doubted.append(place)
            return True
        self.outcomes[place] = verdict.outcome
        recipient = self.recipients[place]
        if verdict.outcome is Outcome.GONE:
            self.gone.append(recipient)
        elif verdict.cause in STRIKING:
            self.struck.append(recipient)
        elif verdict.outcome is Outcome.ACCEPTED and recipient.strikes:
            self.forgiven.append(recipient)
        if verdict.retry_after is not None:
            self.asks.append(verdict.retry_after)
        return True

    def _note_stranger(self, place: int, verdict: Verdict) -> None:
        """A few tries, also where our authorisation was refused: the proven may have found a fresh one by then."""
        recipient = self.recipients[place]
        if verdict.cause is Cause.OUR_AUTHORISATION or verdict.outcome is Outcome.WAITING:
            self.at_last[place] = Outcome.FAILED if verdict.outcome is Outcome.WAITING else verdict.outcome
        else:
            self.outcomes[place] = verdict.outcome
        if verdict.outcome is Outcome.ACCEPTED:
            self._prove(recipient)
        elif verdict.outcome is Outcome.GONE:
            self.strangers_gone.append(recipient)
        elif recipient.standing and self.shard.tries == 0:
            self.vain.append(recipient)

    def _prove(self, recipient: Recipient) -> None:
        if recipient.standing:
            self.proven.append(recipient)
        elif recipient.strikes:
            self.forgiven.append(recipient)

    def _helps(self, remedy: Remedy) -> bool:
        """Whether what is sent would be any different."""
        match remedy:
            case Remedy.SHORTER:
                return len(self.short) < len(self.clear)
            case Remedy.LONGER_TTL:
                return self.alert.expires_at - clock.now() < timedelta(seconds=LONG_ENOUGH)
            case Remedy.WITHOUT_TOPIC:
                return True

    def note_accepted(self, places: Collection[int]) -> int:
        """The same for many, at a fifth of the cost: this is what nearly all answers say. Returns the votes."""
        outcomes, remarkable = self.outcomes, self.remarkable
        for place in places:
            outcomes[place] = TAKEN
        votes = len(places)
        if remarkable:
            for place in places:
                if place in remarkable:
                    self._prove(remarkable[place])
                    votes -= place in self.strangers
        self.causes[Cause.ACCEPTED] += len(places)
        self.votes[Cause.ACCEPTED] += votes
        return votes
