"""compose: a stage's counts are those of its rows, scaled; the page shows rows; no weights are needed."""

from __future__ import annotations

import importlib
import json
import re

import pytest

from iadgpt_jax.data.composition import composition_lines, fed
from iadgpt_jax.data.loader import open_batches
from iadgpt_jax.data.run_sources import open_sources
from iadgpt_jax.errors import InputError
from launch.compose import encoder_of, run


def tiny(stage: int = 2):
    config = importlib.import_module(f"configs.stage{stage}").get_config("tiny")
    config.rows, config.instances, config.steps = 4, 6, 20
    config.source_categories = 4
    return config


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    config = tiny()
    config.sources = {"a": {"path": "procedural", "weight": 3.0}, "b": {"path": "procedural"}}
    return config, out, run(config, str(out), "", examples=3)


def test_the_counts_are_those_of_all_steps(composed):
    config, out, found = composed
    assert found == json.loads((out / "composition.json").read_text())
    batches = open_batches(config, open_sources(config), encoder_of(config, ""))
    tally = batches.measure(config.steps)  # a group is a step here, and all of them are measured
    parts = {f"{part['task']}/{part['source']}": part for part in found["parts"]}
    assert set(parts) == set(batches.tasks)
    for name, taught in tally.tasks.items():
        for count in ("instances", "questions", "images", "answer_tokens"):
            assert parts[name][count] == getattr(taught, count), (name, count)
    assert found["fill"] == tally.filled[0] and found["dropped"] == tally.dropped_share
    assert found["questions_per_step"] * config.steps == pytest.approx(tally.queries)
    part = parts["pair_difference/a"]
    assert part["epochs"] == part["instances"] / (4 * 8)  # categories times visits


def test_the_page_shows_rows_with_what_is_learned_and_loads_nothing(composed):
    _, out, _ = composed
    page = (out / "composition.html").read_text()
    assert page.count('<article class="row">') == 3 and "<mark" in page and "data:image/jpeg" in page
    shown = re.findall(r"<h4>(\S+) ", page)
    assert "pair_difference/a" in shown, shown
    assert "&lt;|im_start|&gt;user" in page and "<|" not in page
    assert not re.search(r"(src|href)=\"(?!data:)|<script|url\(", page)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ""}, "nothing to compose: pass --config.source"),
        ({"steps": 0}, "config.steps is 0"),
        ({"size": "7b"}, "needs Qwen2.5-VL's tokenizer: pass --tokenizer=DIR"),
    ],
)
def test_what_is_missing_is_one_line(changes, message, tmp_path):
    config = tiny()
    config.update(changes)
    with pytest.raises(InputError, match=message):
        run(config, str(tmp_path / "out"), "", 1)


def report_on(found: dict, **changes) -> dict:
    about = {name: found[name] for name in ("stage", "size", "rows", "slots")}
    return about | {"devices": 16, "roofline": {"step_seconds": 0.5}} | changes


def test_threads_that_feed_a_slice_make_a_steps_rows_in_a_steps_time(composed):
    _, _, found = composed
    feeding = fed(found, report_on(found))
    assert feeding["rows_per_second"] == 2 * found["rows"]
    assert feeding["threads"] * found["loader_rows_per_second"] == pytest.approx(feeding["rows_per_second"])
    assert "16 chips need 0.50 s a step" in "\n".join(composition_lines(found | {"feeding": feeding}))


def test_a_report_on_another_step_or_no_report_is_one_line(composed, tmp_path):
    config, _, found = composed
    with pytest.raises(InputError, match="on a step with rows 1, and this one has rows 4"):
        fed(found, report_on(found, rows=1))
    for text in ("{}", "[]", "no JSON"):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(InputError, match="is not a report of a step that fits"):
            run(config, str(tmp_path / "out"), "", 1, str(tmp_path / "report.json"))
