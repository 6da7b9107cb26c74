"""When Python's collector of cyclic garbage runs in a process that answers."""

import gc

_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def collect_rarely() -> None:
    """Keep the collector away from what is there already, and from what is made for one answer.

    A poll makes thousands of objects that die with it, without cycles. The collector looked at them, and at the model,
    several times a poll: without that a filled topic is answered a fifth faster. In the service, its looks at the model
    and the libraries were pauses of 50 ms and more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
