"""Questions to a model behind an OpenAI-compatible endpoint: asked with patience, paid for once, never forgotten."""
