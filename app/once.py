"""Once: a POST with an `Idempotency-Key` is done once, however often it is sent, and answered the same each time.

How a route uses it, whatever it makes:

    @router.post("/api/things", status_code=201, responses=problems(401, 403, 409, 422))
    async def make(actor: EditorActor, wish: ThingIn, once: Once) -> ThingOut:
        async def work(session: AsyncSession) -> ThingOut:
            thing = await things.make(session, wish.name)
            audit.note(session, once.now, actor=actor.name, action="thing.make", subject=str(thing.id))
            return thing_out(thing)

        return await once(actor, ThingOut, work)

`work` runs in the one transaction that also keeps its answer, so neither is without the other; without the header it
simply runs in a transaction. What is refused is rolled back and not kept: the same key may try again.
"""

import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.context import HereSite, Site
from app.database import transaction
from app.domain import requests
from app.domain.editors import Actor

Shape = TypeVar("Shape", bound=BaseModel)

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=requests.LONGEST_KEY,
        description="Any text of yours, new for each thing you want done. Sent again with the same request within 24 "
        "hours, it brings the same answer and does nothing twice.",
        examples=["5f0c0e7e-8f0e-4c39-9d8d-6f1b7c5f8a11"],
    ),
]


@dataclass(frozen=True)
class _Once:
    request: Request
    response: Response
    here: Site
    key: str | None
    now: datetime

    async def __call__(
        self,
        actor: Actor,
        shape: type[Shape],
        work: Callable[[AsyncSession], Awaitable[Shape]],
        *,
        shown_once: Collection[str] = (),
    ) -> Shape:
        """shown_once: secrets in the answer. They are not kept, so a repeat has None in their place."""
        async with transaction(self.here.sessions) as session:
            if self.key is None:
                return await work(session)
            name = self._name(actor, self.key)
            if before := await requests.begin(session, name, await self._fingerprint(), self.now):
                self.response.status_code = before.status
                self.response.headers["Idempotency-Replayed"] = "true"
                return shape.model_validate(before.answer)
            answer = await work(session)
            kept = answer.model_dump(mode="json") | dict.fromkeys(shown_once)
            await requests.end(session, name, self._status(), kept)
            return answer

    def _name(self, actor: Actor, key: str) -> bytes:
        """Whose, where, which. Of two programs whose keys bear one name, neither sees the other's answers."""
        who = str(actor.editor_id) if actor.editor_id is not None else self.request.headers.get("authorization", "")
        return requests.name_of(actor.name, who, self.request.method, self.request.scope["route"].path, key)

    async def _fingerprint(self) -> bytes:
        body = await self.request.body()
        try:
            said = json.dumps(json.loads(body), sort_keys=True)
        except (ValueError, RecursionError):  # none at all
            said = body.decode("latin-1")
        return requests.hash_of(self.request.url.path, self.request.url.query, said)

    def _status(self) -> int:
        return self.response.status_code or self.request.scope["route"].status_code or 200


async def _once(request: Request, response: Response, here: HereSite, key: Key = None) -> _Once:
    return _Once(request, response, here, key, clock.now())


Once = Annotated[_Once, Depends(_once)]
