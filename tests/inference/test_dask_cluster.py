"""Schedulers that are not there, and one without workers; one that works is in test_dask_engine.py."""

import pytest

from nucleus.errors import InputError

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")

from nucleus.inference import dask_cluster  # noqa: E402


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    monkeypatch.setattr(dask_cluster, "CONNECT", 0.3)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tcp://127.0.0.1:9", r"tcp://127.0.0.1:9: expected a Dask scheduler"),
        ("no://where", "expected a Dask scheduler, as at"),
    ],
)
def test_no_scheduler(address, message):
    with pytest.raises(InputError, match=message), dask_cluster.connected(address, 1, bool):
        pass


def test_a_scheduler_without_workers():
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as empty,
        dask_cluster.connected(empty, 1, bool) as client,
        pytest.raises(InputError, match="expected a Dask scheduler with workers, found one without"),
    ):
        dask_cluster.check_workers(client, None)
