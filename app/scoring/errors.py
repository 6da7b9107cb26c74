"""What can go wrong in the scoring core.

ScoringError
├── ArtifactError                 the process cannot start with this artifact
│   ├── ArtifactMissingError          a file of it is not there or cannot be read
│   ├── ManifestInvalidError          the manifest is no manifest of a known format
│   ├── ArtifactChangedError          the model file is not the one that the manifest describes
│   ├── ArtifactNotPinnedError        the model file is not the one that the settings demand
│   ├── ArtifactVersionError          made by another minor version of scikit-learn
│   ├── ArtifactUnreadableError       the verified bytes do not unpickle here
│   └── ArtifactSchemaError           model and manifest do not name the same features
└── TransactionError              a transaction's features are not finite numbers of the model's count
"""


class ScoringError(Exception):
    """Everything that the scoring core raises on purpose."""


class ArtifactError(ScoringError):
    """An artifact that must not be used; its message is one sentence for the person who starts the process."""


class ArtifactMissingError(ArtifactError):
    """A file of the artifact is not there or cannot be read."""


class ManifestInvalidError(ArtifactError):
    """The manifest is no manifest of a known format."""


class ArtifactChangedError(ArtifactError):
    """The model file is not the one that the manifest describes."""


class ArtifactNotPinnedError(ArtifactError):
    """The model file is not the one that the settings demand."""


class ArtifactVersionError(ArtifactError):
    """The model was made by another version of scikit-learn or numpy than can read it."""


class ArtifactUnreadableError(ArtifactError):
    """The verified bytes of the model file do not unpickle here."""


class ArtifactSchemaError(ArtifactError):
    """The model and the manifest do not describe the same features."""


class TransactionError(ScoringError):
    """A transaction's features are not finite numbers of the model's count."""
