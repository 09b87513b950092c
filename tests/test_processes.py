"""Jobs in several processes."""

import os
import signal

import pytest

from nucleus.errors import InputError
from nucleus.processes import available_cpus, in_order


def square(number):
    return number * number, os.getpid()


def refuse_odd(number):
    if number % 2:
        raise InputError(f"job {number}", expected="an even number", found=str(number))
    return number


def kill_itself(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers):
    results = list(in_order(square, range(100), workers))
    assert [value for value, _ in results] == [number * number for number in range(100)]
    here = {process == os.getpid() for _, process in results}
    assert here == {workers == 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_in_order_is_raised(workers):
    with pytest.raises(InputError, match=r"^job 7: expected an even number, found 7$"):
        list(in_order(refuse_odd, [2, 4, 7, 9, *range(100)], workers))


def test_a_killed_worker_is_an_error_that_says_what_to_do():
    with pytest.raises(InputError, match="use fewer"):
        list(in_order(kill_itself, range(10), 2))


def test_no_worker_at_all_is_refused():
    with pytest.raises(InputError, match="--workers: expected at least 1, found 0"):
        list(in_order(square, [1], 0))
    assert available_cpus() >= 1


def test_jobs_are_taken_as_they_are_needed():
    taken = []

    def jobs():
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(square, jobs(), 1)
    assert next(results)[0] == 0 and len(taken) == 1
