"""Text as a terminal may show it: what would move the cursor, hide text or begin a line of its own is spelt out.

Titles, names and reasons come from feeds and from people. In a terminal ESC begins a command, a newline in a log begins
a line that we did not write, and a bidirectional override shows letters in another order than they have.
"""

import re

# Controls (C0, DEL, C1), the separators of lines and paragraphs, bidirectional embeddings, overrides and isolates, and
# halves of characters, which cannot be written at all. Joiners and marks of direction stay: scripts and emoji need
# them.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str) -> str:
    """One line, in which ESC is the four characters \\x1b."""
    return UNSEEN.sub(lambda found: _NAMED.get(found[0]) or _number(found[0]), text)


def visible_json(text: str) -> str:
    """The same in a JSON document of one line, which stays one that means the same."""
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _number(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
