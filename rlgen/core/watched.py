"""What may be watched of a run while it goes on: rules over the metrics in its rows, which algorithms declare.

A rule looks at what a run's rows have said so far and nothing else, and its limits are relative to the run's own past
and to its length. So it finds the same in the same rows, whatever the clock says. `rlgen.runs.health` makes a verdict
of what rules find.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rlgen.core.history import FEW, LAST, WINDOW, History
from rlgen.errors import UsageError
from rlgen.metrics import FLOOR

CLEARLY = 3.5  # standard deviations: what chance does in about one of fifty runs
FEATURES = ("lenet", "random")  # by which samples are compared with images: the end of a score's name
RETURNS = ("charts/episodic_return", "eval/episodic_return")  # of an agent: while it learns, and greedy


@dataclass(frozen=True)
class Measured:
    """What a rule reads: its value, the limit, and whether the value lies beyond it."""

    value: float
    limit: float
    is_beyond: bool
    of: str = ""  # what the value is, where it is not the metric itself


@dataclass(frozen=True)
class Rule:
    """One thing that can go wrong.

    Args:
        metric: what is watched.
        limit: see the kind of rule.
        says: what it means, in words that follow on "warn: ".
        advice: what to try, in one line.
        after: share of the run before which nothing is said.
        fails_after: share of the run beyond the limit after which the run has failed.
    """

    metric: str
    limit: float
    says: str
    advice: str
    after: float = 0.1
    fails_after: float = 0.3

    @property
    def needs(self) -> tuple[str, ...]:
        """All metrics that it looks at."""
        return (self.metric,)

    def measure(self, history: History) -> Measured | None:
        """What it finds now, in a row that has the metric; None where there is too little to say."""
        raise NotImplementedError


@dataclass(frozen=True)
class Above(Rule):
    """The metric, less another one where one is named, is above the limit."""

    less: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.metric, self.less) if self.less else (self.metric,)

    def measure(self, history: History) -> Measured | None:
        value = history.last(self.metric) - (history.last(self.less) if self.less else 0.0)
        of = f"{self.metric} less {self.less}" if self.less else ""
        return None if math.isnan(value) else Measured(value, self.limit, value > self.limit, of)


@dataclass(frozen=True)
class Below(Rule):
    """The metric is below the limit, or below `limit` times another one where one is named."""

    of: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.metric, self.of) if self.of else (self.metric,)

    def measure(self, history: History) -> Measured | None:
        value, limit = history.last(self.metric), self.limit * (history.last(self.of) if self.of else 1.0)
        return None if math.isnan(limit) else Measured(value, limit, value < limit)


@dataclass(frozen=True)
class Outgrows(Rule):
    """The metric's size is beyond `limit` times the largest that others ever had, at first the returns.

    It has also more than doubled: where rewards are tiny, what a network says before it learns is beyond that limit.
    """

    limit: float = 10.0
    says: str = "the values diverge"
    advice: str = "a smaller step size, a lower discount, or targets that move more slowly"
    of: tuple[str, ...] = RETURNS

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.metric, *self.of)

    def measure(self, history: History) -> Measured | None:
        largest, value = history.largest(self.of), abs(history.last(self.metric))
        if not largest:
            return None
        limit = max(self.limit * largest, 2 * abs(history.means(self.metric)[0][1]))
        return Measured(value, limit, value > limit, f"the size of {self.metric}")


@dataclass(frozen=True)
class Grows(Rule):
    """The metric's size is beyond `limit` times what it was at the beginning of the run."""

    def measure(self, history: History) -> Measured | None:
        first, value = abs(history.means(self.metric)[0][1]), abs(history.last(self.metric))
        return Measured(value, self.limit * first, value > self.limit * first, f"the size of {self.metric}")


@dataclass(frozen=True)
class Falls(Rule):
    """The metric is below a share of what it was at the beginning, while another one, `unless`, is not better."""

    unless: str = RETURNS[0]

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.metric, self.unless)

    def measure(self, history: History) -> Measured | None:
        first, value = history.means(self.metric)[0][1], history.last(self.metric)
        limit = self.limit * abs(first)
        return Measured(value, limit, value < limit and is_bad(history, self.unless))


def is_bad(history: History, name: str) -> bool:
    """Whether a score, of which more is better, is no better than at its beginning, or most of what it won is lost."""
    means = [mean for _, mean in history.means(name)]
    if not means:
        return False  # nobody knows
    if history.gain(name, 1) < CLEARLY:
        return True
    recent = fmean(mean for share, mean in history.means(name) if share > history.means(name)[-1][0] - WINDOW / 2)
    return recent - means[0] < 0.25 * (max(means) - means[0])


@dataclass(frozen=True)
class Stays(Rule):
    """The metric has never been clearly better than at the beginning: `limit` standard errors.

    Args:
        better: 1 where more is better, -1 where less is, 0 where any change counts.
    """

    limit: float = CLEARLY
    says: str = "nothing is learned"
    advice: str = "another step size, or look whether rewards or images are what they should be"
    after: float = 0.35
    fails_after: float = 0.5  # some tasks are learned late
    better: int = 1

    def measure(self, history: History) -> Measured | None:
        if len(history.means(self.metric)) < 2 * FEW:
            return None
        gain = history.gain(self.metric, self.better)
        return Measured(gain, self.limit, gain < self.limit, f"the gain of {self.metric} in standard deviations")


@dataclass(frozen=True)
class Lags(Rule):
    """The metric is lower than another by more than `limit` times all that the other has ever gone through.

    That is the largest of the range of its means, three quarters of its size, and twice the spread of the metric. It is
    judged by the median of the last evaluations, and by the mean of the other in as long a time.
    """

    limit: float = 1.0
    says: str = "evaluation lies far below training"
    advice: str = "exploration that ends (less entropy, less noise), so that what is greedy is what was learned"
    behind: str = RETURNS[0]
    spread: str = "eval/episodic_return_std"

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.metric, self.behind, self.spread)

    def measure(self, history: History) -> Measured | None:
        means, evaluations = history.means(self.behind), history.means(self.metric)
        value = history.latest(self.metric)
        if math.isnan(value) or len(means) < FEW or len(evaluations) < LAST:
            return None
        since = evaluations[-LAST][0]
        recent = [mean for share, mean in means if share >= since] or [means[-1][1]]
        level, every = fmean(recent), [mean for _, mean in means]
        spread = history.last(self.spread)
        scale = max(max(every) - min(every), 0.75 * abs(level), 0.0 if math.isnan(spread) else 2 * spread)
        limit = level - self.limit * scale
        return Measured(value, limit, value < limit, f"the median of the last {LAST} {self.metric}")


@dataclass(frozen=True)
class Forgets(Rule):
    """A difference on held-out data is below `limit` times that on training data, where that one is at least `least`.

    Without overfitting both are the same; of a discriminator, it knows its training images by heart (Karras et al.
    2020, arXiv:2006.06676, equation 1, of differences).

    Args:
        minuend: of the difference on training data.
        subtrahend: what is taken from it.
    """

    minuend: str = "losses/real_logits"
    subtrahend: str = "losses/fake_logits"
    least: float = 0.3

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.metric, self.minuend, self.subtrahend)

    def measure(self, history: History) -> Measured | None:
        value, known = history.last(self.metric), history.last(self.minuend) - history.last(self.subtrahend)
        limit = self.limit * known
        return None if math.isnan(known) else Measured(value, limit, known >= self.least and value < limit)


def of_floor(score: str, limit: float, says: str, advice: str, after: float = 0.1) -> tuple[Rule, ...]:
    """Rules for a score of samples that is below a share of what real images score, by whatever features.

    Args:
        score: its name without `eval/` and the features, of those of which more is better.
        limit: the share.
        says: as of a rule.
        advice: as of a rule.
        after: as of a rule.
    """
    names = [f"{score}_{features}" for features in FEATURES]
    return tuple(Below(f"eval/{name}", limit, says, advice, after, of=f"{FLOOR}{name}") for name in names)


def check_rules(rules: Any, owner: str) -> tuple[Rule, ...]:
    """What a class declares as `watched`.

    Args:
        rules: what it declares.
        owner: the class's name.

    Raises:
        UsageError: it is not a sequence of rules, or one of them could never be read.
    """
    if not isinstance(rules, (tuple, list)):
        raise UsageError(f"{owner}.watched is a {type(rules).__name__}: write a tuple of rules of rlgen.core.watched")
    for rule in rules:
        if not isinstance(rule, Rule) or type(rule) is Rule:
            raise UsageError(f"{owner}.watched holds {rule!r}: write rules of rlgen.core.watched, as Above(...)")
        if not all(isinstance(name, str) and "/" in name for name in rule.needs):
            raise UsageError(f"{owner}.watched: {rule.metric!r} is no metric; name it as rows do, 'losses/...'")
        if not math.isfinite(rule.limit) or not 0 <= rule.after < 1:
            raise UsageError(f"{owner}.watched: {rule.metric}: a limit is finite, and after is in [0, 1)")
        if not (rule.says and rule.advice) or "\n" in rule.says + rule.advice:
            raise UsageError(f"{owner}.watched: {rule.metric}: says and advice are one line each, and not empty")
    return tuple(rules)
