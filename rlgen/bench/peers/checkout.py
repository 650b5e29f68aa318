"""Another version of rlgen as a contender: `rlgen bench --against DIR`, with a checkout of this repository.

Its code runs in a process of its own, in this Python, and times its own blocks.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from rlgen.bench.measure import Block, Cost, Costs
from rlgen.bench.peers.worker import Worker
from rlgen.bench.works import WORKS, Maker, Work
from rlgen.errors import UsageError

PROGRAM = """
import json, os, sys
from contextlib import ExitStack
words = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a library prints there is no answer
import torch
from rlgen.bench import ours, works
from rlgen.speed.device import few_collections
work = works.WORKS[sys.argv[1]]
given = json.loads(sys.argv[2])
try:
    config = works.configure(sys.argv[1], **given)
except Exception:  # a version before there was a choice
    given.pop("compile")
    config = works.configure(sys.argv[1], **given)
torch.set_num_threads(config["threads"])
with ExitStack() as stack:
    block = ours.OURS[work.kind](config, work, stack)
    stack.enter_context(few_collections())
    for line in sys.stdin:
        costs = {unit: list(cost) for unit, cost in block(float(line)).items()}
        print(json.dumps(costs), file=words, flush=True)
"""  # of the other version's own modules


def makers(folder: str) -> dict[str, Maker]:
    """Every work, by that version.

    Raises:
        UsageError: the folder is no checkout of rlgen.
    """
    if not Path(folder, "rlgen", "bench", "works.py").is_file():
        raise UsageError(f"--against {folder}: a checkout of rlgen, as git worktree add {folder} COMMIT makes it")
    return dict.fromkeys(WORKS, partial(train, Path(folder).resolve()))


def train(folder: Path, config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """The work by that version, with this one's device, threads and choice of compiled steps."""
    name = next(name for name, known in WORKS.items() if known is work)
    given = {key: config[key] for key in ("device", "threads", "compile")}
    place = stack.enter_context(tempfile.TemporaryDirectory())
    worker = Worker(["-P", "-c", PROGRAM, name, json.dumps(given)], [folder], config["threads"], place)
    stack.callback(worker.close)
    worker.start()

    def block(seconds: float) -> Costs:
        answer = worker.ask(seconds)
        if answer is None:
            raise RuntimeError(f"rlgen at {folder} ended: {worker.last_words()}")
        return {unit: Cost(*cost) for unit, cost in answer.items()}

    return block
