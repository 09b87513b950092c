import errno

import pytest

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
