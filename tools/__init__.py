"""Commands beside training and inspecting: data, weights, pictures, measurements."""
