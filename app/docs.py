"""The page for people who write programs; what it lists comes from /openapi.json."""

from fastapi import APIRouter
from fastapi.responses import FileResponse

from app.context import STATIC

# The groups of the page and of /openapi.json, in this order.
TAGS = [
    {"name": "alerts", "description": "From a draft to a bell that rings, and what to do when it was wrong."},
    {"name": "stories", "description": "What the feeds bring, and what was already sent of it."},
    {"name": "reports", "description": "What came of an alert, of a day and of a week."},
    {"name": "feeds and topics", "description": "Where stories come from, and what readers follow."},
    {"name": "people", "description": "Who works at the desk, keys for programs, and the audit."},
    {"name": "signing in", "description": "What the desk's own pages use. A program shows its key instead."},
    {"name": "readers", "description": "What a reader's browser uses. It has no account: its key is all it has."},
]

router = APIRouter()


@router.get("/docs", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "docs.html")
