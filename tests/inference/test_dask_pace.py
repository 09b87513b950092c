from nucleus.inference.dask_pace import MOST, Pace


def test_pace_by_hand():
    pace = Pace()
    assert pace.count(1000, 2) == 1  # nothing is known yet
    pace.took(1.0, 10)
    assert pace.count(1000, 2) == 20  # of 0.1 s each take 2 s
    assert pace.count(40, 2) == 10  # a quarter of what is left, for two threads
    assert pace.count(1, 2) == 1
    pace.took(60.0, 1)
    assert pace.count(1000, 2) == 1  # 0.8 x 0.1 + 0.2 x 60 s each
    pace.seconds = 0.0
    assert pace.count(10**6, 0) == MOST
