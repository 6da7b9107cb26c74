"""Matrix products in a process that scores."""

import subprocess
import sys


def test_they_use_one_thread_from_then_on() -> None:
    program = (
        "import numpy, threadpoolctl\n"
        "from app.scoring.linear_algebra import use_one_thread\n"
        "use_one_thread()\n"
        "print({pool['num_threads'] for pool in threadpoolctl.threadpool_info() if pool['user_api'] == 'blas'})"
    )

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert shown.stdout == "{1}\n"
