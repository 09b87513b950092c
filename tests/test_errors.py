import errno
import mmap
import pickle

import cv2
import numpy as np
import pytest
import torch

from nucleus.errors import InputError, is_out_of_memory


def test_the_message_says_where_what_and_how():
    error = InputError("a.png", expected="8 bits", found="1 bit", remedy="Save it again.")
    assert str(error) == "a.png: expected 8 bits, found 1 bit. Save it again."


def test_it_comes_back_whole_from_a_worker_process():
    error = pickle.loads(pickle.dumps(InputError("a.png", expected="x", found="y", remedy="z")))
    assert (str(error), error.where, error.remedy) == ("a.png: expected x, found y. z", "a.png", "z")


def test_every_kind_of_too_little_memory_is_known():
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(1 << 50)
    with pytest.raises(cv2.error) as of_opencv:
        cv2.resize(np.zeros((1, 1), np.uint8), (1 << 30, 1 << 20))
    assert is_out_of_memory(of_torch.value)
    assert is_out_of_memory(of_opencv.value), of_opencv.value
    with pytest.raises(OSError) as of_the_system:
        mmap.mmap(-1, 1 << 50)
    assert is_out_of_memory(of_the_system.value)
    assert is_out_of_memory(MemoryError())
    for words in ("std::bad_alloc", "CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"):
        assert is_out_of_memory(RuntimeError(words))  # as torch says it where there is a GPU, or below it
    assert not is_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    with pytest.raises(cv2.error) as other:
        cv2.resize(np.zeros((0, 0), np.uint8), (1, 1))
    assert not is_out_of_memory(other.value)
