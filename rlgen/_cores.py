"""The cores that this process may use, as it was before torch is imported: `rlgen` imports this first."""

import os

USABLE = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
