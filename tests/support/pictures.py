"""Pictures of pages: kept small, and compared as somebody would who stands a step back."""

from pathlib import Path
from typing import Final

from PIL import Image, ImageChops

CELL: Final = 8
"""Pixels along one side of what is compared: strokes of letters drown in it, boxes do not."""
NOTICED: Final = 36
"""Levels of 255 by which the mean colour of a cell must differ to count."""
TOLERATED: Final = 4
"""Cells that may: about a digit."""
HEIGHT: Final = 8
"""Pixels by which the height of a page may differ."""


def keep(picture: Image.Image, path: Path) -> None:
    """Write a picture for people and for comparisons: few bytes, and every colour as it was.

    A palette of few colours would do away with those that are rare on a page, such as the mark's.
    """
    path.parent.mkdir(exist_ok=True)
    picture.save(path, "WEBP", quality=70, method=4)


def difference(expected: Image.Image, actual: Image.Image) -> tuple[int, Image.Image]:
    """Return in how many cells two pictures differ noticeably, and where: white on black.

    Other versions of a browser smooth letters otherwise; that stays below what is noticed.
    """
    if expected.width != actual.width or abs(expected.height - actual.height) > HEIGHT:
        cells = max(expected.width * expected.height, actual.width * actual.height) // CELL**2
        return cells, Image.new("L", actual.size, 255)
    box = (0, 0, expected.width, min(expected.height, actual.height))
    small = [_small(picture.convert("RGB").crop(box)) for picture in (expected, actual)]
    bands = ImageChops.difference(*small).split()
    most = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
    seen = most.point(lambda level: 255 if level > NOTICED else 0)
    return seen.histogram()[255], seen.resize(box[2:], Image.Resampling.NEAREST)


def _small(picture: Image.Image) -> Image.Image:
    return picture.resize(
        (max(1, picture.width // CELL), max(1, picture.height // CELL)), Image.Resampling.BOX
    )
