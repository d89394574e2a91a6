"""Pictures that the site makes of the stored ones: posters by night, cards for social media."""

import base64
import io
import json

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image, ImageDraw
from scipy import ndimage

from recformer_utils.posters.cards import load_font, wrap
from tools.common import REPOSITORY
from tools.vector import by_night

POSTERS = REPOSITORY / "site/static/posters"
SHOWN = 0.8  # CSS pixels to one of a picture of posters: captions of 15 are 12 px high
CARD = (1200, 630)  # the size that Open Graph consumers expect
GROUND, INK, QUIET, RED = "#14213D", "#FFFFFF", "#AFC3E4", "#E4002B"
ROWS = """<svg width="{0:.1f}pt" height="{1:.1f}pt" viewBox="0 0 {width} {height}" \
xmlns="http://www.w3.org/2000/svg">
<style>:root{{color-scheme:light dark}}#night{{display:none}}@media (prefers-color-scheme:dark){{\
#night{{display:inline}}#all{{clip-path:url(#posters)}}}}</style>
<clipPath id="posters"><path d="{posters}"/></clipPath>{drawn}</svg>
"""


def png(image: Image.Image) -> bytes:
    """The picture with 256 colors, enough for charts and title cards."""
    buffer = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def contained(data: bytes, size: tuple[int, int], margin: int) -> Image.Image:
    """The picture as large as it fits on a white ground of that size."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    inner = (size[0] - 2 * margin, size[1] - 2 * margin)
    scale = min(inner[0] / image.width, inner[1] / image.height)
    image = image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
    )
    ground = Image.new("RGB", size, "white")
    ground.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return ground


def rows_of_posters(data: bytes) -> str:
    """A picture of posters as SVG. By night only they are left of it, on the site's own ground.

    What is large and of many colours is a poster; titles and captions get the night's colours.
    """
    image = Image.open(io.BytesIO(data))
    palette = image if image.mode == "P" else image.convert("RGB").quantize(255)
    colors = np.reshape(palette.getpalette(), (-1, 3))
    places, ground, posters = np.array(palette), int(colors.min(axis=1).argmax()), ""
    for rows, columns in ndimage.find_objects(ndimage.label(colors[places].min(axis=2) < 245)[0]):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if height > 60 and len(np.unique(places[rows, columns])) > 2:
            posters += (
                f"M{columns.start + 1} {rows.start + 1}h{width - 2}v{height - 2}h{2 - width}z"
            )
            places[rows, columns] = ground
    words = Image.fromarray(places)
    night = "".join(by_night(to_hex(color / 255))[1:] for color in colors)
    words.putpalette(bytes.fromhex(night))
    words.save(buffer := io.BytesIO(), "PNG", optimize=True)
    pictures = {"night": (buffer.getvalue(), "png"), "all": (data, image.format.lower())}
    width, height = image.size
    drawn = "".join(
        f'<image id="{name}" width="{width}" height="{height}"'
        f' href="data:image/{kind};base64,{base64.b64encode(file).decode()}"/>'
        for name, (file, kind) in pictures.items()
    )
    points = (0.75 * SHOWN * width, 0.75 * SHOWN * height)
    return ROWS.format(*points, width=width, height=height, posters=posters, drawn=drawn)


def social_card(title: str, text: str, name: str, picture: bytes | None) -> bytes:
    """What a link to a page looks like elsewhere: 1200 x 630 pixels, PNG.

    Args:
        title: set large.
        text: a sentence or two below it.
        name: of the site, in the corner.
        picture: a stored picture beside the text; without one, the row of title cards below it.
    """
    card = Image.new("RGB", CARD, GROUND)
    draw = ImageDraw.Draw(card)
    width = 520 if picture else CARD[0] - 140
    draw.text((70, 60), name, font=load_font(30), fill=QUIET)
    draw.rectangle([70, 112, 130, 117], fill=QUIET)
    y = 150
    for words, size, color, most in (
        (title, 60, INK, 2 if picture else 1),
        (text, 30, QUIET, 7 if picture else 2),
    ):
        lines, font = fitted(words, size, color == INK, width, most)
        for line in lines:
            draw.text((70, y), line, font=font, fill=color)
            y += font.size * 1.35
        y += 18
    if picture:
        box = contained(picture, (500, 490), 24)
        mask = Image.new("L", box.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle([0, 0, 499, 489], 20, fill=255)
        card.paste(box, (640, 70), mask)
    else:
        posters(card, draw, top=375)
    return png(card)


def fitted(text: str, size: int, bold: bool, width: int, most: int):
    """The text in at most ``most`` lines no wider than ``width``; the font shrinks until it fits."""
    while True:
        font = load_font(size, bold)
        lines = wrap(text, font, width)
        if size <= 16 or (len(lines) <= most and max(map(font.getlength, lines)) <= width):
            return lines, font
        size -= 2


def posters(card: Image.Image, draw: ImageDraw.ImageDraw, top: int) -> None:
    """The front page's title cards, cut off by the lower edge."""
    cards = json.loads((POSTERS / "row.json").read_text(encoding="utf-8"))["cards"]
    for i, one in enumerate(cards):
        x = 70 + i * 153
        image = Image.open(POSTERS / one["file"]).convert("RGB")
        image = image.resize((140, 210), Image.Resampling.LANCZOS)
        if one["caption"] == "recommended":
            draw.rectangle([x - 7, top - 7, x + 146, top + 216], fill=RED)
        card.paste(image, (x, top))
