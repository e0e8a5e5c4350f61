"""What a fitted probe does with features."""

import warnings
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core, metrics
from carina._arrays import sigmoid
from carina._estimator import Classifier
from carina._labels import (
    codes_of,
    column_names,
    column_of,
    is_named,
    labels_of,
    own_truth,
    read_labels,
)
from carina._models import check_fingerprint, encode, made_by
from carina.classification import classification_result
from carina.embeddings import Embeddings
from carina.errors import InvalidValueError, NotFittedError, ShapeError
from carina.metrics import Policy
from carina.result import Result
from carina.table import Table

_Fitted = TypeVar("_Fitted", bound="FittedUse")


class FittedUse(Classifier):
    """Scores, predictions and their evaluation; `carina.Probe` adds the fit."""

    model: Any
    kind: str
    policy: Policy
    progress: bool | None
    core_: _core.FittedProbe
    labels_: tuple[str, ...]
    flat_: bool
    classes_: Any
    recipe_hash_: str | None
    calibration_: NDArray[np.float64] | None
    thresholds_: dict[str, float]

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits, of shape (n,) for one label and (n, labels) for several."""
        logits = self._logits(X)
        return logits[:, 0] if self.flat_ else logits

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities.

        Returns
        -------
        ndarray of shape (n, 2) or (n, labels)
            For one label, of its two classes; for several, of presence of each.
        """
        scores = self._scores(X)
        if self.flat_:
            return np.stack([1 - scores[:, 0], scores[:, 0]], axis=1)
        return scores

    def predict(self, X: Any) -> NDArray[Any]:
        """Classes (n,) for one label, 0 or 1 of shape (n, labels) for several."""
        cuts = np.array([self.thresholds_[n] for n in self._fitted().labels_])
        present = self._scores(X) >= cuts
        if self.flat_:
            chosen: NDArray[Any] = np.asarray(self.classes_)[present[:, 0].astype(int)]
            return chosen
        return present.astype(np.int64)

    def score(self, X: Any, y: Any) -> float:
        """Return the mean AUROC over labels."""
        logits = self._logits(X)
        return float(metrics.auroc(self._truth(y), logits, policy=self.policy))

    def evaluate(
        self,
        X: Any,
        y: Any = None,
        groups: ArrayLike | None = None,
        *,
        metrics: tuple[str, ...] = ("auroc", "auprc", "brier", "ece"),
        n: int = 1000,
        seed: int = 0,
        level: float = 0.95,
        data: str = "",
        command: str = "",
    ) -> Result:
        """Score held-out rows with patient-clustered intervals.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.
        groups : array-like of shape (n,), optional
            The patient of each row; a Dataset as `X` brings them along.
        metrics : tuple of str
            As for :func:`carina.metrics.bootstrap`; those at a threshold use
            ``thresholds_``.
        n, seed, level, data, command
            As for :func:`carina.result.classification_result`.

        Returns
        -------
        Result
        """
        y, groups = own_truth(X, y, groups)
        truth, logits = self._truth(y), self._logits(X)
        scores = sigmoid(logits)
        parts = [
            classification_result(
                self.labels_,
                truth,
                # Ranks are those of logits: probabilities near one run together.
                logits if metric in ("auroc", "auprc") else scores,
                groups=groups,
                metrics=[metric],
                thresholds=self.thresholds_,
                policy=self.policy,
                n=n,
                seed=seed,
                level=level,
                protocol=f"{self.kind} probe",
                data=data,
                command=command,
                recipe_hash=self.recipe_hash_,
                progress=self.progress,
            )
            for metric in metrics
        ]
        if not parts:
            raise InvalidValueError("metrics: expected at least one name, got none")
        rows = [row for part in parts for row in part]
        return Result(rows, protocol=parts[0].protocol)

    def calibrate(self: _Fitted, X: Any, y: Any = None) -> _Fitted:
        """Turn scores into probabilities by Platt scaling on held-out rows.

        Thresholds found before no longer hold and go back to one half.

        Parameters
        ----------
        X, y
            As for :meth:`fit`, and not the rows of the fit.

        Returns
        -------
        Probe
            The estimator itself.
        """
        labels = self._truth(own_truth(X, y)[0])
        logits = self._raw_logits(X)
        self.calibration_ = _core.FittedProbe.platt(
            logits, labels, list(self.labels_), self.policy
        )
        self.thresholds_ = dict.fromkeys(self.labels_, 0.5)
        slopes = zip(self.labels_, self.calibration_[:, 0], strict=True)
        if turned := [name for name, slope in slopes if slope <= 0]:
            warnings.warn(
                f"calibration turned the order of {', '.join(turned)} around: on these "
                "rows a higher score does not mean presence; take more rows",
                stacklevel=2,
            )
        return self

    def thresholds(
        self,
        X: Any,
        y: Any = None,
        *,
        sensitivity: float | None = None,
        specificity: float | None = None,
    ) -> Table:
        """Choose the probability at which each label is called present.

        Parameters
        ----------
        X, y
            As for :meth:`fit`, and not the rows of the fit.
        sensitivity, specificity : float in (0, 1], optional
            What to reach, one of them; without either, Youden's index decides.

        Returns
        -------
        Table
            Threshold, sensitivity and specificity of each label; :meth:`predict`
            uses them from now on.
        """
        if sensitivity is not None and specificity is not None:
            raise InvalidValueError("sensitivity, specificity: give one of them")
        kind = "youden"
        if sensitivity is not None:
            kind = "sensitivity"
        elif specificity is not None:
            kind = "specificity"
        wish = float(sensitivity or specificity or 0.0)
        scores, labels = self._scores(X), self._truth(own_truth(X, y)[0])
        rows = []
        for i, name in enumerate(self.labels_):
            pair = (labels[:, i], scores[:, i])
            cut = _core.find_threshold(kind, *pair, wish=wish, policy=self.policy)
            at: dict[str, Any] = {"threshold": cut, "policy": self.policy}
            rows.append(
                (
                    name,
                    cut,
                    metrics.sensitivity(*pair, **at),
                    metrics.specificity(*pair, **at),
                )
            )
        names, cuts, found, left = zip(*rows, strict=True)
        self.thresholds_ = dict(zip(names, cuts, strict=True))
        return Table(
            {
                "label": names,
                "threshold": cuts,
                "sensitivity": found,
                "specificity": left,
            }
        )

    @property
    def coef_(self) -> NDArray[np.float64]:
        """Weights (labels, d) for features as they come (logistic)."""
        return self._linear()[0]

    @property
    def intercept_(self) -> NDArray[np.float64]:
        """Offsets (labels,) for features as they come (logistic)."""
        return self._linear()[1]

    def _linear(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found = self._fitted().core_.coefficients()
        if found is None:
            raise AttributeError("an mlp probe has no coefficients")
        return found

    def _fitted(self: _Fitted) -> _Fitted:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError("this Probe is not fitted; call fit first")
        return self

    def _features(self, X: Any) -> NDArray[np.float32]:
        """Features (n, d), given or encoded; several vectors a row are averaged."""
        if isinstance(X, Embeddings):
            return X.pooled
        given = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf"
        if self.model is not None and not given:
            encoded = encode(self.model, X)
            if encoded.ndim == 3:
                encoded = encoded.mean(axis=1)
            X = encoded
        try:
            features = np.ascontiguousarray(X, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(f"X: not an array of numbers: {error}") from error
        if features.ndim != 2:
            raise ShapeError(f"X: expected shape (n, d), got {list(features.shape)}")
        return features

    def _raw_logits(self, X: Any) -> NDArray[np.float64]:
        fitted = self._fitted()
        check_fingerprint(made_by(self.model, X), fitted.recipe_hash_, "the probe")
        return fitted.core_.decision(self._features(X))

    def _logits(self, X: Any) -> NDArray[np.float64]:
        """Logits (n, labels), calibrated where that was done."""
        logits = self._raw_logits(X)
        if self.calibration_ is None:
            return logits
        return logits * self.calibration_[:, 0] + self.calibration_[:, 1]

    def _scores(self, X: Any) -> NDArray[np.float64]:
        """Probability of presence (n, labels)."""
        return sigmoid(self._logits(X))

    def _truth(self, y: Any) -> NDArray[np.float64]:
        """Labels (n, labels) in the order of ``labels_``."""
        fitted = self._fitted()
        if fitted.flat_ and not is_named(y):
            return codes_of(labels_of(y), np.asarray(fitted.classes_))[:, None]
        if is_named(y) and not fitted.flat_:
            missing = [name for name in fitted.labels_ if name not in column_names(y)]
            if missing:
                raise InvalidValueError(f"y: no column for {', '.join(missing)}")
            y = {name: column_of(y, name) for name in fitted.labels_}
        labels, _, _ = read_labels(y)
        if labels.shape[1] != len(fitted.labels_):
            raise ShapeError(
                f"y: expected shape (n, {len(fitted.labels_)}), "
                f"got {list(labels.shape)}"
            )
        return labels
