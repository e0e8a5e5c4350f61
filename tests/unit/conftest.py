"""What several unit tests share."""

import carina as ca
import pytest

SMALL = {
    "image": {"widths": [8, 16], "depths": [1, 1], "stem_width": 8},
    "text": {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32},
    "queries": 2,
    "pool_heads": 2,
    "embedding": 8,
}


@pytest.fixture(scope="session")
def small():
    """Make a model that learns in a moment."""

    def small(seed=0):
        return ca.create("elixr", size="tiny", image_size=32, seed=seed, **SMALL)

    return small


@pytest.fixture(scope="session")
def films():
    """Give synthetic films of 32 × 32 pixels."""
    return ca.phantom(64, seed=3, size=32, progress=False)
