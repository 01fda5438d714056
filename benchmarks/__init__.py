"""Questions about speed and memory, each answered by a table: `python -m benchmarks [name]`."""
