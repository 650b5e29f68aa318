"""What a reader opens first: the loop, the learner, one gradient step, the buffer and where data come from."""
