"""Words in words.jsonl travel with the photographs, into a folder read in place and into a prepared dataset alike."""

import json

import pytest

from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.data.sources.sample import Defect
from iadgpt_jax.errors import InputError
from tests.data.sources import trees

CAPTIONS = ("A hexagonal bolt.", "Forged steel.", "Smooth, größtenteils grey.")
LINES = [
    {"key": "bolt", "captions": CAPTIONS},
    {"key": "bolt/test/bent_pin", "cause": "a hard knock", "remedy": "pad the holder"},
    {"key": "bolt/test/bent_pin/001.png", "kind": "broken pin", "remedy": "replace the holder", "viewpoint": "top"},
    {"key": "bolt/train", "viewpoint": "side"},
]


@pytest.fixture
def source(tmp_path):
    trees.draw("folder", tmp_path / "parts")
    write(tmp_path / "parts/words.jsonl", LINES)
    return tmp_path / "parts"


def write(path, lines):
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n\n" for line in lines), encoding="utf-8")


def opened(kind, source, tmp_path):
    if kind == "in place":
        return FolderSource(source)
    prepare(Request("folder", source, tmp_path / "out"), say=lambda line: None)
    return PreparedSource(tmp_path / "out")


@pytest.mark.parametrize("kind", ["in place", "prepared"])
def test_words_are_those_of_the_longest_key(kind, source, tmp_path):
    found = opened(kind, source, tmp_path)
    samples = {sample.key: (sample, record) for sample, record in zip(found, found.records, strict=True)}
    bent, record = samples["bolt/test/bent_pin/000.png"]
    assert bent.captions == CAPTIONS and record.captioned
    assert bent.defect == Defect("bent pin", "a hard knock", "pad the holder") and bent.viewpoint == ""
    broken, record = samples["bolt/test/bent_pin/001.png"]
    assert broken.defect == Defect("broken pin", "a hard knock", "replace the holder")
    assert (broken.viewpoint, record.viewpoint, record.kind) == ("top", "top", "broken pin")
    good, record = samples["bolt/train/good/000.png"]
    assert good.defect is None and good.captions == CAPTIONS and record.viewpoint == "side"
    plain, record = samples["nut/test/bent_pin/000.png"]
    assert plain.captions == () and plain.defect == Defect("bent pin", "", "") and not record.captioned


def test_keys_of_no_image_are_told_of(source, tmp_path):
    write(source / "words.jsonl", [*LINES, {"key": "screw", "viewpoint": "top"}])
    report = prepare(Request("folder", source, tmp_path / "out"), say=lambda line: None)
    assert report.values["left_out"] == [{"path": "words.jsonl: screw", "why": "no image has this key"}]
    assert report.values["captioned"] == 5


def test_words_may_lie_elsewhere(source, tmp_path):
    (source / "words.jsonl").rename(tmp_path / "mine.jsonl")
    request = Request("folder", source, tmp_path / "out", words=tmp_path / "mine.jsonl")
    assert prepare(request, say=lambda line: None).values["captioned"] == 5


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 1 is not JSON"),
        ("[1]", "line 1 has no key"),
        ('{"key": "/"}', "line 1 has no key"),
        ('{"key": "bolt", "caption": ["a"]}', "unknown fields caption"),
        ('{"key": "bolt", "captions": ["a", "b"]}', "should have 3 captions"),
        ('{"key": "bolt", "cause": 3}', "cause should be text"),
        ('{"key": "bolt"}\n{"key": "bolt/"}', "speaks of bolt a second time"),
    ],
)
def test_a_line_at_fault_is_named(line, says, source, tmp_path):
    (source / "words.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=says) as error:
        FolderSource(source)
    assert "words.jsonl" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError, match=says):
        prepare(Request("folder", source, tmp_path / "out"), say=lambda line: None)
