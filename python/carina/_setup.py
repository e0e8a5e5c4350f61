"""How a protocol is run."""

from dataclasses import dataclass
from typing import Any

from carina.result import Protocol


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Resamples, their seed, and the notes that are kept with the numbers."""

    n: int = 1000
    seed: int = 0
    data: str = ""
    command: str = ""
    recipe_hash: str | None = None
    progress: bool | None = None

    def protocol(self, name: str, data: str, clusters: int, **more: Any) -> Protocol:
        """Say how numbers came about."""
        return Protocol(
            name=name,
            data=data,
            command=self.command,
            recipe_hash=self.recipe_hash,
            seed=self.seed,
            resamples=self.n,
            clusters=clusters,
            **more,
        )
