"""Links: whether readers who click would find something there."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.asking import ask
from app.context import HereSite, WriterActor
from app.domain.lookups import Kind
from app.shapes import problems

router = APIRouter(tags=["alerts"])


class LinkIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"url": "https://news.example/1"}]})

    url: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^[^\x00]*$")]


class LinkOut(BaseModel):
    status: int | None = Field(description="what it answers; null if it cannot be reached")
    ok: bool
    sentence: str
    title: str


@router.post("/api/links/check", responses=problems(401, 403, 413, 422, 429, 503))
async def check(here: HereSite, actor: WriterActor, wish: LinkIn) -> LinkOut:
    """Looked at by a worker, as any feed is: addresses inside the house are refused."""
    return LinkOut(**await ask(here, Kind.LINK, wish.url))
