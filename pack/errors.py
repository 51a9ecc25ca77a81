"""Errors that speak to whoever can mend them.

Every message says where, what was expected, what was found and what to do. The command line prints it as one
sentence and ends with exit code 2; a traceback is kept for our own mistakes.
"""


class DavidError(Exception):
    """A mistake in what came from outside: arguments, files, data, environment."""

    exit_code = 2


class Refused(DavidError):
    """What the operating system refused, as with a full disk: in a sentence, and nobody's mistake."""

    exit_code = 1


class BadSample(DavidError):
    """One sample that cannot be packed or read. `where` names it, `reason` says what was found."""

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where}: {reason}")
        self.where, self.reason = where, reason

    def __reduce__(self):  # crosses process borders whole
        return type(self), (self.where, self.reason)


def shown(text: str) -> str:
    """`text` as it may be shown, printed or written: what moves a cursor, colours or can't be encoded is spelt out."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def many(count: int, one: str, more: str = "") -> str:
    """A number of things in words: `1 fault`, `1,200 faults`."""
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"
