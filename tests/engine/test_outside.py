import errno
import time
from multiprocessing import resource_sharer

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from nucleus.engine.outside import outside_errors
from nucleus.errors import InputError


def test_what_a_user_can_mend_is_told_in_a_sentence():
    with pytest.raises(InputError, match=r"out/a.pth: expected a disk .* found No space left"), outside_errors("out"):
        raise OSError(errno.ENOSPC, "No space left on device", "out/a.pth")
    with pytest.raises(InputError, match=r"^out: expected a disk with room"), outside_errors("out"):
        raise OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(InputError, match="NUM_WORKERS: expected data workers that live"), outside_errors("out"):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")


@pytest.mark.parametrize("error", [OSError(errno.ECONNREFUSED, "Connection refused"), RuntimeError("another")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised, outside_errors("out"):
        raise error
    assert raised.value is error


class BreaksOff(Dataset):
    """A worker's first sample is handed over by a connection that the second one closes; or the second one fails."""

    def __init__(self, error: Exception | None = None):
        self.error = error
        self.closed = torch.zeros(1).share_memory_()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 1:
            if self.error:
                raise self.error
            time.sleep(1)  # the first sample is sent by a thread
            resource_sharer.stop()
            self.closed[0] = 1
        return torch.zeros(3)


def test_a_worker_whose_death_is_not_yet_known():
    """Its connections are closed, its process is still there."""
    samples = BreaksOff()
    batches = iter(DataLoader(samples, num_workers=1))
    deadline = time.monotonic() + 60
    while not samples.closed[0]:
        assert time.monotonic() < deadline, "the worker did not come to its second sample"
        time.sleep(0.01)
    expected = "live as long as the run, found one that broke off while handing over a batch"
    with pytest.raises(InputError, match=expected), outside_errors("out"):
        next(batches)


@pytest.mark.parametrize("error", [EOFError("truncated"), OSError(errno.EIO, "broken"), RuntimeError("another")])
def test_errors_of_a_data_set_are_not_those_of_its_worker(error):
    with pytest.raises(type(error), match="in DataLoader worker process 0"), outside_errors("out"):
        list(DataLoader(BreaksOff(error), num_workers=1))
