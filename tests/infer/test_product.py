"""A product: its threshold from good parts alone, its file and folder, and what of a stranger's file is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import stat
import zipfile

import numpy as np
import pytest

from iadgpt_jax.data.detection_prompt import DEFECTS, NORMALITY
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.product import MOST_REFERENCES, Product, make_product
from iadgpt_jax.infer.product_file import export_product, open_product, product_bytes, product_of_bytes, save_product
from iadgpt_jax.infer.threshold import Threshold, choose_threshold


class Rule:
    """Stands for an Inspector: a part's margin is its mean grey minus that of its references, its map one cell."""

    ratio, side, unit, tiles, prompt = 0.4, 56, 28, (2, 3), DEFECTS

    def __init__(self):
        self.asked: list[tuple[int, list[int]]] = []

    def inspections(self, queries, references=(), *, explain=True):
        assert not explain
        for query in queries:
            self.asked.append((grey(query), [grey(reference) for reference in references]))
            margin = grey(query) - np.mean([grey(reference) for reference in references])
            yield Inspection(float(margin), np.array([[grey(query)]], np.float32), "", "", query.shape[:2])


def grey(picture) -> int:
    return int(picture[0, 0, 0])


def flat(level: int, side: int = 30) -> np.ndarray:
    return np.full((side, side + 1, 3), level, np.uint8)


@pytest.fixture
def product():
    return Product(
        "M4 screws",
        (flat(10), flat(20), flat(10)),
        Threshold(1.5, 0.9, (-2.0, 1.5)),
        (0.1, 0.7),
        0.4,
        56,
        "ab" * 8,
        (1, 2),
        DEFECTS,
    )


def test_each_reference_is_measured_against_the_others_and_further_parts_against_all():
    rule = Rule()
    product = make_product("p", [flat(10), flat(20), flat(60)], rule, "id", further=[flat(50)], share=0.5)
    left_out, together = rule.asked[:3], rule.asked[3:]
    assert left_out == [(10, [20, 60]), (20, [10, 60]), (60, [10, 20])]
    assert together == [(level, [10, 20, 60]) for level in (50, 10, 20, 60)]
    assert product.threshold.good == (-30.0, -15.0, 20.0, 45.0)
    assert product.calm == (35.0, 60.0), "middle and highest of the maps of all good parts"
    assert (product.ratio, product.side, product.checkpoint) == (0.4, 56, "id")
    assert (product.tiles, product.prompt) == ((2, 3), DEFECTS)


def test_a_single_reference_measures_nothing_and_the_likelier_answer_decides():
    product = make_product("p", [flat(10)], Rule(), "id")
    assert product.threshold == Threshold(0.0, None, ()) and product.threshold.rejects(0.1)
    assert "no good part was measured" in str(product.threshold)
    unmeasured = make_product("p", [flat(10), flat(20)], Rule(), "id", share=None)
    assert unmeasured.threshold == Threshold() and unmeasured.calm == (15.0, 20.0)
    measured = make_product("p", [flat(10)], Rule(), "id", further=[flat(12), flat(15)])
    assert measured.threshold.good == (2.0, 5.0)


@pytest.mark.parametrize("count, share", [(19, 0.95), (40, 0.9), (9, 0.5)])
def test_a_further_good_part_passes_with_the_probability_asked_for(count, share):
    """By counting: of count + 1 exchangeable parts, each in turn the one that was not measured."""
    margins = np.random.default_rng(count).normal(size=count + 1)
    passed = [not choose_threshold(np.delete(margins, i), share).rejects(margins[i]) for i in range(count + 1)]
    assert share <= np.mean(passed) + 1e-12 and np.mean(passed) < share + 1 / (count + 1) + 1e-12


def test_few_good_parts_cannot_vouch_for_a_high_share():
    few = choose_threshold([3.0, 1.0, 2.0], 0.99)
    assert few.margin == 3.0 and few.vouched == 0.75 and "vouch for 75%" in str(few)
    assert choose_threshold(range(99), 0.99).vouched == 0.99 and "vouch" not in str(choose_threshold(range(99), 0.99))
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="share"):
            choose_threshold([1.0], share)


@pytest.mark.parametrize(
    "share, words",
    [(0.5, "50%"), (0.95, "95%"), (0.995, "99.5%"), (0.9995, "99.95%"), (2 / 3, "66.7%"), (1 - 2**-53, "99.9999")],
)
def test_no_share_is_told_as_all_good_parts(share, words):
    told = str(choose_threshold([1.0], share))
    assert words in told and "100%" not in told


def test_no_part_passes_by_a_margin_that_is_no_number():
    assert choose_threshold([0.0, 1.0], 0.5).rejects(float("nan")) and Threshold().rejects(np.float32("nan"))

    class Blind(Rule):
        def inspections(self, queries, references=(), *, explain=True):
            for one in super().inspections(queries, references, explain=explain):
                yield dataclasses.replace(one, margin=float("nan"))

    with pytest.raises(InputError, match="no numbers"):
        make_product("screws", [flat(1), flat(2)], Blind(), "c")


def test_another_share_needs_no_new_measurement(product):
    again = product.with_share(0.3)
    assert again.threshold.margin == -2.0 and again.threshold.good == product.threshold.good


def test_good_parts_stay_below_half_of_the_colours(product):
    assert product.scale([np.array([[0.7]])]) == pytest.approx((0.1, 1.3))
    assert product.scale([np.array([[5.0]])]) == (0.1, 5.0)


def same(ours: Product, theirs: Product) -> bool:
    pixels = all(np.array_equal(a, b) for a, b in zip(ours.references, theirs.references, strict=True))
    rest = [(p.name, p.threshold, p.calm, p.ratio, p.side, p.checkpoint, p.tiles, p.prompt) for p in (ours, theirs)]
    return pixels and rest[0] == rest[1]


def test_saved_and_exported_it_comes_back_as_it_was(product, tmp_path):
    save_product(product, tmp_path / "p")
    export_product(product, tmp_path / "p.zip")
    assert same(open_product(tmp_path / "p"), product) and same(open_product(tmp_path / "p.zip"), product)
    assert product_bytes(open_product(tmp_path / "p")) == (tmp_path / "p.zip").read_bytes()
    assert len(list((tmp_path / "p" / "references").iterdir())) == 2, "equal references are one file"


def test_a_product_that_is_replaced_leaves_no_references_behind(product, tmp_path):
    save_product(product, tmp_path)
    other = Product("M4 screws", (flat(99),), Threshold(), (0.0, 1.0), 1.0, 56, "cd" * 8)
    save_product(other, tmp_path)
    assert same(open_product(tmp_path), other) and len(list((tmp_path / "references").iterdir())) == 1


def test_another_checkpoint_is_refused(product):
    product.check_made_with("ab" * 8, DEFECTS)
    with pytest.raises(InputError, match="margins of two models do not compare"):
        product.check_made_with("cd" * 8, DEFECTS)


def test_another_detection_prompt_is_refused_and_a_file_that_names_none_asked_for_normality(product):
    with pytest.raises(InputError, match="margins of two prompts do not compare"):
        product.check_made_with("ab" * 8, NORMALITY)
    files = contents(product)
    described = json.loads(files["product.json"])
    del described["detection_prompt"]
    before = product_of_bytes(archive(files | {"product.json": json.dumps(described).encode()}), "p.zip")
    assert before.prompt == NORMALITY


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", ".hidden", "x\0", "x" * 65, " x", "x ", "x\n", "a\\b", "x."]
)
def test_a_name_is_a_folder_name_and_no_path(name, product):
    with pytest.raises(InputError, match="cannot be a product's name"):
        make_product(name, product.references, Rule(), "id")


def test_references_are_bounded_and_are_photographs():
    for references, match in [([], "0 references"), ([flat(1)] * (MOST_REFERENCES + 1), "17 references")]:
        with pytest.raises(InputError, match=match):
            make_product("p", references, Rule(), "id")
    with pytest.raises(InputError, match="less than one token"):
        make_product("p", [flat(1, side=20)], Rule(), "id")
    wide = np.broadcast_to(np.uint8(0), (9_000, 9_000, 3))
    with pytest.raises(InputError, match="81,000,000 pixels together"):
        make_product("p", [wide], Rule(), "id")


# ---- Files from strangers ----


def archive(files: dict[str, bytes], kinds: dict[str, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (kinds or {}).get(name, 0) << 16
            out.writestr(entry, data)
    return buffer.getvalue()


def contents(product: Product) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(product_bytes(product))) as whole:
        return {name: whole.read(name) for name in whole.namelist()}


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_compressed_in_a_rare_way_is_refused_before_it_is_read(product, kind):
    """Damaged, these raise errors of their own, and LZMA asks for as much memory as the file says."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as out:
        for name, data in contents(product).items():
            out.writestr(name, data)
    with pytest.raises(InputError, match="compressed in a way"):
        product_of_bytes(buffer.getvalue(), "p.zip")


@pytest.mark.parametrize(
    "name", ["../evil.png", "/etc/evil", "references/../../x.png", "other.txt", "references/a.png"]
)
def test_an_archive_with_any_other_name_is_refused(product, name):
    with pytest.raises(InputError, match="which no product does"):
        product_of_bytes(archive(contents(product) | {name: b"x"}), "p.zip")


def test_links_cut_files_changed_pixels_and_bombs_are_refused(product):
    files = contents(product)
    reference = next(name for name in files if name.endswith(".png"))
    with pytest.raises(InputError, match="which no product does"):
        product_of_bytes(archive(files, {reference: stat.S_IFLNK | 0o777}), "p.zip")
    with pytest.raises(InputError, match="has changed"):
        product_of_bytes(archive(files | {reference: files[reference] + b"x"}), "p.zip")
    with pytest.raises(InputError, match="more than 1,000,000 bytes"):
        product_of_bytes(archive(files | {"product.json": b" " * 2_000_000}), "p.zip")
    with pytest.raises(InputError, match="is missing"):
        product_of_bytes(archive({name: files[name] for name in files if name != reference}), "p.zip")
    whole = archive(files)
    for cut in (b"", b"PK", whole[: len(whole) // 2], whole[:-30]):
        with pytest.raises(InputError, match="p.zip"):
            product_of_bytes(cut, "p.zip")
    for at in range(0, len(whole), 97):  # any flipped byte: refused in one line, or harmless
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        try:
            assert same(product_of_bytes(bytes(flipped), "p.zip"), product)
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"product": 2}, {"name": "../x"}, {"name": 3}, {"references": []}, {"references": ["../../x"]}, {"ratio": 0},
        {"ratio": "1"}, {"side": 56.5}, {"side": True}, {"tiles": [0, 1]}, {"tiles": [2]}, {"tiles": 3},
        {"calm": [1, 0]}, {"calm": [0]}, {"checkpoint": None},
        {"threshold": {}}, {"threshold": {"margin": float("nan"), "share": None, "good": []}},
        {"threshold": {"margin": 10**400, "share": None, "good": []}},
        {"threshold": {"margin": 0, "share": 2, "good": []}}, {"threshold": {"margin": 0, "share": 0.5, "good": {}}},
        {"detection_prompt": 3}, {"detection_prompt": {}}, {"detection_prompt": DEFECTS.to_dict() | {"question": ""}},
        {"detection_prompt": DEFECTS.to_dict() | {"abnormal": ["x"] * 10_000}},
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_is_one_line(product, change):
    files = contents(product)
    files["product.json"] = json.dumps(json.loads(files["product.json"]) | change).encode()
    with pytest.raises(InputError) as refused:
        product_of_bytes(archive(files), "p.zip")
    assert "\n" not in str(refused.value)


def test_a_folder_with_links_or_pipes_is_refused(product, tmp_path):
    save_product(product, tmp_path / "p")
    reference = next((tmp_path / "p" / "references").iterdir())
    elsewhere = tmp_path / "elsewhere.png"
    reference.rename(elsewhere)
    reference.symlink_to(elsewhere)
    with pytest.raises(InputError, match="cannot be read"):
        open_product(tmp_path / "p")
    reference.unlink()
    os.mkfifo(reference)
    with pytest.raises(InputError, match="no ordinary file"):
        open_product(tmp_path / "p")
    with pytest.raises(InputError, match="no product at"):
        open_product(tmp_path / "nothing")
    with pytest.raises(InputError, match="no whole product"):
        open_product(tmp_path)
