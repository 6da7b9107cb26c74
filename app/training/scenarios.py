"""The ways of working of the synthetic world's fraud: who, where, when, how much, and what it looks like."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

LEGITIMATE = "legitimate"

_HOUR = 3_600.0
_MINUTE = 60.0

_Array = npt.NDArray[np.float64]
_Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Frauds:
    """Frauds of one scenario; each array of shape (n_rows,), and an amount of NaN is a usual one."""

    times: _Array
    amounts: _Array
    cards: _Ids
    merchants: _Ids


@dataclass(frozen=True)
class Setting:
    """Where fraud happens.

    Attributes:
        n_cards: cards that there are.
        n_merchants: merchants that there are.
        days: days that there are.
        busy: moments at which people pay, in seconds; fraud likes company.
    """

    n_cards: int
    n_merchants: int
    days: int
    busy: _Array

    @property
    def seconds(self) -> float:
        return self.days * 24 * _HOUR

    def starts(self, generator: np.random.Generator, n_starts: int) -> _Array:
        return np.asarray(generator.choice(self.busy, n_starts))

    def later(self, starts: _Array, by: _Array) -> _Array:
        """Moments after starts; those that would be after the last day are drawn nearer."""
        left = self.seconds - 1 - starts
        return starts + np.where(by > left, left * (by / (by + left + 1)), by)


class Play(Protocol):
    """Makes n_rows frauds of one scenario in a setting."""

    def __call__(self, generator: np.random.Generator, n_rows: int, setting: Setting) -> Frauds: ...


@dataclass(frozen=True)
class Scenario:
    """A way of working.

    Attributes:
        name: as it stands in the column scenario.
        share: of all frauds.
        play: makes its frauds.
        moved: the components that it moves from what is usual.
        by: how many deviations.
        spread: of what it looks like; a small one is easy to learn.
        hidden_share: of its frauds look like any other transaction.
    """

    name: str
    share: float
    play: Play
    moved: tuple[int, ...]
    by: float
    spread: float
    hidden_share: float

    def move(self, generator: np.random.Generator, usual: _Array) -> _Array:
        """What frauds look like, from what the same transactions would usually look like; in deviations."""
        moved = 0.3 * usual + generator.normal(0, self.spread, usual.shape)
        moved[:, list(self.moved)] += self.by
        return moved


def _grouped(generator: np.random.Generator, n_rows: int, least: int, most: int) -> _Ids:
    """The group of each row, for groups of least to most rows."""
    sizes: list[int] = []
    while sum(sizes) < n_rows:
        sizes.append(min(int(generator.integers(least, most + 1)), n_rows - sum(sizes)))
    return np.repeat(np.arange(len(sizes)), sizes)


def _burst(generator: np.random.Generator, n_rows: int, setting: Setting) -> Frauds:
    """A stolen card is emptied in minutes, at many merchants, before it is blocked."""
    group = _grouped(generator, n_rows, 3, 7)
    starts = setting.starts(generator, group.max() + 1)
    cards = generator.integers(setting.n_cards, size=group.max() + 1)
    return Frauds(
        times=setting.later(starts[group], generator.exponential(6 * _MINUTE, n_rows)),
        amounts=generator.lognormal(np.log(240), 0.5, n_rows),
        cards=cards[group],
        merchants=generator.integers(setting.n_merchants, size=n_rows),
    )


def _testing(generator: np.random.Generator, n_rows: int, setting: Setting) -> Frauds:
    """Stolen numbers are tried with cents, many cards at one merchant, by night."""
    group = _grouped(generator, n_rows, 5, 12)
    days = generator.integers(setting.days, size=group.max() + 1)
    hours = generator.uniform(21, 29, group.max() + 1) % 24  # from 21 in the evening to 5 in the morning
    starts = days * 24 * _HOUR + hours * _HOUR
    merchants = generator.integers(setting.n_merchants, size=group.max() + 1)
    return Frauds(
        times=setting.later(starts[group], generator.uniform(0, 20 * _MINUTE, n_rows)),
        amounts=generator.uniform(0.01, 2.0, n_rows),
        cards=generator.integers(setting.n_cards, size=n_rows),
        merchants=merchants[group],
    )


def _takeover(generator: np.random.Generator, n_rows: int, setting: Setting) -> Frauds:
    """Somebody else has the account: for hours it buys what it never bought."""
    group = _grouped(generator, n_rows, 3, 6)
    starts = setting.starts(generator, group.max() + 1)
    cards = generator.integers(setting.n_cards, size=group.max() + 1)
    return Frauds(
        times=setting.later(starts[group], generator.uniform(0, 8 * _HOUR, n_rows)),
        amounts=generator.lognormal(np.log(130), 0.7, n_rows),
        cards=cards[group],
        merchants=generator.integers(setting.n_merchants, size=n_rows),
    )


def _drain(generator: np.random.Generator, n_rows: int, setting: Setting) -> Frauds:
    """Little by little, at usual hours and with usual amounts: the hardest to see."""
    group = _grouped(generator, n_rows, 3, 5)
    cards = generator.integers(setting.n_cards, size=group.max() + 1)
    return Frauds(
        times=setting.starts(generator, n_rows),
        amounts=np.full(n_rows, np.nan),
        cards=cards[group],
        merchants=generator.integers(setting.n_merchants, size=n_rows),
    )


def _ring(generator: np.random.Generator, n_rows: int, setting: Setting) -> Frauds:
    """Cards of a ring buy from a merchant of the ring, always about as much."""
    group = _grouped(generator, n_rows, 4, 8)
    starts = setting.starts(generator, group.max() + 1)
    merchants = generator.integers(setting.n_merchants, size=group.max() + 1)
    amounts = generator.choice([49.0, 99.0, 149.0, 199.0], size=group.max() + 1)
    return Frauds(
        times=setting.later(starts[group], generator.uniform(0, 10 * _HOUR, n_rows)),
        amounts=amounts[group] - generator.integers(0, 3, n_rows),
        cards=generator.integers(setting.n_cards, size=n_rows),
        merchants=merchants[group],
    )


SCENARIOS = (
    Scenario("stolen_card_burst", 0.32, _burst, (1, 3, 4, 10, 11, 20), 3.4, 0.55, 0.08),
    Scenario("card_testing", 0.24, _testing, (0, 2, 6, 9, 13, 16), -3.4, 0.5, 0.08),
    Scenario("account_takeover", 0.18, _takeover, (3, 5, 10, 12, 17, 24), 3.0, 0.6, 0.2),
    Scenario("ring", 0.14, _ring, (2, 7, 9, 13, 19, 22), -3.1, 0.55, 0.2),
    Scenario("slow_drain", 0.12, _drain, (4, 11, 15, 21), 1.6, 0.8, 0.5),
)
