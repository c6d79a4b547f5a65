"""Images come from a search engine by icrawler, or from a folder; what is there is not searched for again."""

from __future__ import annotations

import html
import io
import json
import sys

import numpy as np
import pytest
import requests
from PIL import Image

from iadgpt_jax.corpus import workdir
from iadgpt_jax.corpus.collect import EMPTY_IN_A_ROW, collect_from_folder, collect_from_web, collected
from iadgpt_jax.corpus.crawl import WebSearch
from iadgpt_jax.errors import InputError
from tests.corpus import pipeline


def jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def image_at(url: str) -> bytes:
    """The image at example.org/N.jpg."""
    return jpeg(ord(url[-5]))


@pytest.fixture
def web(monkeypatch):
    """The search engine's result page and the images on it, as far as icrawler can tell; returns what was asked for."""
    asked: list[str] = []

    def get(self, url, **_):
        asked.append(url)
        response = requests.Response()
        response.status_code = 200
        if "bing.com" in url:
            found = [json.dumps({"murl": f"http://example.org/{n}.jpg"}, separators=(",", ":")) for n in range(3)]
            page = "".join(f'<div class="imgpt"><a m="{html.escape(one)}"></a></div>' for one in found)
            response._content = page.encode()
        elif url.endswith("1.jpg"):
            response.status_code = 404
        else:
            response._content = image_at(url)
        return response

    monkeypatch.setattr(requests.Session, "get", get)
    return asked


def test_icrawler_searches_and_downloads(web, tmp_path):
    assert collect_from_web(tmp_path, ["hex bolt"], 2, WebSearch("bing", "commercial")) == []
    assert "hex bolt" in web[0] and "license" in web[0] and "photo" in web[0]
    sources = workdir.read_lines(tmp_path / "collected/hex_bolt/sources.jsonl", "")
    assert {one["url"] for one in sources} == {"http://example.org/0.jpg", "http://example.org/2.jpg"}
    for one in sources:
        assert (tmp_path / "collected/hex_bolt" / one["file"]).read_bytes() == image_at(one["url"])
    assert collected(tmp_path) == (1, 2)


def search_that(finds, calls):
    """A search that writes one image for every category in `finds`."""

    def search(category, folder, most):
        calls.append(category)
        if category not in finds:
            return []
        (folder / "000001.jpg").write_bytes(jpeg(most))
        return [("000001.jpg", f"http://example.org/{category}")]

    return search


def test_a_category_that_is_there_is_not_searched_for_again(tmp_path):
    calls: list[str] = []
    assert collect_from_web(tmp_path, ["a", "b", "c"], 5, search_that("ac", calls)) == ["b"]
    assert collect_from_web(tmp_path, ["a", "b", "c", "d"], 5, search_that("abcd", calls)) == []
    assert calls == ["a", "b", "c", "b", "d"]
    assert sorted(path.name for path in (tmp_path / "collected").iterdir()) == ["a", "b", "c", "d"]


def test_a_dead_network_is_noticed(tmp_path):
    calls: list[str] = []
    with pytest.raises(InputError, match="5 searches in a row found nothing"):
        collect_from_web(tmp_path, [str(n) for n in range(100)], 5, search_that((), calls))
    assert len(calls) == EMPTY_IN_A_ROW


def test_only_good_parts_of_a_folder_are_copied(products, tmp_path):
    assert collect_from_folder(tmp_path, products) == 1
    assert collected(tmp_path) == (3, 11)
    copied = tmp_path / "collected/hex_bolt/good_0.png"
    assert copied.read_bytes() == (products / "hex_bolt/good/0.png").read_bytes()
    told = workdir.read_lines(tmp_path / "collected/hex_bolt/sources.jsonl", "")
    assert told[0] == {"file": "good_0.png", "url": "hex_bolt/good/0.png"}


def test_a_folder_of_nothing_but_categories_is_copied_whole(tmp_path):
    pipeline.picture(tmp_path / "shop/hex bolt/a.png", 0)
    pipeline.picture(tmp_path / "shop/tea bag/b.png", 1)
    assert collect_from_folder(tmp_path, tmp_path / "shop") == 0
    assert collected(tmp_path) == (2, 2) and (tmp_path / "collected/tea_bag/b.png").is_file()
    pipeline.picture(tmp_path / "shop/tea_bag/b.png", 2)
    with pytest.raises(InputError, match="tea bag/b.png and tea_bag/b.png would both be tea_bag/b.png"):
        collect_from_folder(tmp_path / "other", tmp_path / "shop")
    with pytest.raises(InputError, match="no images in"):
        collect_from_folder(tmp_path / "other", tmp_path / "shop/hex bolt")
    with pytest.raises(InputError, match="no such folder"):
        collect_from_folder(tmp_path / "other", tmp_path / "nowhere")


@pytest.mark.parametrize(("module", "package", "step", "extra"),
                         [("icrawler.builtin", "icrawler", "collect", "corpus"),
                          ("imagehash", "ImageHash", "clean", "corpus"),
                          ("openai", "openai", "describe", "endpoint")])  # fmt: skip
def test_a_missing_library_is_one_line(module, package, step, extra, products, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", pipeline.KEY)
    pipeline.run(pipeline.collect(tmp_path / "corpus", products), pipeline.clean(tmp_path / "corpus"))
    (tmp_path / "corpus" / workdir.FINGERPRINTS_FILE).unlink()
    monkeypatch.setitem(sys.modules, module, None)
    command = {"collect": ["collect", f"--workdir={tmp_path / 'other'}"], "clean": pipeline.clean(tmp_path / "corpus"),
               "describe": pipeline.describe(tmp_path / "corpus", "http://127.0.0.1:9/v1")}[step]  # fmt: skip
    with pytest.raises(SystemExit) as exit_:
        pipeline.run(command)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert exit_.value.code == 2 and line.startswith(f"error: {package} is not installed")
    assert f"pip install 'iadgpt_jax[{extra}]'" in line


def test_steps_come_in_order_and_one_process_at_a_time(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", pipeline.KEY)
    work = tmp_path / "corpus"
    for command, says in ((pipeline.clean(work), "run tools/build_corpus.py collect first"),
                          (pipeline.describe(work, "http://127.0.0.1:9/v1"), "run tools/build_corpus.py clean first"),
                          (pipeline.publish(work), "run tools/build_corpus.py describe first")):  # fmt: skip
        with pytest.raises(SystemExit):
            pipeline.run(command)
        assert says in capsys.readouterr().err.splitlines()[-1]
    with workdir.opened(work), pytest.raises(SystemExit):
        pipeline.run(pipeline.clean(work))
    assert "another process is at work" in capsys.readouterr().err
