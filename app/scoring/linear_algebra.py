"""How many threads numpy's matrix products take in a process that scores: one.

The products of a score are small, and a library that shares one out over the cores makes its threads wait for each
other by spinning. On 2 busy cores the score of a transaction then took 103 us of processor time instead of 16, and 400
to 670 us on the clock instead of 60 to 110. The other cores are for the event loop, the broker and further processes.
"""

from threadpoolctl import threadpool_limits


def use_one_thread() -> None:
    """From now on, in the whole process; a process that trains should not call it."""
    threadpool_limits(limits=1, user_api="blas")
