"""What a question to an endpoint costs.

Prices are in currency units per million tokens, as providers list them; 0 for a server of one's own.
"""

from __future__ import annotations

from dataclasses import dataclass

CHARACTERS_PER_TOKEN = 3  # of English words, with room: most tokenizers take four
_MILLION = 1e6


@dataclass(frozen=True)
class Prices:
    """Per million tokens."""

    input: float
    output: float

    def of(self, prompt_tokens: int, answer_tokens: float) -> float:
        return (prompt_tokens * self.input + answer_tokens * self.output) / _MILLION
