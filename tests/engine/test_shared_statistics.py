import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from nucleus.engine.shared_statistics import SharedStatistics


def one_process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(3, track_running_stats=False))
    norm = model[1]
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]) + rank)
    norm.running_var.copy_(torch.tensor([4.0, 5.0]) * (1 + 2 * rank))
    SharedStatistics(model).after_step()
    torch.save([norm.running_mean, norm.running_var], folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_they_are_the_mean_over_the_processes(tmp_path):
    mp.spawn(one_process, (tmp_path,), nprocs=2)
    for rank in (0, 1):
        mean, variance = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert mean.tolist() == [1.5, 2.5] and variance.tolist() == [8.0, 10.0]


def test_a_model_without_batch_norms_exchanges_nothing():
    hook = SharedStatistics(nn.Linear(2, 1))
    assert hook.statistics == []
    hook.after_step()  # with no other process there, an exchange would raise
