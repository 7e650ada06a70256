#!/usr/bin/env bash
# From a fresh machine with Python and git to a trained, registered model and its first predictions.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh

out=mlruns/quickstart
accelerate launch --config_file launch/cpu.yaml trainer/train.py --config configs/quickstart.yaml
# Eight pictures from another seed: nothing in them was trained or validated on.
rm -rf "$out"
python trainer/prepare.py synthetic "$out/unseen" --count 8 --seed 1
python trainer/predict.py --model models:/generated-cats@champion --input "$out/unseen/JPEGImages" --output "$out/predicted"

cat <<TEXT

masks:     $PWD/$out/predicted/masks
overlays:  $PWD/$out/predicted/overlays
the runs:  bash launch/ui.sh, then http://127.0.0.1:5000
your own:  python trainer/train.py --help, and README.md
TEXT
