#!/usr/bin/env bash
# Training on Slurm, one task for each GPU (or CPU process), without another launcher between Slurm and them:
#   sbatch --nodes 2 --ntasks-per-node 4 --gpus-per-node 4 launch/slurm.sh --config configs/cats.yaml --data.root DIR ...
# 90 s before the time is up Slurm sends SIGUSR1 to the tasks. They save, end with code 143, and the job goes back into
# the queue; when it starts again, it continues.
#SBATCH --job-name=segtrainer
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@90
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?start this with sbatch, from the repository root}"
source .venv/bin/activate

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)) WORLD_SIZE=$SLURM_NTASKS
again=()
[ "${SLURM_RESTART_COUNT:-0}" = 0 ] || again=(--resume latest-or-new)

code=0
srun --mpi=none --kill-on-bad-exit=1 bash -c '
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID LOCAL_WORLD_SIZE=${SLURM_STEP_TASKS_PER_NODE%%[(,]*}
    exec python trainer/train.py "$@"' train "$@" "${again[@]}" || code=$?
[ "$code" != 143 ] || scontrol requeue "$SLURM_JOB_ID"
exit "$code"
