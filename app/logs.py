"""The log: one line an event, for a person who reads it in a terminal or in journald."""

import logging
import os

from app.supervisor import NAME


def speak() -> None:
    """Newsbell's own words from INFO, libraries' from WARNING. Endpoints, keys and tokens are never logged."""
    name = os.environ.get(NAME, "newsbell")
    logging.basicConfig(
        level=logging.WARNING,
        format=f"%(asctime)s {name:<9} %(levelname).1s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    logging.getLogger("newsbell").setLevel(logging.INFO)
