"""A new process that trains for so many steps and prints its peak memory: `python -m rlgen.bench CONFIG STEPS`."""

import json
import sys
from contextlib import ExitStack

from rlgen.bench.measure import process_memory
from rlgen.bench.ours import Trainer
from rlgen.bench.works import WORKS

with ExitStack() as stack:
    trainer = Trainer(json.loads(sys.argv[1]), WORKS["memory"], stack)
    while trainer.taken < int(sys.argv[2]):
        trainer.step()
    print(process_memory(peak=True))
