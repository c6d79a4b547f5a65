"""What a preparation found, report.json in the dataset: counts beside the published ones, every file left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from iadgpt_jax.data.sources.datasets import Dataset
from iadgpt_jax.data.sources.entry import LeftOut
from iadgpt_jax.data.sources.sample import Record
from iadgpt_jax.errors import InputError

REPORT_FILE = "report.json"
_SHOWN, _WIDE = 5, 300  # files left out that a terminal sees, and characters of each


@dataclass(frozen=True)
class Report:
    """`values` as in report.json:

    dataset; records, expected (images in all; null where nobody published a number or only some categories were asked
    for); splits.{name} and expected_splits.{name}; categories.{name}.{split}.{good,defective,unknown}; without_mask
    (defective ones); captioned; exchanges; left_out[].{path,why,count}, left_out_files (their number); remarks[].{what,
    count,first}, what is odd about images that were kept; licence, citation, page, note."""

    values: dict[str, Any]

    @classmethod
    def make(
        cls, name: str, dataset: Dataset, records: Mapping[Record, int], left_out: Iterable[LeftOut], whole: bool,
        remarks: Mapping[str, tuple[int, str]] = MappingProxyType({}),
    ) -> Report:  # fmt: skip
        """The report of a dataset. records: how often there is each; whole: all of the dataset was asked for, so that
        counts should be the published ones; remarks: what -> (how often, the first path)."""
        categories: dict[str, dict[str, Counter[str]]] = {}
        splits: Counter[str] = Counter()
        for record, count in records.items():
            verdict = {None: "unknown", True: "defective", False: "good"}[record.defective]
            categories.setdefault(record.category, {}).setdefault(record.split, Counter())[verdict] += count
            splits[record.split] += count
        listed = [item.to_json() for item in left_out]
        return cls(
            {
                "dataset": name,
                "records": splits.total(),
                "expected": dataset.total if whole else None,
                "splits": dict(splits),
                "expected_splits": {split: count for split, count in dataset.counts.items() if split} if whole else {},
                "without_mask": sum(n for record, n in records.items() if record.defective and not record.masked),
                "captioned": sum(n for record, n in records.items() if record.captioned),
                "exchanges": sum(n * record.exchanges for record, n in records.items()),
                "left_out_files": sum(item.get("count", 1) for item in listed),
                "licence": dataset.licence,
                "citation": dataset.citation,
                "page": dataset.page,
                "note": dataset.note,
                "categories": {
                    category: {split: dict(verdicts) for split, verdicts in by_split.items()}
                    for category, by_split in categories.items()
                },
                "left_out": listed,
                "remarks": [{"what": what, "count": count, "first": first} for what, (count, first) in remarks.items()],
            }
        )

    @classmethod
    def read(cls, directory: Path) -> Report:
        """The report in a prepared dataset. Raises InputError where there is none."""
        try:
            return cls(json.loads((directory / REPORT_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InputError(f"no report in {directory}; prepare it again") from error

    @staticmethod
    def is_there(directory: Path) -> bool:
        return (directory / REPORT_FILE).is_file()

    def write(self, directory: Path) -> None:
        text = json.dumps(self.values, indent=1, ensure_ascii=False)
        (directory / REPORT_FILE).write_text(text + "\n", encoding="utf-8")

    def lines(self) -> Iterator[str]:
        """The counts, for a terminal."""
        for category, splits in self.values["categories"].items():
            told = (f"{split} {verdict} {n}" for split, verdicts in splits.items() for verdict, n in verdicts.items())
            yield f"  {category}: " + ", ".join(told)

    def warnings(self) -> Iterator[str]:
        """What people should know before they train on it."""
        values = self.values
        wanted = values["expected_splits"] or ({"in all": values["expected"]} if values["expected"] is not None else {})
        for split, expected in wanted.items():
            found = values["records"] if split == "in all" else values["splits"].get(split, 0)
            if found != expected:
                note = f"; {values['note']}" if values["note"] else ""
                yield f"{split}: {found:,} images, the publication counts {expected:,}{note}"
        if values["without_mask"]:
            yield f"{values['without_mask']} defective images have no mask; they count for image metrics only"
        for item in values.get("remarks", ()):
            yield f"{item['count']:,} image files: each {item['what']}; the first is {item['first']}"
        if values["left_out"]:
            yield f"{values['left_out_files']:,} files left out or missing, all of them in {REPORT_FILE}:"
            for item in values["left_out"][:_SHOWN]:
                line = f"  {item['path']}: {item['why']}"
                yield line if len(line) <= _WIDE else f"{line[:_WIDE]} …"
            if len(values["left_out"]) > _SHOWN:
                yield f"  … and {len(values['left_out']) - _SHOWN} more lines"
