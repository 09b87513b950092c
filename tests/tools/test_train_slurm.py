"""The SLURM script under a real SLURM of one machine, started here: preempted, requeued, resumed, finished."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nucleus.cli.main import run_command

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=60
SchedulerParameters=sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
DAEMONS = ("munged", "slurmctld", "slurmd")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(what: Callable[[], bool], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, log.read_text()[-3000:] if log.exists() else "no log"
        time.sleep(0.2)


@pytest.fixture
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of a SLURM with this machine as its only one."""
    missing = [name for name in DAEMONS if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None]
    if missing or os.geteuid() != 0 or (os.cpu_count() or 1) < 2:
        pytest.skip("SLURM: its daemons (slurm-wlm, munge) must be installed, two processors there, and the user root")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    config = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    config.write_text(CONFIG.format(host=host, folder=folder, ports=[free_port(), free_port()], cpus=os.cpu_count()))
    env = os.environ | {"SLURM_CONF": str(config), "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    files = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = ["munged", "--foreground", "--force", *(f"--{name}={folder}/munge.{end}" for name, end in files.items())]
    started = []
    try:
        for command in (munge, ["slurmctld", "-D", "-f", str(config)], ["slurmd", "-D", "-f", str(config)]):
            started.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            time.sleep(0.5)
        idle = ["sinfo", "--noheader", "--format=%t"]
        wait_for(lambda: b"idle" in subprocess.run(idle, env=env, capture_output=True).stdout, 30,
                 folder / "slurmctld.log")  # fmt: skip
        yield env
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=30)


def test_a_preempted_job_goes_on(slurm, tmp_path, pytestconfig):
    data = tmp_path / "datasets" / "bbbc038_synthetic"
    run_command("synth", ["--root", str(data), "--images", "4", "--test-images", "2", "--max-size", "128"])
    run_command("prepare", ["--source", str(data), "--root", str(data), "--workers", "1"])
    output, log = tmp_path / "output", tmp_path / "log.txt"
    settings = {
        "OUTPUT_DIR": output, "DATASETS.TRAIN": "('bbbc038_synthetic_train',)", "SOLVER.MAX_ITER": 60,
        "DATASETS.TEST": "('bbbc038_synthetic_test',)", "INPUT.CROP_SIZE": 64, "INPUT.UPSCALE_SHORT_EDGE": 0,
        "MODEL.TIMM.WEIGHTS": '""', "SOLVER.CHECKPOINT_PERIOD": 1000, "TEST.EVAL_PERIOD": 0, "TEST.PANELS": 0,
        "TEST.LOSS_IMAGES": 0, "DATALOADER.NUM_WORKERS": 0, "SOLVER.IMS_PER_BATCH": 2, "SOLVER.AUTOCAST": '""',
    }  # fmt: skip
    env = slurm | {"DETECTRON2_DATASETS": str(tmp_path / "datasets"), "OMP_NUM_THREADS": "1", "PYTHON": sys.executable}
    arguments = ["--config-file", "configs/quick/mask_rcnn_lite0_FPN.yaml", "--num-gpus", "0"]
    arguments += [str(part) for pair in settings.items() for part in pair]
    sbatch = ["sbatch", "--parsable", "--ntasks=2", f"--output={log}", "tools/train.slurm", *arguments]
    job = subprocess.run(sbatch, env=env, cwd=pytestconfig.rootpath, check=True, capture_output=True, text=True)
    number = job.stdout.strip()

    wait_for(lambda: log.exists() and "iter: 19" in log.read_text(), 120, log)
    subprocess.run(["scancel", "--batch", "--signal=TERM", number], env=env, check=True)  # as at the time limit
    wait_for(lambda: "goes back into the queue" in log.read_text(), 60, log)
    (start,) = json.loads((output / "run.json").read_text())["starts"]
    assert start["outcome"].startswith("stopped by SIGTERM after iteration ") and start["processes"] == 2

    state = ["squeue", "--noheader", "--format=%T", f"--jobs={number}"]
    wait_for(lambda: b"PENDING" in subprocess.run(state, env=env, capture_output=True).stdout, 60, log)
    time.sleep(2)  # what starts in the second in which it was stopped, slurmd takes for what was stopped
    at_once = ["scontrol", "update", f"JobId={number}", "StartTime=now"]  # SLURM would wait for two minutes
    subprocess.run(at_once, env=env, check=True)
    wait_for(lambda: "finished" in (output / "run.json").read_text(), 180, log)
    first, second = json.loads((output / "run.json").read_text())["starts"]
    assert second["first_iteration"] == int(first["outcome"].split()[-1]) + 1
    assert second["outcome"] == "finished"
    wait_for(lambda: not subprocess.run(state, env=env, capture_output=True).stdout.strip(), 60, log)  # it ended
