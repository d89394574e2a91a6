"""Posters: a picture for every movie, and rows of them."""

import io
import operator
import warnings
from collections.abc import Callable, Sequence
from os.path import lexists
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image, ImageDraw, ImageOps

from recformer_utils import ROOT
from recformer_utils.posters.cards import cut, load_font, split_title, title_card

POSTER_FOLDER = ROOT / "data/posters"
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
RED, GREEN = "#E4002B", "#0B7A4B"  # the recommendation; a hit. Nothing else has these colours
TEXT, QUIET, EMPTY = "#111827", "#4B5563", "#E5E7EB"
LARGEST_PIXELS = 40_000_000  # no poster is larger; a picture that claims to be is not opened
SMALLEST_SIDE = 16  # less is the one-pixel picture that some servers send for "not found"
LARGEST_BYTES = 140_000  # of one picture: as text (base64) it stays below 200 KiB
WIDTH, GAP, FRAME, POSTER_WIDTH = 1240, 22, 7, 186

Marks = int | Sequence[int] | Callable[[int, int], bool] | None


class UnusablePosterError(ValueError):
    """A poster file that is there but is no usable picture."""


def find_poster(movie_id: int, folder: Path | None = POSTER_FOLDER) -> Image.Image | None:
    """Opens the reader's own poster of a movie; None when there is none.

    Raises:
        UnusablePosterError: the file is truncated, is not the picture that its name says, or has
            far too many or far too few pixels. The message names the file, without its folder.
    """
    if folder is None:
        return None
    for suffix in FORMATS:
        path = Path(folder) / f"{movie_id}{suffix}"
        if lexists(path):  # a link to nowhere is there too, and worth a word
            return _open(path)
    return None


def _open(path: Path) -> Image.Image:
    wanted = FORMATS[path.suffix]
    if not path.is_file():
        raise UnusablePosterError(f"{path.name}: not a file; expected a {wanted} picture")
    try:
        with warnings.catch_warnings():
            # Pillow only warns about the smaller bombs, where a reader cannot tell which file.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=("JPEG", "PNG"))
        with image:
            width, height = image.size
            if image.format == wanted and (
                width * height <= LARGEST_PIXELS and min(width, height) >= SMALLEST_SIDE
            ):
                picture = ImageOps.exif_transpose(image).convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")  # what shows where it is clear
                return Image.alpha_composite(white, picture).convert("RGB")
            found = f"{image.format}, {width} x {height} pixels"
    except Image.UnidentifiedImageError as error:
        raise UnusablePosterError(f"{path.name}: not a JPEG or PNG picture") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders fed with garbage raise nearly anything
        reason = getattr(error, "strerror", None) or error
        raise UnusablePosterError(f"{path.name}: {reason}") from error
    raise UnusablePosterError(
        f"{path.name}: is {found}; expected {wanted}, each side at least {SMALLEST_SIDE} pixels, "
        f"no more than {LARGEST_PIXELS // 1_000_000} million in all"
    )


class Place(NamedTuple):
    """What stands in a row: a movie, or nothing."""

    movie_id: int | None
    caption: str
    recommended: bool
    hit: bool


class Row(NamedTuple):
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


def picture_of(
    movie_id: int, title: str, genres: str, folder: Path | None = POSTER_FOLDER
) -> Picture:
    """The picture of a movie; an unusable file becomes a title card, never an exception.

    Args:
        movie_id: names the file, ``<folder>/<movie_id>.jpg`` or ``.png``.
        title: as in movies.dat, with the year in parentheses.
        genres: names joined by "|".
        folder: where the posters are; None for title cards only.
    """
    movie_id = operator.index(movie_id)  # NumPy's integers do not seed a card's variations
    try:
        return Picture(movie_id, title, genres, find_poster(movie_id, folder), "")
    except UnusablePosterError as error:
        return Picture(movie_id, title, genres, None, str(error))


def compose(rows: list[Row], pictures: dict[int, Picture]) -> Image.Image:
    """Rows of posters as one picture."""
    columns = max([1, *(len(row.places) for row in rows)])
    width = max(8, min(POSTER_WIDTH, (WIDTH - GAP) // columns - GAP))
    height = width * 3 // 2
    shown = [place for row in rows for place in row.places]
    own = {id_ for id_, picture in pictures.items() if picture.own is not None}
    above = 34 if any(row.title for row in rows) else 0
    named = 24 if any(place.movie_id in own for place in shown) else 0
    below = named + (30 if any(place.caption for place in shown) else 0)
    pitch = above + height + below + GAP + FRAME
    size = columns * (width + GAP) + GAP, max(1, len(rows)) * pitch + GAP
    canvas = Image.new("RGB", size, "white")
    for r, row in enumerate(rows):
        y = GAP + r * pitch
        _write(canvas, (GAP, y - 4), row.title, 17, TEXT, canvas.width - 2 * GAP, "lt", True)
        for c, place in enumerate(row.places):
            corner = (GAP + c * (width + GAP), y + above)
            _draw_place(canvas, place, pictures.get(place.movie_id), corner, (width, height), named)
    return canvas


def _draw_place(
    canvas: Image.Image, place: Place, picture: Picture | None, corner: tuple[int, int],
    size: tuple[int, int], named: int,
) -> None:  # fmt: skip
    draw, (x, y), (width, height) = ImageDraw.Draw(canvas), corner, size
    right, bottom, middle = x + width, y + height, x + width / 2
    if place.recommended:
        draw.rectangle([x - FRAME, y - FRAME, right + FRAME - 1, bottom + FRAME - 1], fill=RED)
    if picture is None:
        draw.rectangle([x, y, right - 1, bottom - 1], fill=EMPTY)
    else:
        canvas.paste(Image.fromarray(picture.pixels(size)), corner)
    if place.hit:
        tick = _tick(max(12, width // 5))
        canvas.paste(tick, (right - tick.width - 4, y + 4), tick)
    y = bottom + FRAME + 6
    if picture is not None and picture.own is not None:  # a card has its title on it
        _write(canvas, (middle, y), split_title(picture.title)[0], 13, TEXT, width + GAP - 4)
    color = RED if place.recommended else QUIET
    _write(
        canvas,
        (middle, y + named),
        place.caption,
        15,
        color,
        width + GAP - 4,
        bold=place.recommended,
    )


def _tick(side: int) -> Image.Image:
    big = Image.new("RGBA", (100, 100))  # drawn larger and scaled down, for soft edges
    draw = ImageDraw.Draw(big)
    draw.ellipse([0, 0, 99, 99], fill=GREEN)
    draw.line([(26, 52), (43, 69), (75, 34)], fill="white", width=12, joint="curve")
    return big.resize((side, side), Image.Resampling.LANCZOS)


def _write(
    canvas: Image.Image, at: tuple[float, float], text: str, size: int, color: str, room: float,
    anchor: str = "mt", bold: bool = False,
) -> None:  # fmt: skip
    """A line of text, in a smaller font where it would not fit, cut where it still does not."""
    while size > 10 and load_font(size, bold).getlength(text) > room:
        size -= 1
    font = load_font(size, bold)
    ImageDraw.Draw(canvas).text(at, cut(text, font, room), font=font, fill=color, anchor=anchor)


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

    Rows that make too many bytes for one output are shown as several pictures.

    Args:
        rows: movie ids (not tokens), one list a row; rows may differ in length. None, or an id
            that ``movies`` does not have, is an empty place.
        movies: frame with columns movie_id, title, genres.
        highlight: the recommendations, framed in red: a column (-1 is the last of each row),
            several columns, or a function of row and column.
        captions: a short text below each poster.
        row_titles: a short text above each row.
        folder: where the reader's own posters are; title cards stand in for those missing.
        hits: recommendations that were right, with a green tick; given as ``highlight`` is.
    """
    table, pictures = arrange(rows, movies, highlight, captions, row_titles, folder, hits)
    numbers = {id(row): f"Row {r}" for r, row in enumerate(table, 1)}
    for part, (mime, data) in _parts(table, pictures):
        heads = [row.title or numbers[id(row)] for row in part]
        alt = alternative_text(heads, part, pictures)
        display({mime: data, "text/plain": alt}, raw=True, metadata={mime: {"alt": alt}})
    unusable = [picture.problem for _, picture in sorted(pictures.items()) if picture.problem]
    if unusable:
        print(
            f"{len(unusable)} poster files could not be used and became title cards: "
            f"{'; '.join(unusable[:3])}{' …' if len(unusable) > 3 else ''}"
        )


def arrange(
    rows: Sequence[Sequence[int | None]],
    movies: pd.DataFrame,
    highlight: Marks = None,
    captions: Sequence[Sequence[str]] | None = None,
    row_titles: Sequence[str] | None = None,
    folder: Path | None = POSTER_FOLDER,
    hits: Marks = None,
) -> tuple[list[Row], dict[int, Picture]]:
    """What `compose` draws, from the arguments of `show_posters`."""
    table = []
    for r, row in enumerate(rows):
        words = _at(captions, r, ())
        places = [
            Place(
                _integer(movie_id), str(_at(words, c, "")),
                _is_marked(highlight, r, c, len(row)), _is_marked(hits, r, c, len(row)),
            )
            for c, movie_id in enumerate(row)
        ]  # fmt: skip
        table.append(Row(str(_at(row_titles, r, "")), places))
    wanted = {place.movie_id for row in table for place in row.places} - {None}
    known = movies[movies["movie_id"].isin(wanted)]
    columns = (known["movie_id"].tolist(), known["title"], known["genres"])
    return table, {row[0]: picture_of(*row, folder) for row in zip(*columns, strict=True)}


def _integer(value: object) -> int | None:
    """A plain int, whatever kind of integer came (NumPy, torch); None for anything else."""
    try:
        return operator.index(value)
    except TypeError:
        return None


def _at(values: Sequence | None, place: int, otherwise: object) -> object:
    """The value at a place; fewer captions and titles than posters are fine."""
    return otherwise if values is None or place >= len(values) else values[place]


def _is_marked(marks: Marks, row: int, column: int, length: int) -> bool:
    if marks is None:
        return False
    if callable(marks):
        return bool(marks(row, column))
    single = _integer(marks)
    wanted = list(marks) if single is None else [single]
    return column in [place % length if place < 0 else place for place in wanted]


def _parts(rows: list[Row], pictures: dict[int, Picture]):
    """Rows and their encoded picture; halves of them where that has too many bytes."""
    photographs = any(pictures[p.movie_id].own is not None for row in rows for p in row.places
                      if p.movie_id in pictures)  # fmt: skip
    picture = compose(rows, pictures)
    mime, data = encode(picture, photographs)
    if len(data) > LARGEST_BYTES and len(rows) > 1:
        yield from _parts(rows[: len(rows) // 2], pictures)
        yield from _parts(rows[len(rows) // 2 :], pictures)
        return
    while len(data) > LARGEST_BYTES:  # of a single row, so a size of two thirds will do
        smaller = (picture.width * 9 // 11, picture.height * 9 // 11)
        picture = picture.resize(smaller, Image.Resampling.LANCZOS)
        mime, data = encode(picture, photographs)
    yield rows, (mime, data)


def encode(picture: Image.Image, photographs: bool = False) -> tuple[str, bytes]:
    """PNG with a palette, which suits title cards; JPEG for photographs, which it would spoil.

    Takes the best quality that stays within `LARGEST_BYTES`, or the lowest.
    """
    for colors in () if photographs else (255, 128, 64):
        buffer = io.BytesIO()
        # One round of k-means keeps each flat color what it is (the mean error falls from 7 to
        # 0.7 of 255 at 128 colors); dithering would only add noise and bytes to it.
        palette = picture.quantize(
            colors, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )
        palette.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST_BYTES:
            return "image/png", buffer.getvalue()
    for quality in (88, 80, 72):  # below, text breaks up
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= LARGEST_BYTES:
            break
    return "image/jpeg", buffer.getvalue()


def alternative_text(
    heads: list[str], rows: list[Row], pictures: dict[int, Picture], limit: int = 900
) -> str:
    """The rows in words."""
    sentences = []
    for head, row in zip(heads, rows, strict=True):
        titles = []
        for place in row.places:
            known = pictures.get(place.movie_id)
            title = split_title(known.title)[0] if known else "empty place"
            marks = ["framed in red"] * place.recommended + ["a hit"] * place.hit
            titles.append(f"{title} ({', '.join(marks)})" if marks else title)
        sentences.append(f"{head}: {', '.join(titles) or 'no movies'}.")
    text = "Movie posters. " + " ".join(sentences)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
