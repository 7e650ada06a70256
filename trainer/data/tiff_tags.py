"""Tags of TIFF files that are read here, by the numbers that they have in files."""

from enum import IntEnum


class Tag(IntEnum):
    """Field of a TIFF directory, by its number."""

    SUBFILE = 254
    """Kind of page: bit 0 a smaller copy, bit 2 a transparency mask."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    """Bits of a level, of each channel."""

    COMPRESSION = 259
    COLOURS = 262
    """PhotometricInterpretation: what the first channels are."""

    FILL_ORDER = 266
    STRIP_PLACES = 273
    ORIENTATION = 274
    CHANNELS = 277
    ROWS = 278
    """Rows of a strip."""

    STRIP_LENGTHS = 279
    PLANES = 284
    """2 where channels are stored one after the other."""

    FAX_3 = 292
    FAX_4 = 293
    PREDICTOR = 317
    PALETTE = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_PLACES = 324
    TILE_LENGTHS = 325
    INKS = 332
    EXTRA = 338
    """What channels behind the colours mean."""

    FORMAT = 339
    """Kind of numbers that the levels are."""

    TABLES = 347
    """Tables of JPEG that all pieces share."""

    YCBCR_COEFFICIENTS = 529
    YCBCR_SUBSAMPLING = 530
    YCBCR_POSITIONS = 531
    BLACK_AND_WHITE = 532
    """ReferenceBlackWhite."""

    XMP = 700
    GDAL_NODATA = 42113
    """Level that marks pixels without data, as text."""


PIECES = (Tag.STRIP_PLACES, Tag.STRIP_LENGTHS), (Tag.TILE_PLACES, Tag.TILE_LENGTHS)
"""Tags of the places and the lengths of strips, and of tiles."""
