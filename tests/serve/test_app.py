"""The app in a real browser, end to end: verdict, chat, batch, product, keyboard, a phone's width, two users at once.

Needs gradio (the extra `app`), playwright and Debian's chromium. IADGPT_APP_CHECKPOINT: a trained model instead of a
random one; IADGPT_APP_SCREENSHOTS: a folder for the pictures of docs/app.md.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.infer.product_file import open_product
from iadgpt_jax.procedural import Factory
from launch.local import free_port
from tests.small_iadgpt import lively_params, small_config

pytest.importorskip("gradio", reason="the extra [app] is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]
ROOT = Path(__file__).resolve().parents[2]
PATIENT = float(os.environ.get("IADGPT_APP_SECONDS", "120")) * 1000  # a busy machine compiles for long
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Photographs of one made-up product: four good examples, two more good parts, three defective ones."""
    folder = tmp_path_factory.mktemp("parts")
    factory = Factory(3, "held_out", 1, 6, 3, 448)
    for index in range(9):
        made = factory[index]
        Image.fromarray(made.image).save(folder / f"{'bad' if made.defective else 'good'}_{index}.png")
    return sorted(folder.iterdir(), key=lambda path: int(path.stem.partition("_")[2]))


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """(address, folder of products) of the app in a process of its own, which SIGTERM must end with status 0."""
    folder = tmp_path_factory.mktemp("app")
    checkpoint = os.environ.get("IADGPT_APP_CHECKPOINT")
    if not checkpoint:
        checkpoint = folder / "work"
        info = {"image_side": 84, "map_space": "probability"}
        save_model(checkpoint, lively_params(small_config()), small_config(), tiny_tokenizer(), info)
    port = free_port()
    flags = [f"--checkpoint={checkpoint}", f"--products={folder / 'products'}", f"--port={port}"]
    process = subprocess.Popen(
        [sys.executable, "launch/app.py", *flags], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"XLA_FLAGS": ""},  # one device, as a person has it
    )  # fmt: skip
    try:
        assert any(" in a browser" in line for line in process.stderr)
        yield f"http://127.0.0.1:{port}", folder / "products"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.stderr.close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, address: str, **options):
    """A page of a user of its own; it must ask nobody else for anything."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENT)
    page, elsewhere = context.new_page(), []
    page.on("request", lambda request: None if address in request.url else elsewhere.append(request.url))
    page.goto(address)
    page.locator("#inspect").wait_for()
    yield page
    context.close()
    assert [url for url in elsewhere if url.startswith("http")] == []


def give(page, field: str, paths) -> None:
    page.locator(f"#{field} input[type=file]").set_input_files([str(path) for path in paths])
    playwright.expect(page.locator(f"#{field}")).to_contain_text(paths[-1].stem, timeout=PATIENT)


def inspect(page, good, parts) -> None:
    give(page, "good", good)
    give(page, "parts", parts)
    page.locator("#inspect").click()
    verdict(page)


def verdict(page) -> str:
    judged = page.locator("#verdict .verdict.good, #verdict .verdict.bad")
    judged.wait_for()
    return judged.inner_text()


def picture(page, name: str) -> None:
    if folder := os.environ.get("IADGPT_APP_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.jpg", type="jpeg", quality=70)


def test_parts_are_judged_shown_sorted_asked_about_and_kept_as_a_product(app, browser, parts, tmp_path):
    address, products = app
    with opened(browser, address, viewport={"width": 1280, "height": 900}) as page:
        inspect(page, parts[:4], parts[4:])
        assert "score" in verdict(page) and page.locator("#gallery button img").count() == 5
        playwright.expect(page.locator("#slider img").first).to_be_visible()
        playwright.expect(page.locator("#explanation textarea")).not_to_have_value("", timeout=PATIENT)
        picture(page, "app")
        page.get_by_role("button", name="Settings").click()
        assert "s per part" in page.locator("#costs").inner_text()

        # ---- The batch: another order, another part, downloads ----
        page.locator("#order").get_by_label("by name").click()
        playwright.expect(page.locator("#gallery .caption-label").first).to_contain_text("bad_6")
        page.locator("#gallery button:has(img)").nth(4).click()
        playwright.expect(page.locator("#verdict")).to_contain_text("good_5", timeout=PATIENT)
        with page.expect_download() as download:
            page.locator("#csv").click()
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
        assert len(rows) == 5 and {row["verdict"] for row in rows} <= {"good", "defective"}
        page.locator("#zip").click()
        with page.expect_download() as download:
            page.locator("#zipped a[download]").first.click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert sum(name.endswith("_map.png") for name in archive.namelist()) == 5

        # ---- Questions; a photograph that is sent along stays in the chat ----
        box = page.locator("#ask textarea")
        box.fill("What is wrong with the last image?")
        box.press("Enter")
        playwright.expect(page.locator("#chat [data-testid=bot]")).to_have_count(1, timeout=PATIENT)
        page.locator("#ask input[type=file]").set_input_files(str(parts[6]))
        page.locator("#ask img").wait_for()
        box.fill("And this one?")
        box.press("Enter")
        playwright.expect(page.locator("#chat [data-testid=bot]")).to_have_count(2, timeout=PATIENT)
        playwright.expect(page.locator("#chat img").first).to_be_visible()
        page.locator("#chat").scroll_into_view_if_needed()
        picture(page, "app_chat")

        # ---- A threshold from good parts, a product, reopened by another user ----
        page.get_by_role("tab", name="Product").click()
        give(page, "further", parts[4:6])
        page.locator("#choose").click()
        playwright.expect(page.locator("#product")).to_contain_text("by 6 good parts", timeout=PATIENT)
        page.locator("#name textarea, #name input").first.fill("pieces")
        page.locator("#save").click()
        playwright.expect(page.locator("#product")).to_contain_text("pieces", timeout=PATIENT)
        product = open_product(products / "pieces")
        assert len(product.references) == 4 and len(product.threshold.good) == 6
        page.locator("#export").click()
        with page.expect_download() as download:
            page.locator("#exported a[download]").first.click()
        shutil.copy(download.value.path(), tmp_path / "pieces.zip")
        assert open_product(tmp_path / "pieces.zip").threshold == product.threshold
        picture(page, "app_product")
    with opened(browser, address) as page:
        page.get_by_role("tab", name="Product").click()
        page.locator("#import input[type=file]").set_input_files(str(tmp_path / "pieces.zip"))
        playwright.expect(page.locator("#product")).to_contain_text("pieces", timeout=PATIENT)
        page.get_by_role("tab", name="Inspect").click()
        give(page, "parts", parts[6:7])
        page.locator("#inspect").click()
        assert f"rejected above {product.threshold.score:.3f}" in verdict(page)


def test_it_works_by_keyboard_alone_on_a_phone(app, browser, parts):
    with opened(browser, app[0], viewport=PHONE, has_touch=True) as page:
        give(page, "good", parts[:1])
        give(page, "parts", parts[6:7])
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "inspect":
                break
        page.keyboard.press("Enter")
        verdict(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.locator("#verdict").scroll_into_view_if_needed()
        picture(page, "app_phone")


def test_what_is_no_photograph_is_one_line_on_the_page(app, browser, parts, tmp_path):
    fake = tmp_path / "fake.png"
    fake.write_text("no image")
    with opened(browser, app[0]) as page:
        give(page, "good", parts[:1])
        give(page, "parts", [fake])
        page.locator("#inspect").click()
        playwright.expect(page.get_by_text("is no image")).to_be_visible(timeout=PATIENT)


def test_two_users_at_once_get_their_own_parts(app, browser, parts):
    with opened(browser, app[0]) as one, opened(browser, app[0]) as other:
        for page, part in ((one, parts[5]), (other, parts[6])):
            give(page, "good", parts[:2])
            give(page, "parts", [part])
        one.locator("#inspect").click()
        other.locator("#inspect").click()
        assert parts[5].stem in verdict(one) and parts[6].stem in verdict(other)
