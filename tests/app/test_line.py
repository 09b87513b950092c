"""One at a time, in order; who goes away makes room."""

import asyncio
import threading

import pytest

from nucleus.app.line import AbandonedError, Finished, Line, Running, Waiting
from nucleus.app.refusals import RefusalError


async def states_of(line, work):
    return [state async for state in line.run(work)]


def test_the_second_waits_for_the_first():
    async def scenario():
        line = Line(5)
        begun, go_on, order = threading.Event(), threading.Event(), []

        def slow(progress):
            begun.set()
            progress(1, 2)
            assert go_on.wait(10)
            order.append("slow")
            return "slow"

        def quick(progress):
            order.append("quick")
            return "quick"

        first = asyncio.create_task(states_of(line, slow))
        await asyncio.to_thread(begun.wait, 10)
        second, third = (asyncio.create_task(states_of(line, quick)) for _ in range(2))
        await asyncio.sleep(0.3)
        assert order == []
        go_on.set()
        states = await asyncio.gather(first, second, third)
        line.close()
        return order, states

    order, (first, second, third) = asyncio.run(scenario())
    assert order == ["slow", "quick", "quick"]
    assert Running(1, 2) in first and first[-1] == Finished("slow")
    assert second[0] == Waiting(1) and third[0] == Waiting(2)
    assert second[-1] == third[-1] == Finished("quick")


def test_errors_of_the_work_are_raised():
    def fail(progress):
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        asyncio.run(states_of(Line(1), fail))


def test_who_goes_away_ends_the_work():
    async def scenario():
        line = Line(5)
        ended, begun = threading.Event(), threading.Event()

        def endless(progress):
            begun.set()
            try:
                while True:
                    progress(1, 2)
            except AbandonedError:
                ended.set()
                raise

        running = asyncio.create_task(states_of(line, endless))
        await asyncio.to_thread(begun.wait, 10)
        waiting = asyncio.create_task(states_of(line, endless))
        await asyncio.sleep(0.05)
        waiting.cancel()
        running.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert await asyncio.to_thread(ended.wait, 10)
        assert (await states_of(line, lambda progress: "next"))[-1] == Finished("next")
        line.close()

    asyncio.run(scenario())


def test_places():
    line = Line(2)
    with line.place(), line.place(), pytest.raises(RefusalError, match="2 images are waiting") as refusal, line.place():
        pass
    assert (refusal.value.status, line.taken) == (503, 0)
