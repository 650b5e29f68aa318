"""How work is executed: recorded steps, CUDA graphs, several seeds as one, acting on arrays, device and threads."""
