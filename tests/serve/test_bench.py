"""What the app does behind its page, on a stub model: products from good examples, parts, words, talk, downloads."""

from __future__ import annotations

import asyncio
import csv
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.inspector import Asked
from iadgpt_jax.infer.product_file import export_product, open_product
from iadgpt_jax.serve import results
from iadgpt_jax.serve.bench import Bench, Shop, image_tokens
from iadgpt_jax.serve.device import Device
from iadgpt_jax.serve.limits import Limits
from iadgpt_jax.serve.metrics import Metrics
from iadgpt_jax.serve.ready import Catalog
from iadgpt_jax.serve.refusals import Refused
from tests.serve.stub import CHECKPOINT, Stub, flat


@pytest.fixture
def stub():
    return Stub()


@pytest.fixture
def bench(tmp_path, stub):
    with ThreadPoolExecutor(2) as hands:
        device = Device(Limits(), Metrics())
        yield Bench(Shop(Catalog(tmp_path / "products", stub, CHECKPOINT), device, Limits(), hands))
        device.close()


def photograph(folder: Path, level: int, name: str = "") -> str:
    path = folder / (name or f"{level}.png")
    Image.fromarray(flat(level)).save(path)
    return str(path)


async def last(words) -> str:
    text = ""
    async for text in words:  # noqa: B007
        pass
    return text


def test_good_examples_and_parts_become_verdicts_and_downloads(bench, tmp_path):
    async def work():
        await bench.use([photograph(tmp_path, 100), photograph(tmp_path, 102)], 2, 1.0, (1, 1))
        await bench.inspect([photograph(tmp_path, 95), photograph(tmp_path, 140, "=bad.png"), photograph(tmp_path, 99)])
        assert bench.part.photograph.name == "=bad.png", "the most defective one is shown first"
        assert await last(bench.explain()) == "a scratch é!" == bench.part.explanation

    asyncio.run(work())
    assert [bench.rejects(one) for one in bench.judged] == [False, True, False]
    assert results.ordered(bench, results.ORDERS[0]) == [1, 2, 0]
    assert results.ordered(bench, results.ORDERS[2]) == [0, 2, 1]
    captions = [caption for _, caption in results.gallery(bench, results.ORDERS[0])]
    assert captions[0].startswith("defective 0.98") and captions[2].startswith("good ")
    rows = list(csv.DictReader(io.StringIO(results.csv_text(bench))))
    assert [row["verdict"] for row in rows] == ["good", "defective", "good"]
    assert rows[1]["file"] == "'=bad.png", "no formula for a spreadsheet"
    with zipfile.ZipFile(io.BytesIO(results.zip_bytes(bench))) as archive:
        assert sorted(archive.namelist())[:3] == [
            "001_95.png_map.png",
            "001_95.png_overlay.png",
            "002__bad.png_map.png",
        ]
    assert np.array_equal(results.mixed(bench, bench.part, 0.0), bench.part.photograph.shown)
    assert results.histogram(bench).ndim == 3
    assert "<script>" not in results.verdict_html(bench, bench.part)


def test_a_threshold_from_good_parts_is_kept_with_the_product(bench, tmp_path):
    references = [photograph(tmp_path, 100), photograph(tmp_path, 110)]
    further = [photograph(tmp_path, level) for level in (105, 106, 109)]

    async def work():
        with pytest.raises(InputError, match="no product yet"):
            await bench.choose(0.9)
        await bench.use(references, 2, 0.4, (1, 1), further, 0.5)
        assert bench.whole.threshold.good == pytest.approx((-1.0, 0.0, 0.1, 0.4, 1.0))
        assert bench.whole.threshold.margin == pytest.approx(0.1)
        await bench.choose(0.8)
        assert bench.whole.threshold.margin == pytest.approx(1.0)
        await bench.save("nuts")
        assert bench.shop.catalog.names() == ["nuts"]
        export_product(bench.whole, tmp_path / "nuts.zip")
        other = Bench(bench.shop)
        with pytest.raises(InputError, match="good part first"):
            await other.inspect([references[0]])
        await other.open(tmp_path / "nuts.zip")
        await other.inspect([photograph(tmp_path, 112), photograph(tmp_path, 120)])
        assert [other.rejects(one) for one in other.judged] == [False, True]
        for wrong in ("nowhere", "../nuts"):
            with pytest.raises(InputError):
                await other.open(wrong)

    asyncio.run(work())
    saved = open_product(bench.shop.catalog.folder / "nuts")
    assert saved.ratio == 0.4 and saved.references[1].shape == (60, 60, 3)


def test_the_same_good_examples_are_read_once_and_other_settings_anew(bench, stub, tmp_path):
    references = [photograph(tmp_path, level) for level in (100, 101, 102)]

    async def work():
        for shots, ratio in ((2, 1.0), (2, 1.0), (3, 1.0), (3, 0.2)):
            await bench.use(references, shots, ratio, (1, 1))

    asyncio.run(work())
    assert stub.batches == [2, 3, 3]


def test_a_threshold_that_was_chosen_stays_while_references_and_settings_do(bench, stub, tmp_path):
    references = [photograph(tmp_path, level) for level in (100, 110)]
    further = [photograph(tmp_path, level) for level in (105, 106, 109)]

    async def work():
        await bench.use(references, 4, 1.0, (1, 1), further, 0.5)
        chosen = bench.whole.threshold
        await bench.use(references, 4, 1.0, (1, 1))
        assert bench.whole.threshold is chosen and len(chosen.good) == 5
        await bench.save("nuts")
        await bench.use(references, 2, 1.0, (1, 1))
        assert bench.whole.name == "nuts" and bench.whole.threshold is chosen
        asked = len(stub.batches)
        await bench.use(references, 4, 1.0, (1, 1), further, 0.8)
        assert bench.whole.threshold.share == 0.8 and len(stub.batches) == asked, "nothing is measured again"
        await bench.use(references, 4, 1.0, (1, 1))
        assert bench.whole.threshold.share == 0.8
        await bench.use(references, 4, 1.0, (1, 1), further[:2], 0.8)
        assert len(bench.whole.threshold.good) == 4
        await bench.use(references, 4, 0.5, (1, 1))
        assert not bench.whole.threshold.good, "other settings: nothing was measured"

    asyncio.run(work())


def test_no_saved_product_is_overwritten_but_the_one_at_hand(bench, tmp_path):
    catalog = bench.shop.catalog

    async def work():
        await bench.use([photograph(tmp_path, 100), photograph(tmp_path, 110)], 2, 1.0, (1, 1), (), 0.5)
        await bench.save("nuts")
        await bench.choose(0.9)
        await bench.save("nuts")
        assert catalog.whole("nuts").threshold.share == 0.9, "its own name"
        export_product(bench.whole, tmp_path / "nuts.zip")
        other = Bench(bench.shop)
        await other.open(tmp_path / "nuts.zip")  # the same product: nothing to overwrite
        await other.choose(0.8)
        await other.save("nuts")
        with pytest.raises(InputError, match="'nuts' already"):
            await Bench(bench.shop).open(tmp_path / "nuts.zip")
        await other.use([photograph(tmp_path, 150)], 1, 1.0, (1, 1))
        with pytest.raises(InputError, match="'nuts' already"):
            await other.save("nuts")
        assert catalog.whole("nuts").threshold.share == 0.8
        await other.save("rings")
        with pytest.raises(InputError, match="no good part was measured"):
            await other.choose(0.9)

    asyncio.run(work())


def test_what_was_found_of_parts_goes_with_the_product_it_was_found_by(bench, tmp_path):
    references = [photograph(tmp_path, 100), photograph(tmp_path, 110)]

    async def work():
        await bench.use(references, 2, 1.0, (1, 1))
        await bench.inspect([photograph(tmp_path, 140)])
        await last(bench.say("What?"))
        await bench.use(references, 2, 1.0, (1, 1), (), 0.5)
        await bench.choose(0.9)
        await bench.save("nuts")
        assert len(bench.judged) == 1 and len(bench.messages) == 2, "only the threshold and the name are new"
        await bench.open("nuts")
        assert not bench.judged and not bench.messages
        with pytest.raises(InputError, match="no part is inspected yet; inspect one first"):
            await last(bench.explain())
        await bench.inspect([photograph(tmp_path, 140)])
        await bench.use([photograph(tmp_path, 150)], 1, 1.0, (1, 1))
        assert not bench.judged

    asyncio.run(work())


def test_many_parts_wait_in_turn_and_not_all_at_once(tmp_path, stub):
    """More parts than may wait, on a model that is slow: none is refused, and none has waited for the others."""
    limits = Limits(queue=4, at_once=4, seconds=3600)
    with ThreadPoolExecutor(2) as hands:
        device = Device(limits, Metrics())
        bench = Bench(Shop(Catalog(tmp_path / "products", stub, CHECKPOINT), device, limits, hands))

        async def work():
            await bench.use([photograph(tmp_path, 100)], 1, 1.0, (1, 1))
            await bench.inspect([photograph(tmp_path, level) for level in range(90, 100)])

        asyncio.run(work())
        device.close()
    assert len(bench.judged) == 10 and max(stub.batches) <= 4


def test_a_part_whose_turn_does_not_come_in_time_is_refused_in_one_line(tmp_path, stub):
    limits = Limits(seconds=1.0)
    with ThreadPoolExecutor(2) as hands:
        device = Device(limits, Metrics())
        shop = Shop(Catalog(tmp_path / "products", stub, CHECKPOINT), device, limits, hands)
        one, other = Bench(shop), Bench(shop)

        async def work():
            for bench in (one, other):
                await bench.use([photograph(tmp_path, 100)], 1, 1.0, (1, 1))
            stub.gate.clear()
            stub.entered.clear()
            first = asyncio.ensure_future(one.inspect([photograph(tmp_path, 1)]))
            assert await asyncio.to_thread(stub.entered.wait, 10)
            late = asyncio.ensure_future(other.inspect([photograph(tmp_path, 2)]))
            await asyncio.sleep(1.2)
            stub.gate.set()
            with pytest.raises(Refused, match="turn"):
                await late
            await first

        asyncio.run(work())
        device.close()


def test_talk_is_about_the_part_until_a_photograph_is_sent_along_and_then_keeps_all(bench, stub, tmp_path):
    async def work():
        await bench.use([photograph(tmp_path, 100)], 1, 1.0, (1, 1))
        await bench.inspect([photograph(tmp_path, 140)])
        assert await last(bench.say("What?")) == "a scratch é!"
        await last(bench.say("Where?"))
        asked = stub.asked[-1]
        assert isinstance(asked, Asked) and asked.history == [("What?", "a scratch é!")]
        await last(bench.say("And this?", [photograph(tmp_path, 50)]))
        await last(bench.say("Sure?"))
        chat = stub.asked[-1]
        assert [message["role"] for message in chat] == ["user", "assistant"] * 3 + ["user"]
        pictures = [part["image"] for message in chat for part in message["content"] if part["type"] == "image"]
        assert [int(one[0, 0, 0]) for one in pictures] == [140, 50], "the part first, then what was sent"
        with pytest.raises(InputError, match="at most 8"):
            await last(bench.say("?", [photograph(tmp_path, 50)] * 8))

    asyncio.run(work())


def test_what_is_no_photograph_is_refused_by_name(bench, tmp_path):
    (tmp_path / "notes.png").write_text("text")

    async def work():
        with pytest.raises(Refused, match="notes.png is no image"):
            await bench.use([str(tmp_path / "notes.png")], 1, 1.0, (1, 1))

    asyncio.run(work())


def test_tokens_fall_with_compression_and_rise_with_shots_and_tiles():
    assert image_tokens(448, 28, 4, 1.0, (1, 1)) == (1024, 256)
    assert image_tokens(448, 28, 4, 0.2, (1, 1)) == (256 + 3 * 51, 256)
    assert image_tokens(448, 28, 1, 0.2, (2, 2)) == (1024, 1024)
