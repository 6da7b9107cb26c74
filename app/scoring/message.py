"""A transaction as the JSON object that both processes read, straight into a struct of its types.

Reading into dictionaries and checking afterwards takes three times as long.
"""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec

from app.scoring.manifest import Manifest
from app.scoring.transaction import Transaction

_FINITE = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_ID = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_INSTANT = Annotated[datetime, msgspec.Meta(tz=True)]


def transaction_message(manifest: Manifest, *, forbid_unknown_fields: bool) -> type[msgspec.Struct]:
    """The type of the messages of one model, for a `msgspec.json.Decoder`."""
    # A feature may have a name that is no Python identifier, so fields are numbered and renamed.
    features = [(f"feature_{index}", _FINITE) for index in range(len(manifest.feature_names))]
    return msgspec.defstruct(
        "TransactionMessage",
        [
            ("transaction_id", _ID | None, None),
            ("timestamp_received", _INSTANT | None, None),
            ("card_id", _ID | int | None, None),
            *features,
        ],
        rename=dict(zip((name for name, _ in features), manifest.feature_names, strict=True)),
        forbid_unknown_fields=forbid_unknown_fields,
        kw_only=True,  # required fields may then follow those with a default
        gc=False,
    )


def read_transaction(
    message: Any, missing_id: Callable[[], str], carried: dict[str, msgspec.Raw] | None = None
) -> Transaction:
    """What a message of that type says; the id is made where the sender gave none."""
    values = msgspec.structs.astuple(message)
    transaction_id, timestamp_received, card_id = values[:3]
    return Transaction(
        transaction_id or missing_id(),
        values[3:],
        timestamp_received,
        None if card_id is None else str(card_id),
        carried,
    )
