from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from bridge.codec import Source
from bridge.pictures import count_by_interval, draw_stream, seconds_since_first
from bridge.stream import Answered, Stream


def _stream(n_answered: int) -> Stream:
    stream = Stream()
    for offset in range(n_answered):
        is_alert = offset % 10 == 3
        received_at = 1_000.0 + offset / 100
        stream.add_answer(
            Answered(Source("transactions", 0, offset), 0.95 * is_alert, is_alert, received_at, received_at + 0.05)
        )
    return stream


def _labelled(n_answered: int) -> Stream:
    stream = _stream(n_answered)
    stream.fraud_sources = frozenset(item.source for item in stream.answered if item.is_alert)
    return stream


@pytest.mark.parametrize(
    "stream", [_stream(0), _stream(1), _stream(500), _labelled(500)], ids=["nothing", "one", "many", "labelled"]
)
def test_three_pictures_are_drawn_and_none_is_blank(stream: Stream, tmp_path: Path) -> None:
    files = draw_stream(stream, 0.8, tmp_path)

    assert [file.name for file in files] == ["stream.png", "latency.png", "scores.png"]
    for file in files:
        pixels = matplotlib.image.imread(file)
        assert pixels.shape[:2] == (600, 1000)
        assert (pixels != pixels[0, 0]).any(axis=2).mean() > 0.01


def test_alerts_change_the_picture(tmp_path: Path) -> None:
    quiet = _stream(500)
    quiet.answered = [item._replace(is_alert=False) for item in quiet.answered]
    pictures = []
    for name, stream in (("quiet", quiet), ("alerting", _stream(500))):
        (tmp_path / name).mkdir()
        pictures.append(draw_stream(stream, 0.8, tmp_path / name)[0].read_bytes())

    assert pictures[0] != pictures[1]


def test_seconds_are_counted_from_the_first() -> None:
    assert seconds_since_first(_stream(3).answered).tolist() == pytest.approx([0, 0.01, 0.02])
    assert seconds_since_first([]).tolist() == []


def test_every_transaction_is_in_one_interval() -> None:
    assert count_by_interval(np.array([0.0, 0.5, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])).tolist() == [2, 2]
