"""What users of CXR Foundation (ELIXR) bring along: its films."""

from pathlib import Path

from carina import _core
from carina._files import PathLike
from carina.image import Image

__all__ = ["film", "write_png"]


def film(
    source: PathLike | bytes, *, released: bool = False, any_view: bool = False
) -> Image:
    """Read a film in the levels that CXR Foundation's clients make of it.

    Modality and window are applied, white is high, and the lowest and highest value
    become 0 and 65535. A film of 8 bits keeps its levels.

    Parameters
    ----------
    source : path-like or bytes
        A DICOM, PNG, JPEG or TIFF file, or what it holds.
    released : bool, default=False
        Give the levels of the published code to the last bit, flaws included: every
        scaling cuts fractions off, a rescaled film first passes through 16 bits, a
        film of one value becomes white, one of 8 bits is inverted around its highest
        value, look-up tables, the shape of a window and padding are ignored, and a
        PNG of 16 bits is clipped at 255. By default levels are rounded once, at the
        end, and a film of one value keeps its place in the display range.
    any_view : bool, default=False
        Take films known to be lateral too.

    Returns
    -------
    Image
        Whole levels; ``range`` is (0, 65535), or (0, 255) for a film of 8 bits.
        ``Recipe.preset("cxr-foundation-1280")`` makes a model's input of it.

    Raises
    ------
    InvalidValueError
        If the film is known to be lateral.
    FormatError
        If it is no image or a damaged one; with `released` also what the published
        code fails on: rescale and window in one file, several windows, colours.

    References
    ----------
    .. [1] Xu et al., "ELIXR: Towards a general purpose X-ray artificial intelligence
       system", 2023. arXiv:2308.01317; data processing of Google-Health/cxr-foundation.
    """
    held = source if isinstance(source, (bytes, bytearray)) else Path(source)
    return Image(_core.cxr_foundation_film(held, released=released, any_view=any_view))


def write_png(
    source: PathLike | bytes,
    path: PathLike,
    *,
    released: bool = False,
    any_view: bool = False,
) -> Path:
    """Write a film as the 16-bit grey PNG that CXR Foundation's clients send.

    Parameters
    ----------
    source : path-like or bytes
        As :func:`film` takes it.
    path : path-like
        Where to write; the file is either whole or absent.
    released, any_view : bool, default=False
        As for :func:`film`.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    FileError
        If the file cannot be written; the other errors are those of :func:`film`.
    """
    film(source, released=released, any_view=any_view)._core.save_levels(Path(path))
    return Path(path)
