import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import pytest
from aiokafka import ConsumerRecord

from app.scoring.artifact import load_artifact
from app.scoring.errors import ArtifactError
from app.scoring.scorer import Scorer
from bridge.answer import Answerer, Kind, Taken
from bridge.codec import Codec
from bridge.errors import ModelProcessError
from bridge.model_process import ModelProcess, Plan, model_process

ARTIFACT = Path("model_artifacts/default")
PLAN = Plan(str(ARTIFACT), None, threshold=0.8, max_record_bytes=262_144, with_processed=False)


def _records(values: list[bytes | None]) -> list[ConsumerRecord]:
    return [
        ConsumerRecord("transactions", 1, offset, 1_700_000_000_000, 0, None, value, None, 0, len(value or b""), ())
        for offset, value in enumerate(values)
    ]


@pytest.fixture
async def model() -> AsyncIterator[ModelProcess]:
    async with model_process(PLAN) as started:
        yield started


def _pid() -> int:
    (child,) = [child for child in psutil.Process().children() if "bridge.model_process" in child.cmdline()]
    return child.pid


@pytest.fixture(scope="module")
def values() -> list[bytes | None]:
    names = load_artifact(ARTIFACT).manifest.feature_names
    features = [dict.fromkeys(names, float(number)) for number in range(5)]
    return [*(msgspec.json.encode({"transaction_id": str(number), **row}) for number, row in enumerate(features)), b"{"]


async def test_it_answers_what_an_answerer_answers(model: ModelProcess, values: list[bytes | None]) -> None:
    artifact = load_artifact(ARTIFACT)
    answerer = Answerer(Codec(artifact.manifest, 262_144), Scorer(artifact), with_processed=False)

    answer = await model.answer(_records(values))

    expected = answerer.answer(
        [Taken("transactions", 1, i, 1_700_000_000_000, value) for i, value in enumerate(values)]
    )
    assert answer.fraud_probabilities == expected.fraud_probabilities
    assert answer.methods == expected.methods
    assert [value is None for value in answer.predictions] == [False] * 5 + [True]


async def test_a_dead_letter_comes_back_without_the_value_that_is_here_already(
    model: ModelProcess, values: list[bytes | None]
) -> None:
    (extra,) = (await model.answer(_records(values))).extras

    assert (extra.kind, extra.index, extra.value) == (Kind.DEAD_LETTER, 5, None)


async def test_its_manifest_is_that_of_the_artifact(model: ModelProcess) -> None:
    assert model.manifest == load_artifact(ARTIFACT).manifest


async def test_an_artifact_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        async with model_process(msgspec.structs.replace(PLAN, artifact=str(tmp_path))):
            pass


async def test_who_waits_for_a_model_that_is_killed_is_told(model: ModelProcess, values: list[bytes | None]) -> None:
    os.kill(_pid(), signal.SIGSTOP)
    waiting = asyncio.create_task(model.answer(_records(values)))
    await asyncio.sleep(0)

    os.kill(_pid(), signal.SIGKILL)

    with pytest.raises(ModelProcessError, match="ended with code -9"):
        await waiting


async def test_a_model_that_is_gone_is_noticed_unasked(model: ModelProcess) -> None:
    os.kill(_pid(), signal.SIGKILL)

    async def ask_until_it_is_noticed() -> None:
        while True:  # pytest's timeout ends a silence
            model.check()
            await asyncio.sleep(0.01)

    with pytest.raises(ModelProcessError):
        await ask_until_it_is_noticed()


async def test_an_answer_that_nobody_waits_for_any_more_goes_to_nobody(
    model: ModelProcess, values: list[bytes | None]
) -> None:
    forgotten = asyncio.create_task(model.answer(_records(values[:1])))
    await asyncio.sleep(0)
    forgotten.cancel()

    assert len((await model.answer(_records(values))).predictions) == len(values)


async def test_questions_asked_at_once_get_their_own_answers(model: ModelProcess, values: list[bytes | None]) -> None:
    answers = await asyncio.gather(*(model.answer(_records(values[:number])) for number in range(1, 6)))

    assert [len(answer.predictions) for answer in answers] == [1, 2, 3, 4, 5]


async def test_a_signal_to_the_whole_group_does_not_end_it(model: ModelProcess, values: list[bytes | None]) -> None:
    os.kill(_pid(), signal.SIGTERM)
    os.kill(_pid(), signal.SIGINT)

    assert len((await model.answer(_records(values))).predictions) == len(values)


async def test_it_ends_with_its_context() -> None:
    async with model_process(PLAN):
        process = psutil.Process(_pid())

    assert not process.is_running()
