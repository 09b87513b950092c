"""The order of training samples as a function of a seed and a position, and of nothing else.

A run that was killed and goes on must see what an unbroken run would have seen. Generators that are drawn from as time
goes by cannot promise that: their state depends on who drew before, and data workers each have their own. Here every
random number belongs to a place in the stream, and a generator is made for that place.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

# Families of random numbers, so that no two uses share a generator.
ORDER, AUGMENTATION, MODEL, VALIDATION = range(4)

Sample = tuple[int, int]  # index of the image, position in the stream


def random_source(seed: int, family: int, *place: int) -> np.random.Generator:
    """The generator of one place.

    Args:
        seed: of the run, 0 or more.
        family: one of the constants of this module.
        place: where in the family, such as the epoch or the position in the stream; each 0 or more.
    """
    return np.random.default_rng((seed, family, *place))


class TrainingStream:
    """Endless batches of (image, position), the same for the same seed, that can begin at any batch.

    The stream is a row of shuffled epochs. It is cut into batches of all processes together, and each process takes
    every `processes`-th sample of a batch: any number of processes trains on the same batches.

    Args:
        repeat_factors: (N,), how often each image comes in an epoch on average, at least 1. A factor that is not whole
            is rounded up or down at random in each epoch.
        batch_size: samples in a batch, of all processes together.
        seed: 0 or more.
        process: the number of this process, from 0.
        processes: how many there are.

    Attributes:
        start: batch to begin with; set it to the first iteration of a resumed run.
    """

    def __init__(
        self, repeat_factors: np.ndarray, batch_size: int, seed: int, process: int = 0, processes: int = 1
    ) -> None:
        self.repeat_factors = np.asarray(repeat_factors, dtype=np.float64)
        self.batch_size = batch_size
        self.seed = seed
        self.process = process
        self.processes = processes
        self.start = 0

    def __iter__(self) -> Iterator[list[Sample]]:
        first = self.start * self.batch_size
        samples = zip(self._images(first), itertools.count(first), strict=False)
        while True:
            yield list(itertools.islice(samples, self.batch_size))[self.process :: self.processes]

    def _images(self, first: int) -> Iterator[int]:
        position = 0
        for epoch in itertools.count():
            images = self._epoch(epoch)
            yield from images[max(0, first - position) :]
            position += len(images)

    def _epoch(self, epoch: int) -> list[int]:
        rng = random_source(self.seed, ORDER, epoch)
        times = np.floor(self.repeat_factors + rng.random(len(self.repeat_factors))).astype(np.int64)
        return rng.permutation(np.repeat(np.arange(len(times)), times)).tolist()
