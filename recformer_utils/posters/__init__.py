"""Posters: a picture for every movie, and rows of them."""

import io
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from os.path import lexists
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image, ImageDraw, ImageOps

from recformer_utils import ROOT
from recformer_utils.posters.cards import load_font, split_title, title_card

POSTER_FOLDER = ROOT / "data/posters"
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
RED = "#E4002B"  # the recommendation, and nothing else in the series
TEXT, QUIET, EMPTY = "#111827", "#4B5563", "#E5E7EB"
LARGEST_PIXELS = 40_000_000  # no poster is larger; a picture that claims to be is not opened
SMALLEST_SIDE = 16  # less is the one-pixel picture that some servers send for "not found"
WIDTH, GAP, FRAME, POSTER_WIDTH = 1240, 22, 7, 186

Highlight = int | Sequence[int] | Callable[[int, int], bool] | None


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


def poster(
    movie_id: int,
    title: str,
    genres: str,
    folder: Path | None = POSTER_FOLDER,
    size: tuple[int, int] = (240, 360),
) -> np.ndarray:
    """The picture of a movie: the reader's own poster, else a title card.

    Args:
        movie_id: names the file, ``<folder>/<movie_id>.jpg`` or ``.png``.
        title: as in movies.dat, with the year in parentheses.
        genres: names joined by "|".
        folder: where the posters are; None for title cards only.
        size: width and height in pixels.

    Returns:
        uint8 (height, width, 3). An unusable file becomes a title card, never an exception.
    """
    # NumPy's integers do not seed the card's variations, so make it a plain one.
    return _picture(operator.index(movie_id), title, genres, folder, size)[0]


def _picture(
    movie_id: int, title: str, genres: str, folder: Path | None, size: tuple[int, int]
) -> tuple[np.ndarray, str]:
    """The picture of a movie, and what it is: "own", "card", or why its file was unusable."""
    try:
        own = find_poster(movie_id, folder)
    except UnusablePosterError as error:
        return title_card(movie_id, title, genres, size), str(error)
    if own is None:
        return title_card(movie_id, title, genres, size), "card"
    return np.asarray(ImageOps.fit(own, size, Image.Resampling.LANCZOS)), "own"


def poster_rows(
    rows: Sequence[Sequence[int | None]],
    movies: pd.DataFrame,
    highlight: Highlight = None,
    captions: Sequence[Sequence[str]] | None = None,
    row_titles: Sequence[str] | None = None,
    folder: Path | None = POSTER_FOLDER,
) -> Image.Image:
    """Rows of posters as one picture; arguments as for `show_posters`."""
    rows = [[_integer(value) for value in row] for row in rows]
    return _compose(rows, movies, highlight, captions, row_titles, folder)[0]


def _compose(
    rows: list[list[int | None]],
    movies: pd.DataFrame,
    highlight: Highlight,
    captions: Sequence[Sequence[str]] | None,
    row_titles: Sequence[str] | None,
    folder: Path | None,
) -> tuple[Image.Image, dict[int, str]]:
    """The picture, and for each movie in it what `_picture` said of it."""
    columns = max((len(row) for row in rows), default=0)
    width = max(8, min(POSTER_WIDTH, (WIDTH - GAP) // max(columns, 1) - GAP))
    size = (width, width * 3 // 2)
    above = 34 if row_titles else 0
    below = 30 if captions else 0
    pitch = above + size[1] + below + GAP + FRAME
    height = max(1, len(rows)) * pitch + GAP
    canvas = Image.new("RGB", (max(columns, 1) * (width + GAP) + GAP, height), "white")
    draw = ImageDraw.Draw(canvas)
    wanted = [movie_id for row in rows for movie_id in row if movie_id is not None]
    known = movies[movies["movie_id"].isin(wanted)]
    table = {
        movie_id: _picture(movie_id, title, genres, folder, size)
        for movie_id, title, genres in zip(
            known["movie_id"].tolist(), known["title"], known["genres"], strict=True
        )
    }
    for r, row in enumerate(rows):
        top = GAP + r * pitch
        if head := _text_at(row_titles, r):
            font = _fit(head, "DejaVuSans-Bold", 17, canvas.width - 2 * GAP)
            draw.text((GAP, top - 4), head, font=font, fill=TEXT)
        for c, movie_id in enumerate(row):
            x, y = GAP + c * (width + GAP), top + above
            marked = _is_marked(highlight, r, c, len(row))
            if marked:
                box = [x - FRAME, y - FRAME, x + width + FRAME - 1, y + size[1] + FRAME - 1]
                draw.rectangle(box, fill=RED)
            if movie_id in table:
                canvas.paste(Image.fromarray(table[movie_id][0]), (x, y))
            else:
                draw.rectangle([x, y, x + width - 1, y + size[1] - 1], fill=EMPTY)
            if captions and (text := _text_at(captions[r] if r < len(captions) else None, c)):
                name = "DejaVuSans-Bold" if marked else "DejaVuSans"
                font = _fit(text, name, 15, width + GAP - 4)
                place = (x + width / 2, y + size[1] + FRAME + 6)
                draw.text(place, text, font=font, fill=RED if marked else QUIET, anchor="mt")
    return canvas, {movie_id: kind for movie_id, (_, kind) in table.items()}


def show_posters(
    rows: Sequence[Sequence[int | None]],
    movies: pd.DataFrame,
    highlight: Highlight = None,
    captions: Sequence[Sequence[str]] | None = None,
    row_titles: Sequence[str] | None = None,
    folder: Path | None = POSTER_FOLDER,
) -> None:
    """Shows rows of posters in a notebook, with an alternative text that names the movies.

    Args:
        rows: movie ids (not tokens), one list a row; rows may differ in length. None, or an id
            that ``movies`` does not have, is an empty place.
        movies: frame with columns movie_id, title, genres.
        highlight: framed in red: a column (-1 is the last of each row), several columns, or a
            function of row and column.
        captions: a short text below each poster.
        row_titles: a short text above each row.
        folder: where the reader's own posters are; title cards stand in for those missing.
    """
    rows = [[_integer(value) for value in row] for row in rows]
    picture, kinds = _compose(rows, movies, highlight, captions, row_titles, folder)
    unusable = [kinds[m] for m in sorted(kinds) if kinds[m] not in ("own", "card")]
    mime, data = _encode(picture, photographs="own" in kinds.values())
    alt = _alternative_text(rows, movies, highlight, row_titles)
    display({mime: data, "text/plain": alt}, raw=True, metadata={mime: {"alt": alt}})
    if unusable:
        print(
            f"{len(unusable)} poster files could not be used and became title cards: "
            f"{'; '.join(unusable[:3])}{' …' if len(unusable) > 3 else ''}"
        )


def unusable_posters(movie_ids: Iterable[int], folder: Path | None = POSTER_FOLDER) -> list[str]:
    """Poster files that are there but cannot be used, each with its reason."""
    reasons = []
    for movie_id in sorted(movie_ids):
        try:
            find_poster(movie_id, folder)
        except UnusablePosterError as error:
            reasons.append(str(error))
    return reasons


def _integer(value: object) -> int | None:
    """A plain int, whatever kind of integer came (NumPy, torch); None for anything else."""
    try:
        return operator.index(value)
    except TypeError:
        return None


def _text_at(texts: Sequence[str] | None, place: int) -> str:
    """The text at a place, empty where there is none: fewer texts than posters are fine."""
    return "" if texts is None or place >= len(texts) else str(texts[place])


def _is_marked(highlight: Highlight, row: int, column: int, length: int) -> bool:
    if highlight is None:
        return False
    if callable(highlight):
        return bool(highlight(row, column))
    single = _integer(highlight)
    wanted = list(highlight) if single is None else [single]
    return column in [place % length if place < 0 else place for place in wanted]


def _fit(text: str, name: str, size: int, width: float):
    """The font in the wanted size, or smaller until the text fits."""
    while size > 9 and load_font(name, size).getlength(text) > width:
        size -= 1
    return load_font(name, size)


def _encode(
    picture: Image.Image, photographs: bool = False, limit: int = 140_000
) -> tuple[str, bytes]:
    """PNG with a palette, which suits title cards; JPEG for photographs, which it would spoil.

    The limit, in bytes, keeps a notebook's output below 200 KiB once it is text (base64).
    """
    for colors in () if photographs else (255, 128, 64):
        buffer = io.BytesIO()
        # One round of k-means keeps each flat color what it is (the mean error falls from 7 to
        # 0.7 of 255 at 128 colors); dithering would only add noise and bytes to it.
        palette = picture.quantize(
            colors, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )
        palette.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= limit:
            return "image/png", buffer.getvalue()
    for quality in (88, 80, 70, 60):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= limit:
            return "image/jpeg", buffer.getvalue()
    # Each step has two thirds of the pixels, so it ends; below 60 text breaks up.
    smaller = (max(1, picture.width * 9 // 11), max(1, picture.height * 9 // 11))
    return _encode(picture.resize(smaller, Image.Resampling.LANCZOS), True, limit)


def _alternative_text(
    rows: Sequence[Sequence[int | None]],
    movies: pd.DataFrame,
    highlight: Highlight,
    row_titles: Sequence[str] | None,
    limit: int = 900,
) -> str:
    """The rows in words."""
    names = dict(zip(movies["movie_id"], movies["title"], strict=True))
    sentences = []
    for r, row in enumerate(rows):
        titles = []
        for c, movie_id in enumerate(row):
            title = split_title(names[movie_id])[0] if movie_id in names else "empty place"
            marked = _is_marked(highlight, r, c, len(row))
            titles.append(f"{title} (framed in red)" if marked else title)
        head = _text_at(row_titles, r) or f"Row {r + 1}"
        sentences.append(f"{head}: {', '.join(titles) or 'no movies'}.")
    text = "Movie posters. " + " ".join(sentences)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
