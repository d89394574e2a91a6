"""Posters: a picture for every movie, and rows of them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

from recformer_utils.title_cards import load_font, split_title, title_card

POSTER_FOLDER = Path(__file__).resolve().parents[1] / "data" / "posters"
SUFFIXES = (".jpg", ".jpeg", ".png")
RED = "#E4002B"  # the recommendation, and nothing else in the series
TEXT, QUIET, EMPTY = "#111827", "#4B5563", "#E5E7EB"
LARGEST_PIXELS = 40_000_000  # no poster is larger; a picture that claims to be is not opened
WIDTH, GAP, FRAME, POSTER_WIDTH = 1240, 22, 7, 186

Highlight = int | Sequence[int] | Callable[[int, int], bool] | None


class UnusablePosterError(ValueError):
    """A poster file that is there but is no usable picture."""


def find_poster(movie_id: int, folder: Path | None = POSTER_FOLDER) -> Image.Image | None:
    """Opens the reader's own poster of a movie; None when there is none.

    Raises:
        UnusablePosterError: the file is truncated, is no picture, or is far too large.
    """
    if folder is None:
        return None
    for suffix in SUFFIXES:
        path = Path(folder) / f"{movie_id}{suffix}"
        if path.exists():
            return _open(path)
    return None


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > LARGEST_PIXELS:
                raise UnusablePosterError(f"{path.name}: {image.width} x {image.height} pixels")
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise UnusablePosterError(f"{path.name}: not a JPEG or PNG picture") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        if isinstance(error, UnusablePosterError):
            raise
        raise UnusablePosterError(f"{path.name}: {error}") from error


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
    try:
        own = find_poster(movie_id, folder)
    except UnusablePosterError:
        own = None
    if own is None:
        return title_card(movie_id, title, genres, size)
    return np.asarray(ImageOps.fit(own, size, Image.Resampling.LANCZOS))


def poster_rows(
    rows: Sequence[Sequence[int | None]],
    movies: pd.DataFrame,
    highlight: Highlight = None,
    captions: Sequence[Sequence[str]] | None = None,
    row_titles: Sequence[str] | None = None,
    folder: Path | None = POSTER_FOLDER,
) -> Image.Image:
    """Rows of posters as one picture; arguments as for `show_posters`."""
    columns = max((len(row) for row in rows), default=0)
    width = min(POSTER_WIDTH, (WIDTH - GAP) // max(columns, 1) - GAP)
    size = (width, width * 3 // 2)
    above = 34 if row_titles else 0
    below = 30 if captions else 0
    pitch = above + size[1] + below + GAP + FRAME
    height = max(1, len(rows)) * pitch + GAP
    canvas = Image.new("RGB", (max(columns, 1) * (width + GAP) + GAP, height), "white")
    draw = ImageDraw.Draw(canvas)
    table = movies.set_index("movie_id")[["title", "genres"]]
    for r, row in enumerate(rows):
        top = GAP + r * pitch
        if row_titles:
            font = _fit(row_titles[r], "DejaVuSans-Bold", 17, canvas.width - 2 * GAP)
            draw.text((GAP, top - 4), row_titles[r], font=font, fill=TEXT)
        for c, movie_id in enumerate(row):
            x, y = GAP + c * (width + GAP), top + above
            marked = _is_marked(highlight, r, c, len(row))
            if marked:
                box = [x - FRAME, y - FRAME, x + width + FRAME - 1, y + size[1] + FRAME - 1]
                draw.rectangle(box, fill=RED)
            if movie_id in table.index:
                picture = poster(movie_id, *table.loc[movie_id], folder=folder, size=size)
                canvas.paste(Image.fromarray(picture), (x, y))
            else:
                draw.rectangle([x, y, x + width - 1, y + size[1] - 1], fill=EMPTY)
            if captions and c < len(captions[r]):
                text, color = captions[r][c], RED if marked else QUIET
                font = _fit(
                    text, "DejaVuSans-Bold" if marked else "DejaVuSans", 15, width + GAP - 4
                )
                place = (x + width / 2, y + size[1] + FRAME + 6)
                draw.text(place, text, font=font, fill=color, anchor="mt")
    return canvas


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
    picture = poster_rows(rows, movies, highlight, captions, row_titles, folder)
    mime, data = _encode(picture)
    alt = _alternative_text(rows, movies, highlight, row_titles)
    display({mime: data, "text/plain": alt}, raw=True, metadata={mime: {"alt": alt}})
    unusable = unusable_posters({m for row in rows for m in row if m is not None}, folder)
    if unusable:
        print(
            f"{len(unusable)} poster files could not be used and became title cards: "
            f"{'; '.join(unusable[:3])}{' …' if len(unusable) > 3 else ''}"
        )


def unusable_posters(movie_ids: set[int], folder: Path | None = POSTER_FOLDER) -> list[str]:
    """Poster files that are there but cannot be used, each with its reason."""
    reasons = []
    for movie_id in sorted(movie_ids):
        try:
            find_poster(movie_id, folder)
        except UnusablePosterError as error:
            reasons.append(str(error))
    return reasons


def _is_marked(highlight: Highlight, row: int, column: int, length: int) -> bool:
    if highlight is None:
        return False
    if callable(highlight):
        return bool(highlight(row, column))
    wanted = [highlight] if isinstance(highlight, int) else list(highlight)
    return column in [place % length if place < 0 else place for place in wanted]


def _fit(text: str, name: str, size: int, width: float):
    """The font in the wanted size, or smaller until the text fits."""
    while size > 9 and load_font(name, size).getlength(text) > width:
        size -= 1
    return load_font(name, size)


def _encode(picture: Image.Image, limit: int = 140_000) -> tuple[str, bytes]:
    """PNG with a palette, which suits title cards; JPEG when photographs make that too large.

    The limit, in bytes, keeps a notebook's output below 200 KiB once it is text (base64).
    """
    for colors in (255, 128, 64):
        buffer = io.BytesIO()
        # Dithering would only add noise and bytes to flat colors.
        palette = picture.quantize(colors, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        palette.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= limit:
            return "image/png", buffer.getvalue()
    for quality in (88, 80, 70, 60, *[60] * 8):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= limit:
            break
        if quality == 60:  # below that, text breaks up: rather a smaller picture
            picture = picture.resize((picture.width * 7 // 8, picture.height * 7 // 8))
    return "image/jpeg", buffer.getvalue()


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
        head = row_titles[r] if row_titles else f"Row {r + 1}"
        sentences.append(f"{head}: {', '.join(titles)}.")
    text = "Movie posters. " + " ".join(sentences)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
