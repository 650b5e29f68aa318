"""What the measured costs depend on: the machine, and versions."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from rlgen import __version__
from rlgen.speed.device import cores


def versions() -> dict[str, str]:
    """Versions by name."""
    return {
        "rlgen": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gymnasium": gymnasium.__version__,
    }


def machine() -> dict[str, Any]:
    """The processor, how many cores this process may use and how busy they are, the GPU, the system."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"cpu": cpu, "cores": cores(), "load": os.getloadavg()[0], "gpu": gpu, "system": platform.platform()}
