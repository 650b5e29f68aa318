"""Other libraries, and plain PyTorch, as contenders of `rlgen bench --peers`.

Each file imports its library inside its functions, so that none of them is a dependency.
"""
