"""What the paper adds to the backbone: fusion of the ViT's levels, compression of references, anomaly maps."""
