"""Half an hour of steady writes: whether memory, file descriptors and lag stay what they are. By hand: `make soak`."""
