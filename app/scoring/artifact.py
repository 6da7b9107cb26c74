"""What is in `model_artifacts/`: a fitted pipeline and the manifest that says what it is.

An artifact is a directory. `model.joblib` holds a fitted scikit-learn pipeline, scaling first, and with it what its
answers need besides (a calibration, the usual values); anybody can load it with joblib and compare, and where it ends
in an estimator of `app.scoring.anomaly`, anybody who has this package. Beside a pipeline that ends in a
`KNeighborsClassifier`, `neighbors.npz` holds plain arrays: the index of the classifier's rows (`app.scoring.index`),
and their times and amounts for people to read. `manifest.json` names the features and the sha256 of the model file, and
the model file holds the sha256 of the arrays.

Loading a joblib file runs the code that is in it, so nothing is unpickled before its digest is verified. The digest
is taken of the very bytes that are then unpickled: a file that changes between the two steps changes nothing.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import sklearn
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from app.scoring.calibration import Calibration
from app.scoring.errors import (
    ArtifactChangedError,
    ArtifactNotPinnedError,
    ArtifactSchemaError,
    ArtifactUnreadableError,
    ArtifactVersionError,
)
from app.scoring.fitted import FittedModel, Reference
from app.scoring.index import NeighborIndex
from app.scoring.manifest import FORMAT_VERSION, MANIFEST_FILE, Manifest, read_file, read_manifest
from app.scoring.model import kind_of, known_steps

MODEL_FILE = "model.joblib"
NEIGHBORS_FILE = "neighbors.npz"

# Inside the digested file, so that a changed manifest can neither rename features nor bring other arrays.
_FEATURES_ATTRIBUTE = "neighborwatch_feature_names_"
_NEIGHBORS_ATTRIBUTE = "neighborwatch_neighbors_sha256_"
_CALIBRATOR_ATTRIBUTE = "neighborwatch_calibrator_"
_USUAL_ATTRIBUTE = "neighborwatch_usual_values_"

_COMPRESSED_UP_TO_BYTES = 32_000_000  # the default artifact becomes small enough; a large one loads in time


@dataclass(frozen=True)
class Artifact:
    """A verified artifact, loaded: the model, and what it says of itself."""

    manifest: Manifest
    fitted: FittedModel

    @property
    def pipeline(self) -> Pipeline:
        return self.fitted.pipeline


def save_artifact(
    directory: Path, fitted: FittedModel, *, training: dict[str, Any], metrics: dict[str, Any]
) -> Manifest:
    """Write an artifact; the manifest comes last, so that an interrupted write is refused at loading."""
    pipeline = fitted.pipeline
    neighbors = None if fitted.reference is None else _packed(fitted.reference)
    _attach(pipeline, _FEATURES_ATTRIBUTE, fitted.feature_names)
    _attach(pipeline, _NEIGHBORS_ATTRIBUTE, None if neighbors is None else hashlib.sha256(neighbors).hexdigest())
    _attach(pipeline, _CALIBRATOR_ATTRIBUTE, fitted.calibrator)
    _attach(pipeline, _USUAL_ATTRIBUTE, fitted.usual)
    model = _dumped(pipeline)
    digest = hashlib.sha256(model).hexdigest()
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        model_version=_model_version(digest),
        feature_names=fitted.feature_names,
        context_names=fitted.context_names,
        scikit_learn_version=sklearn.__version__,
        numpy_version=np.__version__,
        sha256=digest,
        training=training,
        metrics=metrics,
    )
    directory.mkdir(parents=True, exist_ok=True)
    if neighbors is None:
        (directory / NEIGHBORS_FILE).unlink(missing_ok=True)
    else:
        _replace(directory / NEIGHBORS_FILE, neighbors)
    _replace(directory / MODEL_FILE, model)
    _replace(directory / MANIFEST_FILE, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest


def _attach(pipeline: Pipeline, name: str, value: object) -> None:
    # What is not there leaves no trace, so that a plain model has the same bytes whatever others can have.
    if value is not None:
        setattr(pipeline, name, value)
    elif hasattr(pipeline, name):
        delattr(pipeline, name)


def _packed(reference: Reference) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        reference_ids=reference.index.reference_ids,
        offsets=reference.index.offsets,
        centers=reference.index.centers,
        reference_context=reference.context,
    )
    return buffer.getvalue()


def _dumped(pipeline: Pipeline) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(pipeline, buffer)
    if buffer.tell() <= _COMPRESSED_UP_TO_BYTES:
        buffer = io.BytesIO()
        joblib.dump(pipeline, buffer, compress=("lzma", 6))
    return buffer.getvalue()


def load_artifact(directory: Path, pinned_sha256: str | None = None) -> Artifact:
    """Read, verify and unpickle an artifact.

    Args:
        directory: where the artifact's files are.
        pinned_sha256: the digest that the model file must have whatever the manifest says; not checked if None.

    Raises:
        ArtifactError: one of its subclasses for each way to be wrong, with one sentence that says what to do.
    """
    manifest = read_manifest(directory)
    model = read_file(directory / MODEL_FILE)
    _verify_digest(directory, manifest, hashlib.sha256(model).hexdigest(), pinned_sha256)
    _verify_versions(directory, manifest)
    pipeline = _unpickle(directory, model)
    keeps_reference = _verify_schema(directory, manifest, pipeline)
    fitted = FittedModel(
        pipeline,
        manifest.feature_names,
        manifest.context_names,
        _read_reference(directory, manifest, pipeline) if keeps_reference else None,
        getattr(pipeline, _USUAL_ATTRIBUTE, None),
        getattr(pipeline, _CALIBRATOR_ATTRIBUTE, None),
    )
    _verify_parts(directory, fitted, keeps_reference=keeps_reference)
    return Artifact(manifest, fitted)


def _read_reference(directory: Path, manifest: Manifest, pipeline: Pipeline) -> Reference:
    neighbors = read_file(directory / NEIGHBORS_FILE)
    if hashlib.sha256(neighbors).hexdigest() != getattr(pipeline, _NEIGHBORS_ATTRIBUTE, None):
        raise ArtifactChangedError(
            f"{directory / NEIGHBORS_FILE} is not the file that the model was saved with, so it was not loaded; "
            "restore it or train again.",
        )
    with np.load(io.BytesIO(neighbors), allow_pickle=False) as arrays:
        index = NeighborIndex(arrays["reference_ids"], arrays["offsets"], arrays["centers"])
        context = arrays["reference_context"]
    if context.shape != (len(index.reference_ids), len(manifest.context_names)):
        raise ArtifactSchemaError(
            f"The manifest in {directory} names other context features than the model was saved with; train again.",
        )
    return Reference(index, context)


def _model_version(digest: str) -> str:
    return digest[:12]


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _verify_digest(directory: Path, manifest: Manifest, digest: str, pinned_sha256: str | None) -> None:
    if digest != manifest.sha256 or manifest.model_version != _model_version(digest):
        raise ArtifactChangedError(
            f"{directory / MODEL_FILE} is not the file that its manifest describes (sha256 {digest[:12]}…, "
            f"expected {manifest.sha256[:12]}…), so it was not loaded; restore it or train again.",
        )
    if pinned_sha256 is not None and digest != pinned_sha256.lower():
        raise ArtifactNotPinnedError(
            f"{directory / MODEL_FILE} has sha256 {digest[:12]}…, but the settings demand {pinned_sha256[:12]}…, "
            "so it was not loaded.",
        )


def _verify_versions(directory: Path, manifest: Manifest) -> None:
    if _minor(manifest.scikit_learn_version) != _minor(sklearn.__version__):
        raise ArtifactVersionError(
            f"The artifact in {directory} was made by scikit-learn {manifest.scikit_learn_version} and this process "
            f"has {sklearn.__version__}; train again, or install scikit-learn {_minor(manifest.scikit_learn_version)}.",
        )
    if manifest.numpy_version.split(".")[0] != np.__version__.split(".")[0]:
        raise ArtifactVersionError(
            f"The artifact in {directory} was made with numpy {manifest.numpy_version} and this process has "
            f"{np.__version__}; train again, or install that version of numpy.",
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _unpickle(directory: Path, model: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            # Patch versions may differ; minor versions were compared already.
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            return joblib.load(io.BytesIO(model))
    except Exception as error:
        raise ArtifactUnreadableError(
            f"{directory / MODEL_FILE} has the right digest but does not load ({type(error).__name__}); train again.",
        ) from error


def _verify_schema(directory: Path, manifest: Manifest, pipeline: Any) -> bool:
    """Whether the model that passes keeps reference rows."""
    kind = kind_of(pipeline[-1]) if isinstance(pipeline, Pipeline) and pipeline.steps else None
    if kind is None:
        raise ArtifactSchemaError(
            f"{directory / MODEL_FILE} does not hold a pipeline that ends in one of {', '.join(known_steps())}.",
        )
    trained_on = getattr(pipeline, _FEATURES_ATTRIBUTE, None)
    n_features = getattr(pipeline, "n_features_in_", None)  # a pipeline that was not fitted has none
    if trained_on != manifest.feature_names or n_features != len(manifest.feature_names):
        raise ArtifactSchemaError(
            f"The model in {directory} was trained on other features than its manifest names; train again.",
        )
    if kind.keeps_reference and not _measures_as_it_must(pipeline[-1]):
        raise ArtifactSchemaError(
            f"The model in {directory} weighs votes or measures distances in a way that is not supported; train with "
            "uniform or distance weights and the Euclidean distance.",
        )
    if list(pipeline.classes_) != [0, 1]:
        raise ArtifactSchemaError(f"The model in {directory} does not know exactly the classes 0 and 1.")
    return kind.keeps_reference


def _measures_as_it_must(classifier: KNeighborsClassifier) -> bool:
    return classifier.weights in ("uniform", "distance") and classifier.effective_metric_ == "euclidean"


def _verify_parts(directory: Path, fitted: FittedModel, *, keeps_reference: bool) -> None:
    """Whether what a model of this kind needs beside its pipeline is there."""
    if not keeps_reference and len(fitted.usual or ()) != len(fitted.feature_names):
        raise ArtifactSchemaError(
            f"The model in {directory} was saved without the usual values of its features; train again."
        )
    if fitted.calibrator is None:
        return
    try:
        Calibration(fitted.calibrator)
    except ValueError as error:
        raise ArtifactSchemaError(f"The calibration of the model in {directory} cannot be used. {error}") from error
