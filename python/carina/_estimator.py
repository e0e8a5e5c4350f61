"""The manners of a scikit-learn estimator, without scikit-learn."""

import inspect
from typing import Any, TypeVar

from carina.errors import InvalidValueError

_Self = TypeVar("_Self", bound="Classifier")


class Classifier:
    """Parameters by name, a repr of what differs, and what scikit-learn asks."""

    _estimator_type = "classifier"

    @classmethod
    def _names(cls) -> list[str]:
        return list(inspect.signature(cls).parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the constructor."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self: _Self, **params: Any) -> _Self:
        """Set parameters of the constructor."""
        for name, value in params.items():
            if name not in self._names():
                known = ", ".join(self._names())
                raise InvalidValueError(f"no parameter {name!r}; there are: {known}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        parts = []
        for name, value in self.get_params().items():
            if name == "model" and value is not None:
                parts.append(f"model=<{type(value).__name__}>")
            elif (
                value is not defaults[name].default and value != defaults[name].default
            ):
                parts.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "core_")

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn asks, so it is there.
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True, multi_output=True),
            classifier_tags=ClassifierTags(multi_class=False, multi_label=True),
            input_tags=InputTags(),
        )
