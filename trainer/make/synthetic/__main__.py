"""One worker of `write.py`: writes its share of the scenes and puts out a byte after each."""

import json
import os
import sys

from trainer.make.synthetic.write import write_scene

layout, folder, size, seed, labelled, share = json.loads(sys.argv[1])
for number in range(*share):
    write_scene(layout, folder, size, seed, labelled, number)
    os.write(1, b".")
