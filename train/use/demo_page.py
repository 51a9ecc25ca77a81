"""The page of `david demo`, made of Gradio's components, and the server behind it."""

import html
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from david.model.predict.points import Camera
from david.pack.errors import DavidError, shown
from david.train.use.desk import Desk
from david.train.use.uploads import Uploads, make_room

WAITING = 16  # who asks while so many wait is told to come back
CACHE_S = 1800  # how long a file of the page's own stays, seconds
BYTES_PER_PIXEL = 8  # of what is uploaded, more than any picture's file has
ROOM_BYTES = 1 << 22  # for headers, profiles and thumbnails
DOWNLOADS = ("picture", "depth", "normals", "alpha", "cutout", "points", "npz")  # that are ticked at first
TITLES = {"relative_depth": "Depth", "normals": "Normals", "alpha": "Alpha", "cut-out": "Cut-out",
          "metric_depth_m": "Depth in metres", "relative_disparity": "Disparity"}  # fmt: skip
# What a browser may fetch for this page: what this server serves, and nothing from anywhere else.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)
CSS = "footer { display: none !important; } #told { min-height: 1.6em; }"
HEIGHT = 560  # of what is shown, pixels


def uploaded(payload: Any) -> tuple[str, str] | None:
    """Where what a browser sent lies, and its own name: it is read by us alone, no other decoder sees it first."""
    if payload is None or payload.path is None:
        return None
    return payload.path, payload.orig_name or Path(payload.path).name


def page(desk: Desk) -> gr.Blocks:
    """The page of a desk's predictor."""
    name = shown(desk.predictor.name)
    with gr.Blocks(title=f"david: {name}", analytics_enabled=False, delete_cache=(60, CACHE_S)) as made:
        gr.HTML(f"<h2>david</h2><p>{_words(desk)}, by <code>{html.escape(name)}</code></p>")
        with gr.Tabs():
            with gr.Tab("Picture"):
                _picture(desk)
            with gr.Tab("Clip", elem_id="clip-tab"):
                _clip(desk)
    made.queue(max_size=WAITING, api_open=False)
    return made


def _picture(desk: Desk) -> None:
    """A picture in; sliders, points and files out."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            sources: Any = ["upload", "webcam", "clipboard"]
            picture = gr.Image(
                label="Picture", sources=sources, type="filepath", image_mode=None, height=360, buttons=[],
                elem_id="picture",
            )  # fmt: skip
            # Not by a subclass: gradio would write a file beside this one for it.
            picture.preprocess = uploaded  # type: ignore[assignment]
            ticked = [kind for kind in DOWNLOADS if kind in desk.kinds()]
            kinds = gr.CheckboxGroup(desk.kinds(), value=ticked, label="Files to download")
            label = "Field of view of the points, degrees"
            fov = gr.Slider(20, 120, value=Camera().fov_degrees, step=1, label=label, visible=desk.has_cloud)
            button = gr.Button("Predict", variant="primary", elem_id="predict")
        with gr.Column(scale=5):
            told = gr.Markdown("Drop a picture, and press Predict.", elem_id="told")
            with gr.Tabs():
                sliders = [_slider(view) for view in desk.views]
                clouds = [_cloud()] if desk.has_cloud else []
            files = gr.Files(label="Results", interactive=False, elem_id="files")

    def predict(given: tuple[str, str] | None, wanted: list[str], degrees: float) -> list[Any]:
        with _told():
            make_room(desk.folder.parent)
            if given is None:
                raise DavidError("no picture yet: drop one first")
            answer = desk.picture(Path(given[0]), given[1], degrees, wanted)
        slid = [(str(answer.input), str(answer.views[view])) for view in desk.views]
        turned = [str(answer.cloud)] if clouds and answer.cloud else [None] * len(clouds)
        return [_markdown(answer.told), *slid, *turned, [str(file) for file in answer.files]]

    _on(button, predict, [picture, kinds, fov], [told, *sliders, *clouds, files])


def _slider(view: str) -> gr.ImageSlider:
    title = TITLES.get(view, view)
    with gr.Tab(title):
        return gr.ImageSlider(
            label=f"input | {title.lower()}", type="filepath", height=HEIGHT, max_height=HEIGHT, interactive=False,
            elem_id=f"view-{view}", buttons=["fullscreen"],
        )  # fmt: skip


def _cloud() -> gr.Model3D:
    with gr.Tab("Points"):
        return gr.Model3D(
            label="drag to turn, wheel to come near", height=HEIGHT, interactive=False, camera_position=(-90, 90, None),
            clear_color=(0.09, 0.1, 0.12, 1.0), elem_id="points",
        )  # fmt: skip


def _clip(desk: Desk) -> None:
    """A clip in; the same beside what is said of it, as a clip, out."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            clip = gr.Video(label="Clip", sources=["upload"], height=360, buttons=[], elem_id="clip")
            clip.preprocess = uploaded  # type: ignore[assignment]
            steady = gr.Checkbox(value=True, label="Steady: one scale and range of depth over the clip")
            button = gr.Button("Predict the clip", variant="primary", elem_id="film")
        with gr.Column(scale=5):
            told = gr.Markdown("Drop a clip, and press Predict.", elem_id="clip-told")
            shown_as = gr.Video(label="input and all outputs", interactive=False, height=HEIGHT, elem_id="filmed")

    def film(
        given: tuple[str, str] | None,
        steadied: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[str]:
        with _told():
            make_room(desk.folder.parent)
            if given is None:
                raise DavidError("no clip yet: drop one first")
            made, sentence = desk.clip(
                Path(given[0]), given[1], steadied, lambda done, all_: progress((done, all_), unit="frames")
            )
        return [_markdown(sentence), str(made)]

    _on(button, film, [clip, steady], [told, shown_as])


def _on(button: gr.Button, work: Callable[..., Any], given: list[Any], found: list[Any]) -> None:
    """What a click does; of all pages one thing at a time, so that memory is that of one."""
    one = {"concurrency_limit": 1, "concurrency_id": "network"}
    gr.on(button.click, work, given, found, api_visibility="private", **one)


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with an upload is said on the page, in one sentence that stays until it is closed."""
    try:
        yield
    except DavidError as error:
        raise _shown(str(error)) from error
    except MemoryError as error:
        raise _shown("there is not enough memory for that here") from error
    except OSError as error:
        raise _shown(f"what was made of it can't be kept here ({error.strerror or error})") from error


def _shown(sentence: str) -> gr.Error:
    return gr.Error(html.escape(shown(sentence)), duration=None, print_exception=False)


class OwnAddressesOnly:
    """Tells browsers with each answer to fetch nothing from elsewhere for this page (POLICY)."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self.app(scope, receive, told)


@contextmanager
def served(desk: Desk, host: str, port: int, share: bool = False) -> Iterator[tuple[str, str | None]]:
    """The desk's page behind a server that runs meanwhile: its address, and where it is shared that one too.

    Raises DavidError where the port is taken, or the page could not be shared."""
    made = page(desk)
    most_bytes = desk.most_pixels * BYTES_PER_PIXEL + ROOM_BYTES  # of a file, and of the few that a drop may bring
    guarded = Middleware(Uploads, make_room=partial(make_room, desk.folder.parent), most_bytes=2 * most_bytes)
    try:
        try:
            _, local, shared = made.launch(
                server_name=host,
                server_port=port,
                share=share,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=most_bytes,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                enable_monitoring=False,
                run_history=False,
                footer_links=[],
                inbrowser=False,
                app_kwargs={"middleware": [Middleware(OwnAddressesOnly), guarded]},
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
                css=CSS,
            )
        except OSError as error:
            raise DavidError(f"--port {port}: can't be listened on at {host} any more ({error})") from error
        if share and not shared:
            raise DavidError("--share: no tunnel to the page could be opened; see above, or use --host in your network")
        yield local, shared
    finally:
        desk.stopping.set()
        made.close(verbose=False)


def _words(desk: Desk) -> str:
    return ", ".join(TITLES.get(name, name).lower() for name in desk.views).capitalize()


def _markdown(text: str) -> str:
    """As it stands: nothing in a file's name is formatting."""
    return "`" + text.replace("`", "'") + "`"
