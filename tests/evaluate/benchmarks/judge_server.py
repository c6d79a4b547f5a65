"""A judge on loopback that gives known grades, and misbehaves the first time that it is asked about some answers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from tests.corpus.server import Server, _completion


@dataclass
class JudgeServer(Server):
    """grades: words of an answer to its grade. trouble: words of an answer to what happens to the first question about
    it: "429", "500", "time-out", "cut body", "cut answer", "prose", or always: "refusal", "never"."""

    grades: dict[str, float] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)
    asked: Counter = field(default_factory=Counter)  # by answer
    bodies: list[dict] = field(default_factory=list)

    def reply(self, body: dict, key: str) -> tuple[str, int, dict[str, str], bytes]:
        told = body["messages"][1]["content"]
        answer = told.partition("[Assistant's answer]\n")[2].partition("\n\n[End")[0]
        with self._lock:
            before = self.asked[answer]
            self.asked[answer] += 1
            self.bodies.append(body)
        if self.status:
            return "whole", self.status[0], {}, json.dumps(self.status[1]).encode()
        trouble = self.trouble.get(answer, "")
        if trouble == "refusal":
            return "whole", 200, {}, _completion("I'm sorry, but I can't grade this.", "stop")
        if trouble == "never":
            return "whole", 200, {}, _completion("It is quite good.", "stop")
        if before == 0 and trouble == "429":
            return "whole", 429, {"Retry-After": "0.02"}, b'{"error": {"message": "slow down"}}'
        if before == 0 and trouble == "500":
            return "whole", 500, {}, b"<html>gone</html>"
        if before == 0 and trouble in ("cut answer", "prose"):
            text = '{"score": 7, "w' if trouble == "cut answer" else "Here is the grade you asked for."
            return "whole", 200, {}, _completion(text, "length" if trouble == "cut answer" else "stop")
        made = _completion(json.dumps({"score": self.grades[answer], "why": f"it says {answer}"}), "stop")
        how = {"time-out": "late", "cut body": "cut"}.get(trouble, "whole") if before == 0 else "whole"
        return how, 200, {}, made
