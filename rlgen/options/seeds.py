"""Which seeds are trained side by side."""

from __future__ import annotations

from rlgen.errors import UsageError

MAX_SEEDS = 10_000
DIGITS = 18  # of a seed: torch takes 64 bits


def parse_seeds(text: str, flag: str = "--seeds") -> list[int]:
    """The seeds of `A:B`, which are A, A + 1, ..., B - 1, or those of a list with commas or blanks.

    Raises:
        UsageError: it is neither, one seed is there twice, or there are too many.
    """
    if any(len(number) > DIGITS for number in text.replace(",", " ").replace(":", " ").split()):
        raise UsageError(f"--seeds {text:.60}: a seed has at most {DIGITS} digits")
    words = text.replace(",", " ").split()
    seeds: list[int] = []
    for word in words:
        first, colon, end = word.partition(":")
        if not (first.isdecimal() and (end.isdecimal() and int(first) < int(end) if colon else len(words) > 1)):
            meant = (
                f": type 0:{word}, which is {word} seeds, or {word}:{int(word) + 1}, which is that one"
                if word.isdecimal()
                else ""
            )
            raise UsageError(
                f"{flag} {text}{meant or ': must be A:B with A < B, as in 0:10, which is ten seeds, 0 to 9, or 1,2,3'}"
            )
        more = range(int(first), int(end)) if colon else [int(first)]
        if len(seeds) + len(more) > MAX_SEEDS:
            raise UsageError(f"--seeds {text:.60}: are {len(seeds) + len(more):,}; give at most {MAX_SEEDS:,}")
        seeds += more
    if not seeds or len({*seeds}) < len(seeds):
        raise UsageError(f"{flag} {text}: must be A:B, as in 0:10, or a list as 1,2,3, each seed once")
    return seeds
