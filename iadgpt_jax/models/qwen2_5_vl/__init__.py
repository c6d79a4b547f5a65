"""The backbone: Qwen2.5-VL's configuration, vision tower, decoder and rotary positions."""
