"""What is equal after a resume: three levels, one of which every checkpoint names."""

LEVELS = {
    "exact": "as if it had never stopped",
    "tried exact": "as if it had never stopped: its environment repeated itself in trials at the start",
    "approximate": "networks, buffer and generators are as they were, but its environments begin new episodes",
}
