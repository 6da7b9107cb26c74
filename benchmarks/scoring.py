"""Scoring alone: time a row in batches of several sizes, ours beside exact searches that do the same, and growth."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.environments import PeerMissingError, python_of, versions_of
from benchmarks.figures import Ratio, Recorder, Result
from benchmarks.machine import commit, machine, now, versions
from benchmarks.peers.answering import sampled_rows
from benchmarks.progress import rounds, tell
from benchmarks.worker import Worker, WorkerError
from benchmarks.workload import Workload, prepare, save_model

OURS, BRUTE, TREE, FLAT = "Neighborwatch", "scikit-learn brute", "scikit-learn kd_tree", "faiss flat"
BATCHES = (1, 32, 512, 2_048)
_LATER_ROWS_OF_GROWTH = 4_000
_JITTER = 0.1  # of a feature's deviation


@dataclasses.dataclass(frozen=True)
class Plans:
    """How much is measured: rounds, rows by contestant and batch (slow ones on a sample), sizes of the growth."""

    rounds: int
    rows: dict[str, dict[int, int]]
    sizes: tuple[int, ...]


_FULL = Plans(
    rounds=3,
    rows={
        OURS: {1: 2_000, 32: 16_384, 512: 0, 2_048: 0},  # 0: all rows of the later part
        BRUTE: {1: 100, 32: 512, 512: 2_048, 2_048: 2_048},
        TREE: {1: 30, 512: 256},  # a tree asks row by row, so that the batch changes nothing
        FLAT: {1: 100, 32: 512, 512: 1_024, 2_048: 2_048},
    },
    sizes=(10_000, 100_000, 1_000_000),
)
_QUICK = Plans(
    rounds=3,
    rows={
        OURS: {1: 500, 32: 2_048, 512: 8_192, 2_048: 8_192},
        BRUTE: {1: 30, 32: 128, 512: 512, 2_048: 2_048},
        FLAT: {1: 30, 32: 128, 512: 512, 2_048: 2_048},
    },
    sizes=(10_000, 100_000),
)


def run(work: Path, *, is_quick: bool) -> Result:
    plans = _QUICK if is_quick else _FULL
    tell("scoring: preparing the model and the transactions")
    workload = prepare(work)
    recorder = Recorder()
    contestants = _contestants(workload, plans, recorder, work)
    contestants |= _growth(workload, plans, recorder, work)
    return Result(
        benchmark="scoring",
        made_at=now(),
        commit=commit(),
        is_quick=is_quick,
        machine=machine(),
        data_set=workload.data_set,
        contestants=contestants,
        figures=recorder.figures(),
        ratios=_ratios(recorder, plans),
        notes=recorder.notes,
    )


def _contestants(workload: Workload, plans: Plans, recorder: Recorder, work: Path) -> dict[str, dict[str, object]]:
    with contextlib.ExitStack() as stack:
        workers = {}
        for name, command in _commands(workload.artifact, workload.arrays, recorder.notes):
            if name not in plans.rows:
                continue
            tell(f"scoring: starting {name}")
            try:
                workers[name] = stack.enter_context(Worker(name, *command))
            except WorkerError as error:
                recorder.notes.append(f"Not measured: {error}")
        for number in rounds(plans.rounds, "scoring"):
            for name, worker in workers.items():
                for batch, rows in plans.rows[name].items():
                    save = work / f"{name}.npy" if number == 0 and batch == max(plans.rows[name]) else None
                    microseconds = worker.microseconds_a_row(batch, rows or len(workload.later.labels), save)
                    recorder.add(f"batch {batch:,}", name, microseconds, "us a row")
        _compare_answers(list(workers), len(workload.later.labels), work, recorder.notes)
        packages = ("numpy", "scikit-learn")
        own = {name: versions(*packages) if name == OURS else versions_of("faiss", *packages) for name in workers}
        if FLAT in own:
            own[FLAT] |= versions_of("faiss", "faiss-cpu")
        return {name: {"versions": own[name]} | worker.facts for name, worker in workers.items()}


def _commands(artifact: Path, arrays: Path, notes: list[str]) -> Iterator[tuple[str, tuple[Path | str, list[str]]]]:
    yield OURS, (sys.executable, ["benchmarks.ours", str(artifact), str(arrays)])
    try:
        python = python_of("faiss")
    except PeerMissingError as error:
        notes.append(f"Not measured: {error}")
        return
    yield BRUTE, (python, ["benchmarks.peers.scikit_learn", "brute", str(arrays)])
    yield TREE, (python, ["benchmarks.peers.scikit_learn", "kd_tree", str(arrays)])
    yield FLAT, (python, ["benchmarks.peers.faiss.search", str(arrays)])


def _compare_answers(names: list[str], n_later: int, work: Path, notes: list[str]) -> None:
    """Say how far each contestant's probabilities are from ours, on the rows that both scored."""
    ours = np.load(work / f"{OURS}.npy")
    for name in names:
        if name != OURS:
            theirs = np.load(work / f"{name}.npy")
            samples = (sampled_rows(n_later, len(answers)) for answers in (ours, theirs))
            _, in_ours, in_theirs = np.intersect1d(*samples, return_indices=True)
            off = np.abs(ours[in_ours] - theirs[in_theirs])
            notes.append(
                f"{name}: {len(off):,} probabilities compared with ours, largest difference {off.max():.2g}, "
                f"{int((off > 1e-6).sum())} differ by more than a millionth."
            )


def _growth(workload: Workload, plans: Plans, recorder: Recorder, work: Path) -> dict[str, dict[str, object]]:
    """Time a row at a batch of 512 for references of growing size, ours and scikit-learn's."""
    facts: dict[str, dict[str, object]] = {}
    with contextlib.ExitStack() as stack:
        workers = []
        for size in plans.sizes:
            tell(f"growth: training on {size:,} reference rows")
            artifact, arrays = _grown(workload, work, size)
            for name, command in _commands(artifact, arrays, recorder.notes):
                if name in (OURS, BRUTE):
                    worker = stack.enter_context(Worker(name, *command))
                    workers.append((size, worker))
                    if name == OURS:
                        facts[f"{OURS}, {size:,} rows"] = worker.facts
        for _ in rounds(plans.rounds, "growth"):
            for size, worker in workers:
                rows = _LATER_ROWS_OF_GROWTH if worker.name == OURS else 512
                microseconds = worker.microseconds_a_row(512, rows)
                recorder.add(f"{size:,} reference rows, batch 512", worker.name, microseconds, "us a row")
    return facts


def _grown(workload: Workload, work: Path, size: int) -> tuple[Path, Path]:
    """Fit a model on so many rows like those of the earlier part.

    Fewer than it has are taken from it, evenly over its time. More are drawn from it, and each is moved by a tenth of
    each feature's deviation, which keeps the shape of the data and makes no row equal to another (the smoothed
    bootstrap; Efron and Tibshirani, An Introduction to the Bootstrap, section 16.4).
    """
    directory = work / f"grown-{size}"
    directory.mkdir(exist_ok=True)
    earlier, later = workload.reference, workload.later
    if size <= len(earlier.labels):
        rows = np.linspace(0, len(earlier.labels) - 1, size).astype(int)
        features = earlier.features[rows]
    else:
        generator = np.random.default_rng(7)
        rows = np.sort(generator.integers(len(earlier.labels), size=size))
        deviations = earlier.features.std(axis=0)
        features = earlier.features[rows] + _JITTER * deviations * generator.normal(size=(size, len(deviations)))
    reference = dataclasses.replace(earlier, features=features, labels=earlier.labels[rows], times=earlier.times[rows])
    first = np.linspace(0, len(later.labels) - 1, _LATER_ROWS_OF_GROWTH).astype(int)
    asked = dataclasses.replace(
        later, features=later.features[first], labels=later.labels[first], times=later.times[first]
    )
    return save_model(directory, reference, asked, workload.feature_names)


def _ratios(recorder: Recorder, plans: Plans) -> list[Ratio]:
    ratios = []
    for batch, must, aim in ((512, 30, 70), (1, 60, 150)):
        name = f"batch {batch}"
        over, under = (name, BRUTE), (name, OURS)
        if recorder.has(over, under):
            ratios.append(
                Ratio(
                    name=f"scoring, {'one row' if batch == 1 else f'batches of {batch}'}: times as fast",
                    spread=recorder.ratio(over, under),
                    must=must,
                    aim=aim,
                    better="more",
                    compared=f"{BRUTE} / {OURS}, us a row",
                )
            )
    smallest, *_, largest = plans.sizes
    over, under = ((f"{size:,} reference rows, batch 512", OURS) for size in (largest, smallest))
    ratios.append(
        Ratio(
            name=f"cost of a row when the reference grows {largest // smallest} times",
            spread=recorder.ratio(over, under),
            must=10,
            aim=4,
            better="less",
            compared=f"{OURS} at {largest:,} reference rows / at {smallest:,}",
        )
    )
    return ratios
