"""The app's page: what stands where, and what happens when. bench.py does the work, results.py draws it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from iadgpt_jax.data.images import IMAGE_SUFFIXES
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.product import MOST_REFERENCES
from iadgpt_jax.infer.product_file import export_product
from iadgpt_jax.infer.tiles import parse_tiles
from iadgpt_jax.serve import results
from iadgpt_jax.serve.bench import Bench, Shop, image_tokens
from iadgpt_jax.serve.refusals import Refused
from iadgpt_jax.whole_file import write_whole

TILES = ["1x1", "2x2", "3x3"]
CSS = """
.verdict { padding: .6rem .8rem; border-radius: .5rem; border-left: .5rem solid; overflow-wrap: anywhere; }
.verdict.good { border-color: #2f7d4b; background: #2f7d4b22; }
.verdict.bad { border-color: #b3401f; background: #b3401f22; }
#gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)) !important; }
#chat .message-buttons { display: none; }  /* the share button of pictures: it leads to another site */
.gradio-container { max-width: min(1200px, 100vw) !important; margin: auto; box-sizing: border-box; }
@media (max-width: 480px) {
  .gradio-container, .gradio-container main { padding: .5rem !important; }
  .gradio-container :is(.wrap, .contain, .column, .row, .block, .tabs, .tabitem, img) {
    min-width: 0 !important; max-width: 100%;
  }
}
"""
FONTS = ["system-ui", "sans-serif"]  # none is fetched from elsewhere
HELLO = "Give photographs of good parts, then parts to inspect."


def clear(handler: Callable) -> Callable:
    """A handler whose faulty input becomes one line on the page."""

    @functools.wraps(handler)
    async def handled(*arguments):
        try:
            async for update in handler(*arguments):
                yield update
        except (InputError, Refused) as error:
            raise gr.Error(str(error), print_exception=False) from error

    return handled


def make_page(shop: Shop, card: str, folder: Path) -> gr.Blocks:
    """The page. card: Markdown about the model. folder: where files to download are written."""
    side, unit = shop.catalog.inspector.side, shop.catalog.inspector.unit

    with gr.Blocks(title="IADGPT", analytics_enabled=False, fill_width=True, delete_cache=(3600, 24 * 3600)) as page:
        bench_state = gr.State(None)
        gr.Markdown("# IADGPT\nInspect parts against photographs of good ones.")
        with gr.Tab("Inspect"):
            with gr.Row():
                with gr.Column(min_width=280):
                    good = _files("1 · Good examples", "good")
                    parts = _files("2 · Parts to inspect", "parts")
                    with gr.Accordion("Camera", open=False):
                        camera = gr.Image(
                            sources=["webcam"], type="filepath", format="png", label="A part before the camera",
                            elem_id="camera",
                        )  # fmt: skip
                    with gr.Accordion("Settings", open=False):
                        shots = gr.Slider(1, MOST_REFERENCES, 4, step=1, label="Shots", elem_id="shots")
                        ratio = gr.Slider(
                            0.05, 1, 1, step=0.05, label="Share kept of further examples (compression)",
                            elem_id="ratio",
                        )  # fmt: skip
                        tiles = gr.Radio(TILES, value=TILES[0], label="Tiles, for small defects", elem_id="tiles")
                        costs = gr.Markdown(_costs(None, side, unit, 4, 1.0, TILES[0]), elem_id="costs")
                    inspect = gr.Button("Inspect", variant="primary", elem_id="inspect")
                with gr.Column(min_width=280, scale=2):
                    verdict = gr.HTML(f'<div role="status" class="verdict">{HELLO}</div>', elem_id="verdict")
                    slider = gr.ImageSlider(
                        label="Photograph and map", type="numpy", format="png", elem_id="slider", interactive=False,
                        buttons=["fullscreen"],
                    )  # fmt: skip
                    opacity = gr.Slider(0, 1, 0.8, step=0.05, label="Opacity of the map", elem_id="opacity")
                    explanation = gr.Textbox(label="What is wrong?", elem_id="explanation", interactive=False, lines=2)
            with gr.Accordion("All parts", open=True):
                order = gr.Radio(results.ORDERS, value=results.ORDERS[0], label="Order", elem_id="order")
                gallery = gr.Gallery(
                    label="Maps; choose one to see it above", columns=3, height=None, format="png",
                    elem_id="gallery", interactive=False, allow_preview=False, buttons=[],
                )  # fmt: skip
                histogram = gr.Image(label="Scores", elem_id="histogram", interactive=False, buttons=[], format="png")
                table = gr.Dataframe(headers=list(results.HEADS), interactive=False, elem_id="table", wrap=True)
                with gr.Row():
                    as_csv = gr.DownloadButton("Download CSV", elem_id="csv", interactive=False)
                    to_zip = gr.Button("Maps as ZIP", elem_id="zip")
                zipped = gr.File(label="Maps", visible=False, elem_id="zipped", interactive=False)
            with gr.Accordion("Ask about the part", open=True):
                chat = gr.Chatbot(label="Questions", height=320, elem_id="chat", buttons=[], feedback_options=None)
                box = gr.MultimodalTextbox(
                    placeholder="Where is it?", file_types=["image"], file_count="multiple",
                    show_label=False, elem_id="ask", sources=["upload"],
                )  # fmt: skip
        with gr.Tab("Product"):
            gr.Markdown(
                "A product is the good examples, the settings and the threshold under a name: open it here again, "
                "hand it on as one file, use it in `predict` and `serve`."
            )
            told = gr.Markdown("No product yet.", elem_id="product")
            share = gr.Slider(0.5, 0.99, 0.95, step=0.01, label="Share of good parts that shall pass", elem_id="share")
            further = _files("Further good parts, to measure by", "further")
            choose = gr.Button("Choose the threshold from good parts", elem_id="choose")
            with gr.Row():
                name = gr.Textbox(label="Name", max_length=64, elem_id="name")
                save = gr.Button("Save", elem_id="save")
            with gr.Row():
                saved = gr.Dropdown(shop.catalog.names(), label="Saved products", elem_id="saved")
                opened = gr.Button("Open", elem_id="open")
                export = gr.Button("Export", elem_id="export")
            exported = gr.File(label="Exported product", visible=False, elem_id="exported", interactive=False)
            incoming = gr.File(label="Import an exported product", file_types=[".zip"], elem_id="import")
        with gr.Tab("About the model"):
            gr.Markdown(card)

        shown = [verdict, slider, explanation]
        batch = [gallery, histogram, table, as_csv]

        def nothing(bench: Bench) -> list:
            """Of `shown`, `batch`, `zipped` and `chat`, while no part is judged."""
            part = [f'<div role="status" class="verdict">{HELLO}</div>', None, ""]
            parts = [None, None, None, gr.DownloadButton(value=None, interactive=False)]
            return [*part, *parts, gr.File(value=None, visible=False), gr.skip() if bench.messages else []]

        # ---- Inspecting ----

        def place(bench: Bench) -> Path:
            return folder / f"{id(bench):x}"

        def view(bench: Bench, opacity: float) -> list:
            part = bench.part
            pictures = part.photograph.shown, results.mixed(bench, part, opacity)
            return [results.verdict_html(bench, part), pictures, part.explanation]

        def overview(bench: Bench, order: str) -> list:
            write_whole(place(bench) / "inspections.csv", results.csv_text(bench))
            download = gr.DownloadButton(value=str(place(bench) / "inspections.csv"), interactive=True)
            return [results.gallery(bench, order), results.histogram(bench), results.rows(bench, order), download]

        async def on_inspect(bench, good, parts, camera, shots, ratio, tiles, opacity, order):
            bench = bench or Bench(shop)
            paths = [*(parts or []), *([camera] if camera else [])]
            if good:
                await bench.use(good, shots, ratio, parse_tiles(tiles))
            await bench.inspect(paths)
            sizes = _costs(bench, side, unit, shots, ratio, tiles)
            yield [
                bench,
                *view(bench, opacity),
                *await shop.by_hand(overview, bench, order),
                _described(bench),
                sizes,
                [],
            ]
            async for words in bench.explain():
                yield [gr.skip(), gr.skip(), gr.skip(), words, *[gr.skip()] * (len(batch) + 3)]

        inspect.click(
            clear(on_inspect), [bench_state, good, parts, camera, shots, ratio, tiles, opacity, order],
            [bench_state, *shown, *batch, told, costs, chat],
        )  # fmt: skip

        async def on_choose_part(bench, order, opacity, event: gr.SelectData):
            if not bench.judged:  # the page shows parts of a product that is gone
                raise InputError("no part is inspected yet; inspect one first")
            bench.shown, bench.messages = results.ordered(bench, order)[event.index], []
            yield [*view(bench, opacity), []]
            async for words in bench.explain():
                yield [gr.skip(), gr.skip(), words, gr.skip()]

        selected = clear(on_choose_part)
        selected.__annotations__ = {"event": gr.SelectData}
        gallery.select(selected, [bench_state, order, opacity], [*shown, chat])

        async def on_opacity(bench, opacity):
            if bench and bench.judged:
                yield view(bench, opacity)[1]

        opacity.release(clear(on_opacity), [bench_state, opacity], slider, show_progress="hidden")

        async def on_order(bench, order):
            if bench and bench.judged:
                yield [results.gallery(bench, order), results.rows(bench, order)]

        order.input(clear(on_order), [bench_state, order], [gallery, table])

        async def on_zip(bench):
            if not bench or not bench.judged:
                raise InputError("no part is inspected yet; inspect one first")
            write_whole(place(bench) / "maps.zip", await shop.by_hand(results.zip_bytes, bench))
            yield gr.File(value=str(place(bench) / "maps.zip"), visible=True)

        to_zip.click(clear(on_zip), bench_state, zipped)

        for setting in (shots, ratio, tiles):
            setting.change(
                lambda bench, *settings: _costs(bench, side, unit, *settings),
                [bench_state, shots, ratio, tiles],
                costs,
                show_progress="hidden",
            )  # fmt: skip

        # ---- Talking ----

        async def on_ask(bench, sent, told):
            bench = bench or Bench(shop)
            text, files = sent["text"].strip(), sent["files"]
            if not text:
                raise InputError("the question is empty; write one")
            told = [*told, *({"role": "user", "content": {"path": path}} for path in files)]
            told = [*told, {"role": "user", "content": text}]
            yield [bench, told, None]
            async for words in bench.say(text, files):
                yield [bench, [*told, {"role": "assistant", "content": words}], gr.skip()]

        box.submit(clear(on_ask), [bench_state, box, chat], [bench_state, chat, box])

        async def on_clear(bench):
            if bench:
                bench.messages = []
            yield bench

        chat.clear(clear(on_clear), bench_state, bench_state)

        # ---- Products ----

        async def on_choose(bench, good, further, shots, ratio, tiles, share, opacity, order):
            bench = bench or Bench(shop)
            if good:
                await bench.use(good, shots, ratio, parse_tiles(tiles), further or [], share)
            else:
                await bench.choose(share)
            if bench.judged:
                again = [*view(bench, opacity), *await shop.by_hand(overview, bench, order)]
                yield [bench, _described(bench), *again, gr.skip(), gr.skip()]
            else:
                yield [bench, _described(bench), *nothing(bench)]

        choose.click(
            clear(on_choose), [bench_state, good, further, shots, ratio, tiles, share, opacity, order],
            [bench_state, told, *shown, *batch, zipped, chat],
        )  # fmt: skip

        async def on_save(bench, name):
            if not bench:
                raise InputError("there is no product yet: give good examples and inspect a part first")
            await bench.save(name.strip())
            yield [_described(bench), gr.Dropdown(shop.catalog.names(), value=name.strip())]

        save.click(clear(on_save), [bench_state, name], [told, saved])

        async def on_open(bench, name):
            bench = bench or Bench(shop)
            if not name:
                raise InputError("choose a saved product")
            await bench.open(name)
            yield [bench, _described(bench), None, *nothing(bench)]

        opened.click(
            clear(on_open), [bench_state, saved], [bench_state, told, good, *shown, *batch, zipped, chat]
        )  # fmt: skip

        async def on_export(bench):
            if not bench or not bench.whole:
                raise InputError("there is no product yet: give good examples and inspect a part first")
            path = place(bench) / f"{bench.whole.name}.zip"
            await shop.by_hand(export_product, bench.whole, path)
            yield gr.File(value=str(path), visible=True)

        export.click(clear(on_export), bench_state, exported)

        async def on_import(bench, path):
            bench = bench or Bench(shop)
            if path:
                await bench.open(Path(path))
                names = gr.Dropdown(shop.catalog.names(), value=bench.whole.name)
                yield [bench, _described(bench), names, None, *nothing(bench)]

        incoming.upload(
            clear(on_import), [bench_state, incoming],
            [bench_state, told, saved, good, *shown, *batch, zipped, chat],
        )  # fmt: skip
    return page


def launch(page: gr.Blocks, shop: Shop, host: str, port: int, folder: Path) -> None:
    """Start to serve the page; returns when it answers. Raises InputError where the port cannot be used."""
    try:
        page.queue(default_concurrency_limit=None).launch(
            server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True, footer_links=[],
            max_file_size=shop.limits.body_bytes, allowed_paths=[str(folder)], ssr_mode=False, css=CSS,
            theme=gr.themes.Default(font=FONTS, font_mono=["monospace"]), state_session_capacity=100,
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"cannot listen at {host}:{port}; choose another --port") from error


def new_folder() -> tempfile.TemporaryDirectory:
    """Where photographs that are sent, and files to download, lie until the app ends."""
    return tempfile.TemporaryDirectory(prefix="iadgpt-app-")


def _files(label: str, name: str) -> gr.File:
    """Photographs as they are: Gradio's own image inputs would decode and store them anew."""
    return gr.File(label=label, file_count="multiple", file_types=list(IMAGE_SUFFIXES), elem_id=name, height=140)


def _described(bench: Bench) -> str:
    product = bench.whole
    return (
        f"**{product.name}**: {len(product.references)} good examples, compression {product.ratio:g}, "
        f"tiles {product.tiles[0]}x{product.tiles[1]}. Rejected: {product.threshold}."
    )


def _costs(bench: Bench | None, side: int, unit: int, shots: float, ratio: float, tiles: str) -> str:
    references, part = image_tokens(side, unit, int(shots), ratio, parse_tiles(tiles))
    full, _ = image_tokens(side, unit, int(shots), 1.0, parse_tiles(tiles))
    told = f"Image tokens: {references} of the good examples (uncompressed {full}), {part} of the part."
    if bench and bench.judged:
        told += f" Last time {bench.part_seconds:.2f} s per part; the good examples took {bench.reading_seconds:.2f} s."
    return told
