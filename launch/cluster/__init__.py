"""Templates of job files, and what fills them in."""
