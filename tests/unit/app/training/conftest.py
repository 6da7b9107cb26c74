"""Small labelled transactions: four features, and fraud, not always plain, where V1 and V2 are large."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread


def make_frame(n_rows: int = 800, seed: int = 3) -> pd.DataFrame:
    """Two days of transactions on 50 cards; about 5 % are fraud."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(n_rows) % 20 == 7).astype(int)
    components = generator.normal(size=(n_rows, 2)) + 2.5 * labels[:, np.newaxis]
    return pd.DataFrame(
        {
            "Time": np.linspace(0, 172_799, n_rows).round(),
            "V1": components[:, 0].round(4),
            "V2": components[:, 1].round(4),
            "Amount": generator.lognormal(3, 1, n_rows).round(2),
            "Class": labels,
            "card_id": [f"card-{number:02d}" for number in generator.integers(50, size=n_rows)],
        }
    )


def count_colors(picture: Path, width: int = 1_200) -> int:
    """How many colours a picture of the given width has; one that shows nothing has few."""
    pixels = (imread(picture)[..., :3] * 255).astype(np.int64)
    assert pixels.shape[1] == width
    return len(np.unique(pixels @ [65_536, 256, 1]))


@pytest.fixture
def frame() -> pd.DataFrame:
    return make_frame()


@pytest.fixture
def csv(frame: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "transactions.csv"
    frame.to_csv(path, index=False)
    return path
