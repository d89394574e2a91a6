"""Posters: a picture for every movie, and rows of them."""

import io
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from os.path import lexists
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image, ImageDraw, ImageOps
from scipy.cluster.vq import vq

from recformer_utils import ROOT
from recformer_utils.posters.cards import cut, load_font, one_line, split_title, title_card

POSTER_FOLDER = ROOT / "data/posters"
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
RED, GREEN = "#E4002B", "#0B7A4B"  # the recommendation; a hit. Nothing else has these colours
TEXT, QUIET, EMPTY = "#111827", "#4B5563", "#E5E7EB"
LARGEST_PIXELS = 40_000_000  # no poster is larger; a picture that claims to be is not opened
SMALLEST_SIDE = 16  # less is the one-pixel picture that some servers send for "not found"
LARGEST_BYTES = 140_000  # of one picture: as text (base64) it stays below 200 KiB
WIDTH, GAP, FRAME, POSTER_WIDTH = 1240, 22, 7, 186
MOST_ROWS = 20  # of one picture: what has more is divided before it is drawn

Marks = int | Sequence[int] | Callable[[int, int], bool] | None


class UnusablePosterError(ValueError):
    """A poster file that is there but is no usable picture."""


class Place(NamedTuple):
    """What stands in a row: a movie, or nothing."""

    movie_id: int | None
    caption: str
    recommended: bool
    hit: bool


class Row(NamedTuple):
    name: str  # "Row 1" where it has no title
    title: str
    places: list[Place]


class Picture(NamedTuple):
    """A movie's picture: the reader's own poster, or None and why it could not be used."""

    movie_id: int
    title: str
    genres: str
    own: Image.Image | None
    problem: str

    def pixels(self, size: tuple[int, int]) -> np.ndarray:
        """uint8 (height, width, 3): the own poster, cropped, or a title card."""
        if self.own is None:
            return title_card(self.movie_id, self.title, self.genres, size)
        return np.asarray(ImageOps.fit(self.own, size, Image.Resampling.LANCZOS))


def find_poster(movie_id: int, folder: Path | None = POSTER_FOLDER) -> Image.Image | None:
    """Opens the reader's own poster of a movie; None when there is none.

    Raises:
        UnusablePosterError: it is truncated, of another kind, far too large or small.
    """
    names = [f"{movie_id}{end}" for each in FORMATS for end in (each, each.upper())]
    files = [Path(folder, name) for name in names] if folder else []
    path = next(filter(lexists, files), None)  # a link to nowhere is there too, and worth a word
    if path is None:
        return None
    wanted = FORMATS[path.suffix.lower()]
    try:
        if not path.is_file():  # a pipe or a device could keep its reader waiting for ever
            raise ValueError("not a file")
        with warnings.catch_warnings():
            # Pillow only warns about the smaller bombs, where a reader cannot tell which file.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=[wanted]) as image:
                width, height = image.size
                if min(width, height) < SMALLEST_SIDE or width * height > LARGEST_PIXELS:
                    raise ValueError(f"{width} x {height} pixels")
                picture = ImageOps.exif_transpose(image)
                if picture.mode.startswith("I"):  # 16 bits, which `convert` would cut off
                    picture = Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
                picture = picture.convert("RGBA")
    except MemoryError:
        raise
    except Exception as error:  # decoders fed with garbage raise nearly anything
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "not such a file" if unknown else getattr(error, "strerror", None) or error
        raise UnusablePosterError(f"{path.name}: no usable {wanted} picture: {reason}") from error
    white = Image.new("RGBA", picture.size, "white")  # what shows where it is clear
    return Image.alpha_composite(white, picture).convert("RGB")


def picture_of(movie_id: int, title: str, genres: str, folder: Path | None) -> Picture:
    """The picture of a movie; an unusable file becomes a title card, never an exception."""
    movie_id = operator.index(movie_id)  # NumPy's integers do not seed a card's variations
    try:
        return Picture(movie_id, title, genres, find_poster(movie_id, folder), "")
    except UnusablePosterError as error:
        return Picture(movie_id, title, genres, None, str(error))


def show_posters(
    rows: Sequence[Sequence[int | None]],
    movies: pd.DataFrame,
    highlight: Marks = None,
    captions: Sequence[Sequence[str]] | None = None,
    row_titles: Sequence[str] | None = None,
    folder: Path | None = POSTER_FOLDER,
    hits: Marks = None,
) -> None:
    """Shows rows of posters in a notebook, with an alternative text that names the movies.

    rows: movie ids (not tokens); None, or an id that ``movies`` (movie_id, title, genres) does not
        have, is an empty place.
    highlight: the recommendations, framed in red: a column (-1 is the last of each row), several
        columns, or a function of row and column. hits: in the same forms, those that were right.
    captions, row_titles: short texts. folder: the reader's own posters.
    """
    table, pictures = arrange(rows, movies, highlight, captions, row_titles, folder, hits)
    for part, mime, data in _parts(table, pictures):
        alt = alternative_text(part, pictures)
        display({mime: data, "text/plain": alt}, raw=True, metadata={mime: {"alt": alt}})
    if problems := [picture.problem for _, picture in sorted(pictures.items()) if picture.problem]:
        some = "; ".join(problems[:3]) + (" …" if len(problems) > 3 else "")
        print(f"{len(problems)} poster files could not be used and became title cards: {some}")


def arrange(
    rows, movies, highlight=None, captions=None, row_titles=None, folder=POSTER_FOLDER, hits=None
) -> tuple[list[Row], dict[int, Picture]]:
    """What `compose` draws, from the arguments of `show_posters`."""
    table = []
    for r, row in enumerate(rows):
        words, title = _at(captions, r, ()), str(_at(row_titles, r, ""))
        marks = [(_is_marked(highlight, r, c, len(row)), _is_marked(hits, r, c, len(row)))
                 for c in range(len(row))]  # fmt: skip
        places = [Place(_integer(m), str(_at(words, c, "")), *marks[c]) for c, m in enumerate(row)]
        table.append(Row(title or f"Row {r + 1}", title, places))
    wanted = {place.movie_id for row in table for place in row.places} - {None}
    known = movies[movies["movie_id"].isin(wanted)]
    columns = (known["movie_id"].tolist(), known["title"], known["genres"])
    return table, {row[0]: picture_of(*row, folder) for row in zip(*columns, strict=True)}


def _integer(value: object) -> int | None:  # of NumPy and torch, too
    try:
        return operator.index(value)
    except TypeError:
        return None


def _at(values: Sequence | None, place: int, otherwise: object) -> object:
    return otherwise if values is None or place >= len(values) else values[place]


def _is_marked(marks: Marks, row: int, column: int, length: int) -> bool:
    if callable(marks):
        return bool(marks(row, column))
    single = _integer(marks)
    wanted = [single] if single is not None else [] if marks is None else marks
    return column in [place % length if place < 0 else place for place in wanted]


def compose(rows: list[Row], pictures: dict[int, Picture]) -> Image.Image:
    """Rows of posters as one picture."""
    columns = max([1, *(len(row.places) for row in rows)])
    places = [place for row in rows for place in row.places]
    width = max(8, min(POSTER_WIDTH, (WIDTH - GAP) // columns - GAP))
    height, own = width * 3 // 2, {m for m, picture in pictures.items() if picture.own is not None}
    above = 38 if any(row.title for row in rows) else 0
    named = 28 if any(place.movie_id in own for place in places) else 0  # a card shows its title
    below = named + (34 if any(place.caption for place in places) else 0)
    pitch = above + height + below + GAP + FRAME
    size = (columns * (width + GAP) + GAP, max(1, len(rows)) * pitch + GAP)
    canvas = Image.new("RGB", size, "white")
    for r, row in enumerate(rows):
        top = GAP + r * pitch
        _write(canvas, (GAP, top - 4), row.title, 20, TEXT, canvas.width - 2 * GAP, "lt", True)
        for c, place in enumerate(row.places):
            x, y, picture = GAP + c * (width + GAP), top + above, pictures.get(place.movie_id)
            _draw_place(canvas, place, picture, (x, y, x + width, y + height))
            under, room = (x + width / 2, y + height + FRAME + 6), width + GAP - 4
            if place.movie_id in own:
                _write(canvas, under, split_title(picture.title)[0], 18, TEXT, room)
            color, marked = RED if place.recommended else QUIET, place.recommended
            under = (under[0], under[1] + named)
            _write(canvas, under, place.caption, 18, color, room, bold=marked)
    return canvas


def _draw_place(canvas: Image.Image, place: Place, picture: Picture | None, box: tuple) -> None:
    draw, (left, top, right, bottom) = ImageDraw.Draw(canvas), box
    if place.recommended:
        draw.rectangle([left - FRAME, top - FRAME, right + FRAME - 1, bottom + FRAME - 1], fill=RED)
    if picture is None:
        draw.rectangle([left, top, right - 1, bottom - 1], fill=EMPTY)
    else:
        pixels = picture.pixels((right - left, bottom - top))
        canvas.paste(Image.fromarray(pixels), (left, top))
    if place.hit:
        font = load_font(max(16, (right - left) // 5))
        options = {"anchor": "rt", "fill": GREEN, "stroke_width": 4, "stroke_fill": "white"}
        draw.text((right - 8, top + 8), "✔", font=font, **options)


def _write(canvas, at, text: str, size: int, color: str, room: float, anchor="mt", bold=False):
    """A line of text, in a smaller font where it would not fit, cut where it still does not."""
    text = one_line(text)
    while size > 10 and load_font(size, bold).getlength(text) > room:
        size -= 1
    font = load_font(size, bold)
    ImageDraw.Draw(canvas).text(at, cut(text, font, room), font=font, fill=color, anchor=anchor)


def _parts(rows: list[Row], pictures: dict[int, Picture]) -> Iterator[tuple[list[Row], str, bytes]]:
    """Rows with their encoded picture; in halves where that would have too many bytes."""
    shown = [pictures.get(place.movie_id) for row in rows for place in row.places]
    photographs = any(picture is not None and picture.own is not None for picture in shown)
    if few := len(rows) <= MOST_ROWS:
        canvas = compose(rows, pictures)
        mime, data = encode(canvas, photographs)
    if not few or (len(data) > LARGEST_BYTES and len(rows) > 1):
        yield from _parts(rows[: len(rows) // 2], pictures)
        yield from _parts(rows[len(rows) // 2 :], pictures)
        return
    while len(data) > LARGEST_BYTES:  # of a single row, so a little smaller will do
        canvas = ImageOps.scale(canvas, 0.85, Image.Resampling.LANCZOS)
        mime, data = encode(canvas, photographs)
    yield rows, mime, data


def few_colors(picture: Image.Image, amount: int) -> Image.Image:
    """The picture with a palette: k-means of a ninth of it keeps each flat colour what it is."""
    ninth = ImageOps.scale(picture, 1 / 3, Image.Resampling.NEAREST)
    chosen = ninth.quantize(amount, Image.Quantize.MAXCOVERAGE, kmeans=1).getpalette()
    whole = np.asarray(picture.convert("RGBA")).view(np.uint32)[..., 0]  # a number for each colour
    found, place = np.unique(whole, return_inverse=True)
    rgb = found.view(np.uint8).reshape(-1, 4)[:, :3].astype(float)
    nearest, _ = vq(rgb, np.reshape(chosen, (-1, 3)).astype(float))
    with_palette = Image.fromarray(nearest.astype(np.uint8)[place])
    with_palette.putpalette(chosen)
    return with_palette


def encode(picture: Image.Image, photographs: bool = False) -> tuple[str, bytes]:
    """PNG with a palette, which suits title cards, or JPEG: the best that is small enough."""
    attempts = [] if photographs else [("PNG", colors) for colors in (255, 128, 64)]
    for kind, amount in [*attempts, *(("JPEG", quality) for quality in (88, 80, 72))]:
        chosen = few_colors(picture, amount) if kind == "PNG" else picture
        chosen.save(buffer := io.BytesIO(), kind, quality=amount)
        if buffer.tell() <= LARGEST_BYTES:  # below a quality of 72 text breaks up
            break
    return f"image/{kind.lower()}", buffer.getvalue()


def alternative_text(rows: list[Row], pictures: dict[int, Picture], limit: int = 900) -> str:
    """The rows in words."""
    sentences = []
    for row in rows:
        titles = []
        for place in row.places:
            known = pictures.get(place.movie_id)
            title = split_title(known.title)[0] if known else "empty place"
            marks = ["framed in red"] * place.recommended + ["a hit"] * place.hit
            titles.append(f"{title} ({', '.join(marks)})" if marks else title)
        sentences.append(f"{row.name}: {', '.join(titles) or 'no movies'}.")
    text = "Movie posters. " + " ".join(sentences)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
