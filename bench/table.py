"""What a benchmark answers, and the one table all of them make."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure: its rounds, and the aim its median is held against.

    `rounds` are ratios against what was measured beside it in the same round (`unit` "×"), or plain figures with
    their unit. `beside` tells both sides in absolute figures, for who wants to know.
    """

    what: str
    rounds: tuple[float, ...]
    unit: str = "×"
    at_least: float | None = None
    at_most: float | None = None
    beside: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the aim; None where there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or self.median >= self.at_least) and (
            self.at_most is None or self.median <= self.at_most
        )

    @property
    def aim(self) -> str:
        words = [
            f"{sign} {_short(bound)} {self.unit}"
            for sign, bound in (("≥", self.at_least), ("≤", self.at_most))
            if bound is not None
        ]
        return ", ".join(words)

    def cells(self) -> tuple[str, ...]:
        spread = f"{_short(min(self.rounds))}–{_short(max(self.rounds))} ({len(self.rounds)})"
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return self.what, f"{_short(self.median)} {self.unit}", spread, self.aim, met, self.beside


def ratios(over: Iterable[float], under: Iterable[float]) -> tuple[float, ...]:
    """Round by round."""
    return tuple(one / other for one, other in zip(over, under, strict=True))


HEAD = ("what", "median", "range (rounds)", "aim", "met", "beside")


def markdown(rows: Iterable[Row]) -> str:
    """The table, in columns that line up in a terminal, too."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    told = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    told.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(told) + "\n"


def _short(figure: float) -> str:
    """Three digits are what these figures are worth."""
    return f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
