"""The pages' documents: what stands in static/, with the site's name where it belongs before any script has run."""

from functools import cache
from html import escape

from fastapi.responses import HTMLResponse

from app.context import STATIC, Site

HERE_THE_NAME = "{{site}}"


def document(name: str, here: Site) -> HTMLResponse:
    return HTMLResponse(_text(name).replace(HERE_THE_NAME, escape(here.settings.site_name)))


@cache
def _text(name: str) -> str:
    return (STATIC / name).read_text()
