"""`python -m app synthesize`: made-up transactions in the schema of the public card set, by one seed.

Two days with a rhythm of day and night. Legitimate transactions are spread around the middle; their amounts are skewed.
Fraud comes in bursts on a card, each burst by one of three ways of working, which are regions of their own; a quarter
of the frauds hides among the legitimate ones, and some legitimate transactions stray into a fraudulent region. No value
is taken from real data.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

N_COMPONENTS = 28
_SECONDS_OF_DAY = 86_400
_DEVIATIONS = np.linspace(1.96, 0.33, N_COMPONENTS)
_HIDDEN_SHARE = 0.25
_STRAY_SHARE = 0.0002
_BURST_SECONDS = 240.0
# The components that a way of working moves, by how many deviations, and its median amount in euros.
_WAYS = (((0, 2, 6, 9, 13, 16), -3.4, 4.0), ((1, 3, 4, 10, 11, 20), 3.2, 260.0), ((5, 7, 8, 12, 17, 24), -3.0, 95.0))
_WAY_SPREAD = 0.6

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What to make."""

    rows: int = 284_807
    fraud_rate: float = 0.0017
    cards: int = 20_000
    days: int = 2
    decimals: int = 4
    seed: int = 1
    output: Path = Path("synthetic.csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .csv or .csv.gz to write")
    parser.add_argument("--rows", type=int, default=Plan.rows, help="transactions (284,807)")
    parser.add_argument("--fraud-rate", type=float, default=Plan.fraud_rate, help="share of fraud (0.0017)")
    parser.add_argument("--cards", type=int, default=Plan.cards, help="cards (20,000)")
    parser.add_argument("--days", type=int, default=Plan.days, help="days (2)")
    parser.add_argument("--decimals", type=int, default=Plan.decimals, help="decimals of V1 to V28 (4)")
    parser.add_argument("--seed", type=int, default=Plan.seed, help="the same seed gives the same bytes (1)")


def plan_of(arguments: argparse.Namespace) -> Plan:
    return Plan(**{name: getattr(arguments, name) for name in Plan.__dataclass_fields__})


def run(plan: Plan) -> int:
    output = plan.output
    output.parent.mkdir(parents=True, exist_ok=True)
    table = synthesize(plan)
    compression = {"method": "gzip", "mtime": 1} if output.suffix == ".gz" else None
    table.to_csv(output, index=False, lineterminator="\n", compression=compression)
    print(f"{len(table):,} transactions, {int(table['Class'].sum()):,} of them fraud, in {output}")  # noqa: T201
    return 0


def synthesize(plan: Plan) -> pd.DataFrame:
    """Columns Time, V1..V28, Amount, Class and card_id, sorted by Time."""
    generator = np.random.default_rng(plan.seed)
    n_fraud = max(2, round(plan.rows * plan.fraud_rate))
    legitimate = _legitimate(generator, plan, plan.rows - n_fraud)
    fraud = _fraud(generator, plan, n_fraud)
    table = pd.concat([legitimate, fraud]).sort_values("Time", kind="stable", ignore_index=True)
    components = [f"V{number}" for number in range(1, N_COMPONENTS + 1)]
    table[components] = table[components].round(plan.decimals) + 0.0  # no negative zeros
    return table


def _legitimate(generator: np.random.Generator, plan: Plan, n_rows: int) -> pd.DataFrame:
    components = generator.standard_t(8, size=(n_rows, N_COMPONENTS))
    strays = generator.random(n_rows) < _STRAY_SHARE
    ways = generator.integers(len(_WAYS), size=n_rows)
    components[strays] = [_in_way(generator, way, 1.0) for way in ways[strays]]
    amounts = generator.lognormal(3.1, 1.3, n_rows)
    times = _times(generator, plan, n_rows)
    return _table(times, components, amounts, generator.integers(plan.cards, size=n_rows), label=0)


def _fraud(generator: np.random.Generator, plan: Plan, n_rows: int) -> pd.DataFrame:
    sizes: list[int] = []
    while sum(sizes) < n_rows:
        sizes.append(min(int(generator.integers(1, 5)), n_rows - sum(sizes)))
    burst_of_row = np.repeat(np.arange(len(sizes)), sizes)
    starts = _times(generator, plan, len(sizes))
    ways = generator.integers(len(_WAYS), size=len(sizes))[burst_of_row]
    hidden = generator.random(n_rows) < _HIDDEN_SHARE
    components = np.array([_in_way(generator, way, _WAY_SPREAD) for way in ways])
    components[hidden] = generator.standard_t(8, size=(int(hidden.sum()), N_COMPONENTS))
    medians = np.array([_WAYS[way][2] for way in ways])
    amounts = medians * generator.lognormal(0, 0.5, n_rows)
    times = np.minimum(starts[burst_of_row] + generator.exponential(_BURST_SECONDS, n_rows), _last_second(plan))
    cards = generator.integers(plan.cards, size=len(sizes))[burst_of_row]
    return _table(times, components, amounts, cards, label=1)


def _in_way(generator: np.random.Generator, way: int, spread: float) -> _Array:
    moved, by, _ = _WAYS[way]
    components = generator.normal(0, spread, N_COMPONENTS)
    components[list(moved)] += by
    return components


def _times(generator: np.random.Generator, plan: Plan, n_rows: int) -> _Array:
    """Seconds since the first midnight; by night a sixth of what comes in the afternoon."""
    seconds = np.arange(plan.days * _SECONDS_OF_DAY)
    hours = seconds / 3600 % 24
    rates = 0.17 + 0.83 * np.clip(np.sin((hours - 6) / 18 * np.pi), 0, None)
    cumulative = np.cumsum(rates) / rates.sum()
    return np.searchsorted(cumulative, generator.random(n_rows)).astype(np.float64)


def _last_second(plan: Plan) -> float:
    return float(plan.days * _SECONDS_OF_DAY - 1)


def _table(
    times: _Array, components: _Array, amounts: _Array, cards: npt.NDArray[np.int64], *, label: int
) -> pd.DataFrame:
    columns: dict[str, object] = {"Time": np.floor(times).astype(np.int64)}
    columns |= {f"V{number + 1}": components[:, number] * _DEVIATIONS[number] for number in range(N_COMPONENTS)}
    columns |= {"Amount": np.round(amounts, 2), "Class": label, "card_id": [f"card-{card:05d}" for card in cards]}
    return pd.DataFrame(columns)
