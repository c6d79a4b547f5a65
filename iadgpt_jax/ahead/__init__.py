"""What a compiled step will cost on hardware this machine does not have: memory, FLOPs, collectives, time bounds."""
