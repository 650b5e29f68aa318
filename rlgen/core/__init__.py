"""What a reader opens first: the loop, the learner, one gradient step, the buffer and where data come from.

Begin with `loop`, then `learner`, `step` and `buffer`. `source` or `image_source` fills the buffer.
"""
