"""Data workers that outlive a SIGTERM to all processes of a run.

Schedulers send it to all of them. The main process then finishes its step and saves a checkpoint
(`nucleus.engine.preemption`), for which it needs its data workers.
"""

from __future__ import annotations

import os
import signal
import threading


def outlive_sigterm(worker: int) -> None:
    """In a data worker: end by SIGTERM only where the main process sends it, as torch does to end its workers.

    Args:
        worker: its number.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # threads that begin later, too
    threading.Thread(target=_obey_the_parent, args=(os.getppid(),), daemon=True).start()


def _obey_the_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
