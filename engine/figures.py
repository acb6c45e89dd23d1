"""Static export of plotly figures with one kept browser, which fetches nothing that a figure names."""

import json
import threading
from contextlib import suppress
from typing import Any

from analyses.figures import webgl_traces
from engine.errors import UserError
from engine.plain_text import one_line

FORMATS = ("svg", "pdf", "png")
VECTOR_POINTS = 10_000
MAX_BYTES = 32 * 1024 * 1024
FETCHED = frozenset(
    {
        "data", "geojson", "glyphs", "plotlyServerURL", "source", "sprite", "style", "tiles", "topojsonURL", "url",
        "urls",
    }
)  # fmt: skip
"""Keys of a figure, its maps' styles and its config whose text plotly takes for an address."""
FONT_STYLES = ("normal", "italic")
CLOSED = (
    "default-src 'none'; script-src file: 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; worker-src blob:"
)  # the content security policy of the page that renders: plotly's own scripts, and what the figure brings along
NO_BROWSER = "Chrome or Chromium was not found; install it (Debian: apt-get install chromium), or use the picture's own SVG button."


class FigureServer:
    """Renders figures one at a time; the browser starts with the first and stays."""

    def __init__(self) -> None:
        self._started = False
        self._rendering = threading.Lock()

    def render(self, figure: bytes, format: str, width: int, height: int) -> bytes:
        """Plotly JSON → bytes of `format` (svg, pdf, png at twice the size), width and height in CSS pixels.

        Raises UserError for a bad format, size or figure, or when there is no browser.
        """
        if format not in FORMATS:
            raise UserError("format", f"{format!r} is not one of {', '.join(FORMATS)}.")
        if not (100 <= width <= 4000 and 100 <= height <= 4000):
            raise UserError("width", "width and height must lie between 100 and 4000 pixels.")
        if len(figure) > MAX_BYTES:
            raise UserError("figure", f"it is larger than {MAX_BYTES // 1024**2} MB; thin its data.")
        try:
            spec = json.loads(figure, object_hook=_closed)
        except ValueError:
            raise UserError("figure", "it is not plotly JSON; send Figure.to_json().") from None
        with suppress(AttributeError, TypeError, LookupError, ValueError):  # plotly tells what is wrong
            _draw_in_vectors(spec)
        with self._rendering:
            return self._render(spec, format, width, height)

    def _render(self, spec: dict[str, Any], format: str, width: int, height: int) -> bytes:
        import kaleido
        from kaleido.errors import KaleidoError

        if not self._started:
            _require_browser()
            page = kaleido.PageGenerator(mathjax=False)
            policy = f'<meta http-equiv="Content-Security-Policy" content="{CLOSED}">'
            page.header = page.header.replace("<head>", f"<head>{policy}")
            kaleido.start_sync_server(page_generator=page, silence_warnings=True)
            self._started = True
        options = {"format": format, "width": width, "height": height, "scale": 2 if format == "png" else 1}
        try:
            return kaleido.calc_fig_sync(spec, opts=options)
        except (AttributeError, TypeError, KaleidoError) as error:
            told = one_line(str(error), 200).rstrip(".")
            raise UserError("figure", f"plotly cannot draw it ({told}).") from None

    def close(self) -> None:
        if self._started:
            import kaleido

            kaleido.stop_sync_server(silence_warnings=True)


def _draw_in_vectors(spec: dict[str, Any]) -> None:
    """Turn a figure's WebGL traces, a picture of pixels in the file, into vectors up to the size where that is the faster."""
    traces = webgl_traces(spec)
    if sum(size for _, size in traces) <= VECTOR_POINTS:
        for trace, _ in traces:
            trace["type"] = "scatter"


def _closed(part: dict[str, Any]) -> dict[str, Any]:
    """An object of a figure as it is. Raises UserError where it names something that would have to be fetched."""
    for key in FETCHED & part.keys():
        texts = [
            one for one in (part[key] if isinstance(part[key], list) else [part[key]]) if isinstance(one, str)
        ]
        allowed = FONT_STYLES if key == "style" else ()
        if any(not one.startswith("data:") and one not in allowed for one in texts):
            raise UserError(
                "figure", f"its {key} names an address; put the content itself there as a data: URL."
            )
    return part


def find_browser() -> str | None:
    """Path of the Chrome or Chromium that renders figures to files."""
    from choreographer.browsers.chromium import Chromium

    return Chromium.find_browser(skip_local=False)


def _require_browser() -> None:
    if not find_browser():
        raise UserError("format", NO_BROWSER)
