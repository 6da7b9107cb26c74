"""What an artifact is refused for, and that no code of it runs before it is verified."""

import dataclasses
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from app.scoring.artifact import MODEL_FILE, load_artifact, save_artifact
from app.scoring.errors import (
    ArtifactChangedError,
    ArtifactError,
    ArtifactMissingError,
    ArtifactNotPinnedError,
    ArtifactSchemaError,
    ArtifactUnreadableError,
    ArtifactVersionError,
    ManifestInvalidError,
)
from app.scoring.manifest import MANIFEST_FILE, Manifest, read_manifest
from tests.artifacts import FEATURE_NAMES


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    """An artifact that a test may spoil."""
    return Path(shutil.copytree(artifact, tmp_path / "artifact"))


def _change_manifest(directory: Path, **changes: Any) -> None:
    file = directory / MANIFEST_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _replace_model(directory: Path, model: bytes) -> None:
    """Another model file, with a manifest that describes it."""
    digest = hashlib.sha256(model).hexdigest()
    (directory / MODEL_FILE).write_bytes(model)
    _change_manifest(directory, sha256=digest, model_version=digest[:12])


def _dumped(model: object) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def _pipeline(directory: Path) -> Pipeline:
    return load_artifact(directory).pipeline


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_what_was_saved_is_loaded(artifact: Path) -> None:
    loaded = load_artifact(artifact)
    answers = loaded.pipeline.predict_proba(np.array([[10.0, 0.0, 0.0, 20.0], [10.0, 6.0, 6.0, 500.0]]))

    assert loaded.manifest.feature_names == FEATURE_NAMES
    assert loaded.manifest.training == {"rows": 440}
    assert answers[:, 1].tolist() == [0.0, 1.0]


def test_the_version_is_the_beginning_of_the_models_digest(artifact: Path) -> None:
    digest = hashlib.sha256((artifact / MODEL_FILE).read_bytes()).hexdigest()

    assert read_manifest(artifact).model_version == digest[:12]


def test_the_manifest_names_the_libraries_that_made_it(artifact: Path) -> None:
    manifest = read_manifest(artifact)

    assert (manifest.scikit_learn_version, manifest.numpy_version) == (sklearn.__version__, np.__version__)


def test_saving_twice_gives_the_same_bytes(artifact: Path, tmp_path: Path) -> None:
    _save_again(artifact, tmp_path / "first", _pipeline(artifact))
    _save_again(artifact, tmp_path / "second", _pipeline(artifact))

    first, second = _files(tmp_path / "first"), _files(tmp_path / "second")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_saving_over_an_artifact_leaves_nothing_unfinished(copy: Path) -> None:
    before = [path.name for path in _files(copy)]
    _save_again(copy, copy, _pipeline(copy))

    assert [path.name for path in _files(copy)] == before


def _save_again(source: Path, directory: Path, pipeline: Pipeline) -> Manifest:
    loaded = load_artifact(source)
    fitted = dataclasses.replace(loaded.fitted, pipeline=pipeline)
    return save_artifact(directory, fitted, training=loaded.manifest.training, metrics=loaded.manifest.metrics)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError, match="nowhere") as caught:
        load_artifact(tmp_path / "nowhere")

    assert "python -m app train" in str(caught.value)


def test_each_file_that_is_missing_is_named(artifact: Path, tmp_path: Path) -> None:
    for file in _needed_files(artifact):
        spoiled = Path(shutil.copytree(artifact, tmp_path / f"without-{file}"))
        (spoiled / file).unlink()

        with pytest.raises(ArtifactMissingError, match=file):
            load_artifact(spoiled)


def _needed_files(directory: Path) -> list[str]:
    return [path.name for path in _files(directory) if path.suffix != ".png"]


def test_a_directory_in_place_of_a_file_is_missing(copy: Path) -> None:
    (copy / MODEL_FILE).unlink()
    (copy / MODEL_FILE).mkdir()

    with pytest.raises(ArtifactMissingError, match=MODEL_FILE):
        load_artifact(copy)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"format_version": "1"}',
        b'{"format_version": 1, "model_version": "\xff"}',
        b"[" * 100_000,
        b'{"training": ' * 100_000,
    ],
    ids=["empty", "half", "array", "null", "no-fields", "type", "not-utf-8", "deep-array", "deep-object"],
)
def test_what_is_no_manifest_is_refused(copy: Path, content: bytes) -> None:
    (copy / MANIFEST_FILE).write_bytes(content)

    with pytest.raises(ManifestInvalidError, match=MANIFEST_FILE):
        read_manifest(copy)


def test_a_format_of_the_future_is_refused(copy: Path) -> None:
    _change_manifest(copy, format_version=1_000)

    with pytest.raises(ManifestInvalidError, match="format version 1000"):
        read_manifest(copy)


@pytest.mark.parametrize(
    "names", [[], ["V1", "V1"], ["Time", "transaction_id"], ["Time", "source"]], ids=["none", "twice", "id", "source"]
)
def test_names_that_no_message_can_carry_are_refused(copy: Path, names: list[str]) -> None:
    _change_manifest(copy, feature_names=names, context_names=[])

    with pytest.raises(ManifestInvalidError, match="names no features"):
        read_manifest(copy)


def test_a_context_name_that_is_no_feature_is_refused(copy: Path) -> None:
    _change_manifest(copy, context_names=["Country"])

    with pytest.raises(ManifestInvalidError, match="context feature"):
        read_manifest(copy)


def test_context_names_that_the_model_was_not_saved_with_are_refused(copy: Path) -> None:
    _change_manifest(copy, context_names=["Time"])

    with pytest.raises(ArtifactSchemaError, match="other context features"):
        load_artifact(copy)


def test_a_model_of_another_artifact_is_refused(copy: Path) -> None:
    (copy / MODEL_FILE).write_bytes(_dumped(StandardScaler()))

    with pytest.raises(ArtifactChangedError, match="not the file that its manifest describes"):
        load_artifact(copy)


def test_a_version_that_is_not_the_models_is_refused(copy: Path) -> None:
    _change_manifest(copy, model_version="0123456789ab")

    with pytest.raises(ArtifactChangedError):
        load_artifact(copy)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_changed_byte_of_any_file_but_the_manifest_is_noticed(
    data: st.DataObject, artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spoiled = Path(shutil.copytree(artifact, tmp_path_factory.mktemp("spoiled") / "artifact"))
    name = data.draw(st.sampled_from([name for name in _needed_files(artifact) if name != MANIFEST_FILE]))
    _flip(data, spoiled / name)

    with pytest.raises(ArtifactChangedError):
        load_artifact(spoiled)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_changed_manifest_is_refused_or_means_the_same_model(
    data: st.DataObject, artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spoiled = Path(shutil.copytree(artifact, tmp_path_factory.mktemp("spoiled") / "artifact"))
    _flip(data, spoiled / MANIFEST_FILE)

    try:
        manifest = load_artifact(spoiled).manifest
    except ArtifactError:
        return
    expected = read_manifest(artifact)
    assert (manifest.feature_names, manifest.sha256) == (expected.feature_names, expected.sha256)


def _flip(data: st.DataObject, file: Path) -> None:
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1), label="position")
    content[position] ^= data.draw(st.integers(1, 255), label="difference")
    file.write_bytes(content)


def test_the_pinned_digest_is_taken_in_any_case(artifact: Path) -> None:
    digest = read_manifest(artifact).sha256

    assert load_artifact(artifact, digest.upper()).manifest.sha256 == digest


def test_another_digest_than_the_pinned_one_is_refused(artifact: Path) -> None:
    with pytest.raises(ArtifactNotPinnedError, match="the settings demand 000000000000"):
        load_artifact(artifact, "0" * 64)


@pytest.mark.parametrize("version", ["1.2.3", "2.0.0", "", "new"])
def test_another_minor_version_of_scikit_learn_is_refused(copy: Path, version: str) -> None:
    _change_manifest(copy, scikit_learn_version=version)

    with pytest.raises(ArtifactVersionError, match=f"this process has {sklearn.__version__}"):
        load_artifact(copy)


def test_another_patch_version_of_scikit_learn_is_taken(copy: Path) -> None:
    major, minor, *_ = sklearn.__version__.split(".")
    _change_manifest(copy, scikit_learn_version=f"{major}.{minor}.999")

    assert load_artifact(copy).manifest.feature_names == FEATURE_NAMES


def test_another_major_version_of_numpy_is_refused(copy: Path) -> None:
    _change_manifest(copy, numpy_version="1.26.4")

    with pytest.raises(ArtifactVersionError, match=r"numpy 1\.26\.4"):
        load_artifact(copy)


def test_bytes_that_are_no_pickle_are_unreadable(copy: Path) -> None:
    _replace_model(copy, b"neither joblib nor pickle")

    with pytest.raises(ArtifactUnreadableError, match="train again"):
        load_artifact(copy)


def test_what_is_no_pipeline_is_refused(copy: Path) -> None:
    _replace_model(copy, _dumped({"a": "dictionary"}))

    with pytest.raises(ArtifactSchemaError, match="KNeighborsClassifier"):
        load_artifact(copy)


def test_another_kind_of_classifier_is_refused(copy: Path) -> None:
    _replace_model(copy, _dumped(Pipeline([("classifier", LogisticRegression())])))

    with pytest.raises(ArtifactSchemaError, match="KNeighborsClassifier"):
        load_artifact(copy)


def test_a_pipeline_without_steps_is_refused(copy: Path) -> None:
    _replace_model(copy, _dumped(Pipeline([])))

    with pytest.raises(ArtifactSchemaError, match="KNeighborsClassifier"):
        load_artifact(copy)


def test_a_pipeline_that_was_not_fitted_is_refused(copy: Path) -> None:
    fitted = _pipeline(copy)
    unfitted = clone(fitted)
    unfitted.neighborwatch_feature_names_ = FEATURE_NAMES
    _replace_model(copy, _dumped(unfitted))

    with pytest.raises(ArtifactSchemaError):
        load_artifact(copy)


@pytest.mark.parametrize(
    "names",
    [["Time", "V2", "V1", "Amount"], ["Time", "V1", "V2"], ["Time", "V1", "V2", "Amount", "V3"]],
    ids=["order", "fewer", "more"],
)
def test_features_that_the_model_was_not_trained_on_are_refused(copy: Path, names: list[str]) -> None:
    _change_manifest(copy, feature_names=names, context_names=[])

    with pytest.raises(ArtifactSchemaError, match="trained on other features"):
        load_artifact(copy)


@pytest.mark.parametrize("changes", [{"metric": "manhattan"}, {"weights": np.reciprocal}, {"p": 1}])
def test_another_distance_or_another_weight_is_refused(copy: Path, changes: dict[str, Any]) -> None:
    pipeline = _pipeline(copy)
    classifier = pipeline[-1].set_params(**changes)
    classifier.fit(classifier._fit_X, classifier._y)
    _replace_model(copy, _dumped(pipeline))

    with pytest.raises(ArtifactSchemaError, match="Euclidean"):
        load_artifact(copy)


def test_other_classes_than_0_and_1_are_refused(copy: Path) -> None:
    pipeline = _pipeline(copy)
    pipeline[-1].classes_ = np.array([0, 2])
    _replace_model(copy, _dumped(pipeline))

    with pytest.raises(ArtifactSchemaError, match="classes 0 and 1"):
        load_artifact(copy)


class _Trap:
    """Makes a directory when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self._made = made

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._made),)


@pytest.fixture
def made_by_trap(tmp_path: Path) -> Path:
    """What is there once the trap of an artifact was unpickled."""
    return tmp_path / "made-by-unpickling"


@pytest.fixture
def trapped(artifact: Path, made_by_trap: Path, tmp_path: Path) -> Path:
    """A good artifact whose model runs code when it is unpickled."""
    pipeline = _pipeline(artifact)
    pipeline.trap = _Trap(made_by_trap)
    _save_again(artifact, tmp_path / "trapped", pipeline)
    return tmp_path / "trapped"


def test_the_trap_works(trapped: Path, made_by_trap: Path) -> None:
    load_artifact(trapped)

    assert made_by_trap.is_dir()


def test_code_that_fails_makes_an_artifact_unreadable(trapped: Path, made_by_trap: Path) -> None:
    made_by_trap.mkdir()

    with pytest.raises(ArtifactUnreadableError, match="FileExistsError"):
        load_artifact(trapped)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"sha256": "0" * 64}, ArtifactChangedError),
        ({"model_version": "0" * 12}, ArtifactChangedError),
        ({"scikit_learn_version": "1.0.0"}, ArtifactVersionError),
        ({"numpy_version": "1.0.0"}, ArtifactVersionError),
        ({"format_version": 0}, ManifestInvalidError),
        ({"feature_names": []}, ManifestInvalidError),
    ],
)
def test_nothing_is_unpickled_when_the_manifest_is_wrong(
    trapped: Path, made_by_trap: Path, changes: dict[str, Any], error: type[ArtifactError]
) -> None:
    _change_manifest(trapped, **changes)

    with pytest.raises(error):
        load_artifact(trapped)
    assert not made_by_trap.exists()


def test_nothing_is_unpickled_when_the_pinned_digest_is_another(trapped: Path, made_by_trap: Path) -> None:
    with pytest.raises(ArtifactNotPinnedError):
        load_artifact(trapped, "0" * 64)

    assert not made_by_trap.exists()


def test_nothing_is_unpickled_of_a_smuggled_model(copy: Path, made_by_trap: Path) -> None:
    (copy / MODEL_FILE).write_bytes(_dumped(_Trap(made_by_trap)))

    with pytest.raises(ArtifactChangedError):
        load_artifact(copy)
    assert not made_by_trap.exists()


def test_each_error_is_one_line(copy: Path) -> None:
    sentences: list[str] = []
    for changes in ({"sha256": "0" * 64}, {"numpy_version": "0"}, {"format_version": 0}):
        spoiled = Path(shutil.copytree(copy, copy.with_name(f"spoiled-{len(sentences)}")))
        _change_manifest(spoiled, **changes)
        with pytest.raises(ArtifactError) as caught:
            load_artifact(spoiled)
        sentences.append(str(caught.value))

    assert [sentence.count("\n") for sentence in sentences] == [0, 0, 0]
    assert len(set(sentences)) == 3
