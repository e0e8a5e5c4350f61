"""Colours that readers with any kind of colour vision can tell apart.

References
----------
Okabe and Ito, "Color Universal Design", 2008, for names; the ramp for heat maps
grows evenly in lightness, so that it keeps its order in grey.
"""

import numpy as np
from numpy.typing import NDArray

from carina.errors import InvalidValueError

Colour = tuple[int, int, int]

_OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
# The second round is half white: as far from the first as its members are apart.
NAMED: tuple[Colour, ...] = (
    *_OKABE_ITO,
    *((r // 2 + 127, g // 2 + 127, b // 2 + 127) for r, g, b in _OKABE_ITO),
)

_RAMP = np.array(
    [(10, 8, 40), (86, 16, 110), (187, 55, 84), (249, 142, 9), (252, 250, 164)]
)


def heat(shares: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the colours (..., 3), 0 to 255, of shares from 0 to 1."""
    places = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(shares, places, _RAMP[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def colours(names: list[str]) -> dict[str, Colour]:
    """Give each name a colour of its own."""
    if len(names) > len(NAMED):
        raise InvalidValueError(
            f"overlays: expected at most {len(NAMED)} names, found {len(names)}: "
            "no more colours can be told apart"
        )
    return dict(zip(names, NAMED, strict=False))
