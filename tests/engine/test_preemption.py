"""The signal alone; whole runs that are stopped by it are in tests/cli/test_train_faults.py."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from nucleus.engine.preemption import StopOnTerminate


@pytest.fixture
def before():
    """What hears SIGTERM outside training, there again after the test."""
    handler = signal.getsignal(signal.SIGTERM)
    yield handler
    signal.signal(signal.SIGTERM, handler)


def test_sigterm_is_given_back_unless_it_came(before):
    hook = StopOnTerminate(checkpointer=None)
    hook.before_train()
    assert signal.getsignal(signal.SIGTERM) == hook._ask
    hook.after_train()
    assert signal.getsignal(signal.SIGTERM) == before
    hook.before_train()
    os.kill(os.getpid(), signal.SIGTERM)
    hook.after_train()
    assert hook._asked and signal.getsignal(signal.SIGTERM) == hook._ask


def test_in_another_thread_nothing_is_heard(before):
    hook = StopOnTerminate(checkpointer=None)
    thread = threading.Thread(target=lambda: (hook.before_train(), hook.after_train()))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before and hook._before is None
