"""One worker of `files.run`: draws its share of the scenes and prints the number of each."""

import json
import sys

from trainer.make.synthetic.write import Job, write_scene

mine = Job(**json.loads(sys.argv[1]))
for each in range(*mine.indices):
    write_scene(mine, each)
    print(each, flush=True)
