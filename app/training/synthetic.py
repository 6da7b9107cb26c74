"""`python -m app synthesize`: made-up transactions in the schema of the public card set, by one seed.

A world of cards and merchants. A card has habits (where it stands in V1 to V28, how much it spends), a merchant has a
trade (its hours, its prices, its own place in V1 to V28), and a transaction is the two of them and chance. Fraud
comes in named scenarios (`app.training.scenarios`), each with its own way of working; some of it hides, and some
legitimate transactions look like it. No value is taken from real data.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.training.errors import TrainingError
from app.training.scenarios import LEGITIMATE, SCENARIOS, Scenario, Setting

N_COMPONENTS = 28
SECONDS_OF_DAY = 86_400

_DEVIATIONS = np.linspace(1.96, 0.33, N_COMPONENTS)
_CARD_SHARE, _TRADE_SHARE = 0.25, 0.25  # of the variance of a component; the rest is chance
_TAIL_FREEDOM = 8  # of Student's t: now and then something is far out
_STRAY_SHARE = 0.0002
_CARDS_OF_A_MERCHANT = 20
# Of a trade: hours of its middle and half of its width, median amount, spread of amounts, share of all transactions.
_TRADES = (
    (12.5, 5.5, 24.0, 0.6, 0.34),  # groceries
    (19.5, 4.0, 31.0, 0.5, 0.16),  # restaurants
    (8.0, 4.5, 3.2, 0.4, 0.17),  # coffee and tickets
    (15.0, 5.0, 58.0, 0.9, 0.13),  # shops
    (21.0, 6.0, 41.0, 1.1, 0.15),  # online
    (10.0, 8.0, 160.0, 1.0, 0.05),  # travel
)
_CENT_ENDINGS = (0.0, 0.99, 0.95, 0.5)
_ENDING_SHARES = (0.22, 0.18, 0.08, 0.07)
_NIGHT_RATE = 0.05
# With --drift, from half of the time on: components that move, by how many deviations, and the rise of amounts.
_DRIFTED = {2: 1.8, 8: -1.8, 11: 1.8}
_DRIFTED_AMOUNTS = 1.35

_Array = npt.NDArray[np.float64]
_Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What to make."""

    rows: int = 284_807
    fraud_rate: float = 0.0017
    cards: int = 20_000
    days: int = 2
    decimals: int = 4
    seed: int = 1
    drift: bool = False
    output: Path = Path("synthetic.csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .csv or .csv.gz to write")
    parser.add_argument("--rows", type=_whole(20), default=Plan.rows, help="transactions (284,807)")
    parser.add_argument("--fraud-rate", type=_share, default=Plan.fraud_rate, help="share of fraud (0.0017)")
    parser.add_argument("--cards", type=_whole(1), default=Plan.cards, help="cards (20,000)")
    parser.add_argument("--days", type=_whole(1), default=Plan.days, help="days (2)")
    parser.add_argument("--decimals", type=_whole(0), default=Plan.decimals, help="decimals of V1 to V28 (4)")
    parser.add_argument("--seed", type=int, default=Plan.seed, help="the same seed gives the same bytes (1)")
    parser.add_argument("--drift", action="store_true", help="let V3, V9, V12 and the amounts move from half time on")


def plan_of(arguments: argparse.Namespace) -> Plan:
    return Plan(**{name: getattr(arguments, name) for name in Plan.__dataclass_fields__})


def run(plan: Plan) -> int:
    """Make and write.

    Raises:
        TrainingError: the file cannot be written.
    """
    table = synthesize(plan)
    compression = {"method": "gzip", "mtime": 1} if plan.output.suffix == ".gz" else None
    unfinished = plan.output.with_name(plan.output.name + ".part")
    try:
        plan.output.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(unfinished, index=False, lineterminator="\n", compression=compression)
        unfinished.replace(plan.output)
    except OSError as error:
        raise TrainingError(f"{plan.output} cannot be written ({error.strerror}); choose another place.") from error
    print(f"{len(table):,} transactions, {int(table['Class'].sum()):,} of them fraud, in {plan.output}")  # noqa: T201
    return 0


def synthesize(plan: Plan) -> pd.DataFrame:
    """Columns Time, V1..V28, Amount, Class, card_id, merchant_id and scenario, sorted by Time."""
    generator = np.random.default_rng(plan.seed)
    world = _World.of(generator, plan)
    n_fraud = max(2, round(plan.rows * plan.fraud_rate))
    parts = [_legitimate(generator, plan, world, plan.rows - n_fraud)]
    setting = Setting(plan.cards, len(world.trades), plan.days, parts[0]["Time"].to_numpy(dtype=np.float64))
    counts = np.floor(np.array([scenario.share for scenario in SCENARIOS]) * n_fraud).astype(int)
    counts[: n_fraud - counts.sum()] += 1  # what rounding left over
    for scenario, n_rows in zip(SCENARIOS, counts.tolist(), strict=True):
        if n_rows:
            parts.append(_fraud(generator, world, scenario, setting, n_rows))
    table = pd.concat(parts).sort_values("Time", kind="stable", ignore_index=True)
    if plan.drift:
        _let_drift(table, plan)
    components = [f"V{number}" for number in range(1, N_COMPONENTS + 1)]
    table[components] = table[components].round(plan.decimals) + 0.0  # no negative zeros
    return table


@dataclass(frozen=True)
class _World:
    """Cards and merchants.

    Attributes:
        card_places: of shape (n_cards, N_COMPONENTS), in deviations.
        card_spending: a factor of its amounts, of shape (n_cards,).
        trades: the trade of each merchant, of shape (n_merchants,).
        trade_places: of shape (n_trades, N_COMPONENTS), in deviations.
    """

    card_places: _Array
    card_spending: _Array
    trades: _Ids
    trade_places: _Array

    @classmethod
    def of(cls, generator: np.random.Generator, plan: Plan) -> "_World":
        n_merchants = max(len(_TRADES), plan.cards // _CARDS_OF_A_MERCHANT)
        return cls(
            card_places=np.sqrt(_CARD_SHARE) * generator.normal(size=(plan.cards, N_COMPONENTS)),
            card_spending=generator.lognormal(0, 0.45, plan.cards),
            trades=np.arange(n_merchants) % len(_TRADES),
            trade_places=np.sqrt(_TRADE_SHARE) * generator.normal(size=(len(_TRADES), N_COMPONENTS)),
        )

    def components(self, generator: np.random.Generator, cards: _Ids, merchants: _Ids) -> _Array:
        """What usual transactions of cards at merchants look like, of shape (n_rows, N_COMPONENTS), in deviations."""
        scale = np.sqrt((1 - _CARD_SHARE - _TRADE_SHARE) * (_TAIL_FREEDOM - 2) / _TAIL_FREEDOM)
        chance = scale * generator.standard_t(_TAIL_FREEDOM, size=(len(cards), N_COMPONENTS))
        return np.asarray(self.card_places[cards] + self.trade_places[self.trades[merchants]] + chance)

    def amounts(self, generator: np.random.Generator, cards: _Ids, merchants: _Ids) -> _Array:
        """Prices that end like prices."""
        medians, spreads = np.array([trade[2:4] for trade in _TRADES]).T
        trades = self.trades[merchants]
        amounts = medians[trades] * self.card_spending[cards] * generator.lognormal(0, spreads[trades])
        return _priced(generator, amounts)


def _legitimate(generator: np.random.Generator, plan: Plan, world: _World, n_rows: int) -> pd.DataFrame:
    shares = np.array([trade[4] for trade in _TRADES])
    trades = generator.choice(len(_TRADES), size=n_rows, p=shares / shares.sum())
    n_of_trade = len(world.trades) // len(_TRADES)
    merchants = trades + len(_TRADES) * np.floor(n_of_trade * generator.random(n_rows) ** 2).astype(np.int64)
    cards = np.floor(plan.cards * generator.random(n_rows) ** 1.3).astype(np.int64)  # some cards are used much more
    components = world.components(generator, cards, merchants)
    strays = np.flatnonzero(generator.random(n_rows) < _STRAY_SHARE)
    for row in strays:
        scenario = SCENARIOS[generator.integers(len(SCENARIOS))]
        components[row] = scenario.move(generator, components[row : row + 1])[0]
    times = _times(generator, plan, trades)
    amounts = world.amounts(generator, cards, merchants)
    return _table(times, components, amounts, cards, merchants, LEGITIMATE)


def _fraud(
    generator: np.random.Generator, world: _World, scenario: Scenario, setting: Setting, n_rows: int
) -> pd.DataFrame:
    frauds = scenario.play(generator, n_rows, setting)
    usual = world.components(generator, frauds.cards, frauds.merchants)
    hidden = generator.random(n_rows) < scenario.hidden_share
    components = np.where(hidden[:, np.newaxis], usual, scenario.move(generator, usual))
    usual_amounts = world.amounts(generator, frauds.cards, frauds.merchants)
    amounts = np.where(np.isnan(frauds.amounts), usual_amounts, np.round(frauds.amounts, 2))
    return _table(frauds.times, components, amounts, frauds.cards, frauds.merchants, scenario.name)


def _times(generator: np.random.Generator, plan: Plan, trades: _Ids) -> _Array:
    """Seconds since the first midnight, when the trades are open; a little goes on all night."""
    hours = np.arange(24 * 60) / 60
    times = np.empty(len(trades))
    for trade, (middle, half_width, *_) in enumerate(_TRADES):
        rows = np.flatnonzero(trades == trade)
        away = np.abs((hours - middle + 12) % 24 - 12)
        rates = _NIGHT_RATE + np.clip(np.cos(away / half_width * np.pi / 2), 0, None) * (away < half_width)
        minutes = np.searchsorted(np.cumsum(rates) / rates.sum(), generator.random(len(rows)))
        days = generator.integers(plan.days, size=len(rows))
        times[rows] = days * SECONDS_OF_DAY + minutes * 60 + generator.random(len(rows)) * 60
    return np.minimum(times, plan.days * SECONDS_OF_DAY - 1)


def _priced(generator: np.random.Generator, amounts: _Array) -> _Array:
    shares = [1 - sum(_ENDING_SHARES), *_ENDING_SHARES]
    endings = generator.choice([np.nan, *_CENT_ENDINGS], size=len(amounts), p=shares)
    return np.maximum(np.round(np.where(np.isnan(endings), amounts, np.floor(amounts) + endings), 2), 0.01)


def _let_drift(table: pd.DataFrame, plan: Plan) -> None:
    is_later = table["Time"].to_numpy() >= plan.days * SECONDS_OF_DAY / 2
    for component, by in _DRIFTED.items():
        table.loc[is_later, f"V{component + 1}"] += by * _DEVIATIONS[component]
    table.loc[is_later, "Amount"] = (table.loc[is_later, "Amount"] * _DRIFTED_AMOUNTS).round(2)


def _table(  # noqa: PLR0913, PLR0917 - each is a column
    times: _Array, components: _Array, amounts: _Array, cards: _Ids, merchants: _Ids, scenario: str
) -> pd.DataFrame:
    columns: dict[str, object] = {"Time": np.floor(times).astype(np.int64)}
    columns |= {f"V{number + 1}": components[:, number] * _DEVIATIONS[number] for number in range(N_COMPONENTS)}
    columns |= {
        "Amount": amounts,
        "Class": int(scenario != LEGITIMATE),
        "card_id": [f"card-{card:05d}" for card in cards],
        "merchant_id": [f"merchant-{merchant:04d}" for merchant in merchants],
        "scenario": scenario,
    }
    return pd.DataFrame(columns)


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return number

    return parse


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number
