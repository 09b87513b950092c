"""Starting the processes of a run: one, several on this machine, or those that torchrun has started."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import torch
import torch.distributed as dist
from detectron2.engine import launch
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException

from nucleus.errors import InputError

BAD_INPUT = 2  # exit code of a process that ends with an InputError


def start_processes(run: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> int:
    """Run `run(args)` in every process of the run, and wait for them.

    torchrun (RANK and WORLD_SIZE in the environment) has started the processes already; this one joins its group.
    Otherwise one process a GPU is started, or, with `num_gpus` 0, `num_processes` of them on the CPU. Processes talk
    through NCCL on GPUs and gloo on CPUs.

    Args:
        run: one process's work; a function of a module, since new processes import it.
        args: num_gpus (None: 1 where there is one), num_processes, num_machines, machine_rank, dist_url.

    Returns:
        Exit code: 0, or what the first process that failed ended with. A process that torchrun has started ends here.

    Raises:
        InputError: from `run`, where there is one process.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        with joined_group(on_gpu=args.num_gpus != 0 and torch.cuda.is_available()):
            code = _run(run, args)
        _end(code)
    gpus = min(torch.cuda.device_count(), 1) if args.num_gpus is None else args.num_gpus
    if gpus > torch.cuda.device_count():
        raise InputError("--num-gpus", expected=f"at most {torch.cuda.device_count()}, as there are", found=str(gpus))
    if gpus and args.num_processes > 1:
        raise InputError("--num-processes", expected="--num-gpus 0 with it", found=f"{gpus} GPUs, one process each")
    processes = gpus or args.num_processes
    if gpus == 0 and processes * args.num_machines > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # in the new processes, so that Detectron2 chooses gloo
    if processes * args.num_machines > 1:
        signal.signal(signal.SIGTERM, _pass_on)
    try:
        launch(_run, processes, args.num_machines, args.machine_rank, args.dist_url, args=(run, args))
    except ProcessExitedException as error:
        if error.exit_code > 0:
            return error.exit_code  # it has said why
        print(f"nucleus train: {error}; the others were stopped. Checkpoints are whole: --resume goes on.",
              file=sys.stderr)  # fmt: skip
        return 1
    return 0


def _pass_on(number: int, frame: FrameType | None) -> None:
    """Let the processes that this one has started stop, each as it does; this one ends when they have."""
    for process in multiprocessing.active_children():
        if process.pid is not None:
            os.kill(process.pid, number)


@contextmanager
def joined_group(on_gpu: bool) -> Iterator[None]:
    """Join the process group that the environment describes: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT."""
    dist.init_process_group("nccl" if on_gpu else "gloo")
    comm.create_local_process_group(int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])))
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        comm.synchronize()
        yield
    finally:
        dist.destroy_process_group()


def _run(run: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> int:
    """One process; one among several says itself what is wrong, since an error would reach nobody as it is."""
    if comm.get_world_size() == 1:
        run(args)
        return 0
    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // comm.get_local_size()))
    try:
        run(args)
    except InputError as error:
        print(f"nucleus train, process {comm.get_rank()}: {error}", file=sys.stderr, flush=True)
        _end(BAD_INPUT)
    except SystemExit as stop:
        _end(int(stop.code or 0))
    return 0


def _end(code: int) -> NoReturn:
    """End one of several processes past the interpreter's clean-up, as multiprocessing ends those that it starts.

    The clean-up could wait for processes that are no longer there; and threads of gloo that then give back tensors can
    end the process by SIGABRT (https://github.com/pytorch/pytorch/pull/179291).
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
