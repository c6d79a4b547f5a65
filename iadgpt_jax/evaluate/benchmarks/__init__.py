"""Published benchmarks of answers in words: VisA-D&R and MMAD. `run.evaluate_benchmark` is the way in."""
