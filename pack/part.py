"""A share of work that several jobs do side by side: `--part i/n`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from david.pack.errors import DavidError

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Part:
    """Every n-th thing, beginning with the i-th: what one of n jobs does. number: 1 .. of."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise DavidError(f"part {self.number}/{self.of}: a part is i/n with i from 1 to n")

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"

    @classmethod
    def parse(cls, text: str) -> "Part":
        """`i/n` as a Part. Raises DavidError where it is none."""
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal()):
            raise DavidError(f"part `{text}`: a part is i/n, such as 3/16")
        return cls(int(number), int(of))

    def share(self, number: int, of: int) -> "Part":
        """The `number`-th, from 0 on, of so many shares of this part."""
        return Part(self.number + self.of * number, self.of * of)

    def of_all(self, things: Sequence[Thing]) -> list[Thing]:
        return list(things[self.number - 1 :: self.of])
