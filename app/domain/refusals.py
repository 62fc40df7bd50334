"""Refusals: a rule says no, and can say why to a person. (Apart from tables: it costs nothing to import.)"""


class Refusal(Exception):
    """A rule says no; the message is a sentence fit to show to a person."""


class NotFound(Refusal):
    """What was asked for is not there (or is not theirs to see, which reads the same)."""


class Forbidden(Refusal):
    """The proof that was given does not fit."""


class Unauthenticated(Refusal):
    """We do not know who asks."""


class Conflict(Refusal):
    """It was right to ask, but something else came first."""


class TooMany(Refusal):
    """Too often of late; `wait` is how long until it is worth trying again, in seconds."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.wait = wait


class Unavailable(Refusal):
    """What it takes is not there at the moment; nothing was changed."""
