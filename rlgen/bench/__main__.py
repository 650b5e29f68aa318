"""A process of its own that trains for so many steps, for `rlgen bench` to see what it takes."""

import json
import sys

from rlgen.bench import train_apart

train_apart(json.loads(sys.argv[1]), int(sys.argv[2]))
