"""Start of Accelerate: processes, devices, number format and threads."""

import os
import warnings
from datetime import timedelta

import torch
from accelerate import Accelerator as Accelerator  # exported to train.py, since only this room imports accelerate
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin, InitProcessGroupKwargs
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from trainer import InputError
from trainer.config import INSTALLED
from trainer.engine import auto, memory
from trainer.engine.threads import threads_at_start
from trainer.system.cpus import usable_cpus

LAUNCH_COMMAND = (
    "torchrun --nproc_per_node {} -m trainer.train ..."
    if INSTALLED
    else "accelerate launch --config_file launch/multi_cpu.yaml --num_processes {} trainer/train.py ..."
)
"""Command for several processes on CPUs, with the number of processes to fill in."""


def join_processes(mixed_precision: str, threads: int | str, timeout_minutes: float) -> Accelerator:
    """Join the processes that the launcher started. Raises InputError where they were not started together.

    A program that trains several models calls this for each: they stay joined, and get the threads to begin with.

    `mixed_precision`: auto, no, bf16 or fp16; `threads`: as in train.threads;
    `timeout_minutes`: longest wait for another process in a collective.
    """
    _check_launch()
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # Launchers set OMP_NUM_THREADS to 1 for several processes, which would leave cores idle.
    torch.set_num_threads(threads_at_start(threads, max(1, usable_cpus() // local_processes))[0])
    # Accelerate has no option yet for the argument that replaces it in torch.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    accelerated = torch.accelerator.is_available()
    if not accelerated:
        memory.reuse_freed_memory()
    timeout = timedelta(minutes=timeout_minutes)
    _rejoin(accelerated, timeout)
    accelerator = Accelerator(
        # Otherwise each process that torchrun starts on a machine without a GPU runs alone.
        cpu=not accelerated,
        mixed_precision=auto.mixed_precision(mixed_precision, accelerated)[0],
        # The environment variable ACCELERATE_GRADIENT_ACCUMULATION_STEPS overrides the plain argument, not the plugin,
        # and `backward` divides by it.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[
            # Otherwise the main process's batch norm statistics replace the others' in each step, instead of the mean.
            DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=timeout),
        ],
    )
    started = os.environ.get("WORLD_SIZE", "1")
    if started != str(accelerator.num_processes):
        raise InputError(f"{started} processes were started, but each is alone. Use: {LAUNCH_COMMAND.format('N')}")
    return accelerator


def leave_processes() -> None:
    """Leave the group of processes, where this one has joined any."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _rejoin(accelerated: bool, timeout: timedelta) -> None:
    """Join processes that the launcher restarted, with a prefix of their own in its store.

    The store outlives a failure and holds the addresses of dead processes, to which torch would connect.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0" or torch.distributed.is_initialized() or "WORLD_SIZE" not in os.environ:
        return
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    own_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" and os.environ["RANK"] == "0"
    store = TCPStore(address, port, is_master=own_store, timeout=timeout, multi_tenant=True)
    torch.distributed.init_process_group(
        "nccl" if accelerated else "gloo",
        store=PrefixStore(f"attempt_{attempt}", store),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=timeout,
    )


def _check_launch() -> None:
    """Raise InputError, with the right command, where the launch does not fit this machine."""
    variables = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
    tasks = max((int(os.environ.get(name, "1")), name) for name in variables)
    if "WORLD_SIZE" in os.environ:
        local, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if 0 < gpus < local:
            line = f"accelerate launch --config_file launch/multi_gpu.yaml --num_processes {gpus} trainer/train.py ..."
            fix = LAUNCH_COMMAND.format(gpus) if INSTALLED else line
            raise InputError(f"{local} processes were started for the {gpus} GPUs of this machine. Use: {fix}")
    elif "MASTER_ADDR" in os.environ and "ACCELERATE_MIXED_PRECISION" in os.environ:
        # `accelerate launch --cpu --num_processes 2`, or a configuration of type MULTI_CPU (accelerate #2741).
        raise InputError(
            f"several processes were asked for, and the launcher started one. Use: {LAUNCH_COMMAND.format('N')}"
        )
    elif tasks[0] > 1:
        slurm = "" if INSTALLED else "; for Slurm see launch/slurm.sh"
        raise InputError(
            f"{tasks[0]} processes were started ({tasks[1]}) that know nothing of each other. Start one on each "
            f"machine, and let it start the others: {LAUNCH_COMMAND.format('N')}{slurm}"
        )


def hardware_facts(accelerator: Accelerator) -> dict[str, str]:
    """Facts about hardware and processes, by key of the run's params."""
    cuda = accelerator.device.type == "cuda"
    name = torch.cuda.get_device_name(accelerator.device) if cuda else torch.cpu.get_capabilities().get("cpu_name", "")
    return {
        "hardware.device": str(accelerator.device.type),
        "hardware.name": str(name),
        "hardware.processes": str(accelerator.num_processes),
        "hardware.threads_per_process": str(torch.get_num_threads()),
        "hardware.distributed": accelerator.distributed_type.value,
        "hardware.mixed_precision": accelerator.mixed_precision,
    }


def numeric_environment(accelerator: Accelerator) -> dict[str, str]:
    """Facts that change the last bits of the results, beside the settings."""
    facts = hardware_facts(accelerator)
    keys = ("processes", "threads_per_process", "device", "name", "mixed_precision")
    return {key: facts[f"hardware.{key}"] for key in keys} | {"torch": torch.__version__}


def memory_gib(accelerator: Accelerator) -> float:
    """Memory of this process, in GiB: largest amount reserved on a GPU, or resident memory without one."""
    if accelerator.device.type == "cuda":
        return torch.cuda.max_memory_reserved(accelerator.device) / 2**30
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**30
