from collections import Counter
from itertools import islice

import numpy as np

from nucleus.data.stream import TrainingStream

ONCE = np.ones(5)


def batches(stream, count):
    return list(islice(stream, count))


def test_every_epoch_holds_every_image_and_positions_count_up():
    samples = [sample for batch in batches(TrainingStream(ONCE, 2, seed=0), 10) for sample in batch]
    assert [position for _, position in samples] == list(range(20))
    images = [image for image, _ in samples]
    epochs = [images[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_stream_goes_on_at_any_batch():
    factors = np.array([1.0, 2.5, 1.0, 3.3, 1.2])
    whole = batches(TrainingStream(factors, 3, seed=7), 30)
    for start in (0, 1, 2, 3, 4, 17):
        resumed = TrainingStream(factors, 3, seed=7)
        resumed.start = start
        assert batches(resumed, 30 - start) == whole[start:]


def test_processes_share_the_batches_of_one():
    whole = batches(TrainingStream(ONCE, 4, seed=1), 6)
    parts = [batches(TrainingStream(ONCE, 4, seed=1, process=p, processes=2), 6) for p in range(2)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]
    assert all(len(batch) == 2 for part in parts for batch in part)


def test_another_seed_gives_another_order():
    assert batches(TrainingStream(ONCE, 5, seed=0), 3) != batches(TrainingStream(ONCE, 5, seed=1), 3)


def test_factors_hold_on_average():
    stream = TrainingStream(np.array([1.0, 2.25]), 1, seed=0)
    counts = Counter(batch[0][0] for batch in islice(stream, 13000))
    # 2.25 in 3.25; the standard deviation of the share over 4,000 epochs is below 0.002
    assert abs(counts[1] / 13000 - 2.25 / 3.25) < 0.01
