"""Classifiers on frozen features, with the manners of scikit-learn."""

import json
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._files import PathLike
from carina._fitted import FittedUse
from carina._labels import own_truth, read_labels
from carina._models import check_fingerprint, fingerprint, made_by
from carina._progress import Bar
from carina.errors import InvalidValueError
from carina.metrics import Policy
from carina.metrics._checks import codes

__all__ = ["Probe"]


class Probe(FittedUse):
    """Logistic regression or a small network on features, for many labels at once.

    An unknown truth (NaN) takes no part in its own label and leaves the others
    alone; an uncertain one (-1) follows `policy`. Works in scikit-learn's
    pipelines, searches and cross-validation, without needing scikit-learn.

    Parameters
    ----------
    model : object, optional
        Anything with ``encode(X)``; then `fit` and the others take what it
        encodes. Several vectors of one image are averaged.
    kind : {"logistic", "mlp"}, default="logistic"
        The classifier.
    C : float, default=1.0
        Inverse strength of the L2 regularisation (logistic).
    class_weight : {None, "balanced"}, default=None
        Whether both classes of a label weigh alike.
    policy : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain label counts as.
    standardize : bool, default=True
        Whether to give features zero mean and unit variance first.
    tol : float, default=1e-8
        The largest gradient of the mean loss at which to stop (logistic).
    max_iter : int, default=100
        The most Newton steps for a label (logistic).
    hidden : tuple of int, default=(256,)
        Widths of the hidden layers (mlp).
    dropout : float, default=0.0
        Share of hidden units silenced at each step (mlp).
    learning_rate, weight_decay : float, default=1e-3 and 1e-2
        Of AdamW (mlp).
    epochs, batch_size : int, default=200 and 256
        The most passes, and rows of one step (mlp).
    validation : float, default=0.1
        Share of groups held out to stop early; 0 trains all epochs (mlp).
    patience : int, default=15
        Epochs without a better held-out loss before stopping (mlp).
    seed : int, default=0
        Same seed, same network (mlp).
    progress : bool, optional
        Show a bar; by default in notebooks and terminals.

    Attributes
    ----------
    labels_ : tuple of str
        Names of the labels, in the order of the columns.
    classes_ : ndarray of shape (2,), or list of them
        Absent and present; a list for several labels.
    n_features_in_ : int
        Features of a row.
    recipe_hash_ : str or None
        Fingerprint of the model that made the features.
    calibration_ : ndarray of shape (labels, 2) or None
        Platt's slope and offset, after :meth:`calibrate`.
    thresholds_ : dict of str to float
        Probability at which a label is called present, after
        :meth:`thresholds`; one half before.
    history_ : list of dict
        Losses by epoch (mlp).

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> Probe().fit(X, [0, 0, 1, 1]).predict(X)
    array([0, 0, 1, 1])
    """

    def __init__(
        self,
        model: Any = None,
        *,
        kind: Literal["logistic", "mlp"] = "logistic",
        C: float = 1.0,
        class_weight: Literal["balanced"] | None = None,
        policy: Policy = "ignore",
        standardize: bool = True,
        tol: float = 1e-8,
        max_iter: int = 100,
        hidden: tuple[int, ...] = (256,),
        dropout: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 200,
        batch_size: int = 256,
        validation: float = 0.1,
        patience: int = 15,
        seed: int = 0,
        progress: bool | None = None,
    ) -> None:
        self.model = model
        self.kind = kind
        self.C = C
        self.class_weight = class_weight
        self.policy = policy
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.hidden = hidden
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation = validation
        self.patience = patience
        self.seed = seed
        self.progress = progress

    def _repr_html_(self) -> str:
        import html

        state = "not fitted"
        if self.__sklearn_is_fitted__():
            state = f"{self.n_features_in_} features, labels: {', '.join(self.labels_)}"
        return f"<p><b>{html.escape(repr(self))}</b><br>{html.escape(state)}</p>"

    # Fitting.

    def fit(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> "Probe":
        """Fit to features and labels; forgets any earlier fit.

        Parameters
        ----------
        X : array-like of shape (n, d), Embeddings, or what ``model.encode`` takes
            Finite features; several vectors of one film are averaged.
        y : array-like of shape (n,) or (n, labels), DataFrame, Table or dict
            Labels 0, 1, -1 (uncertain) or NaN (unknown); columns and keys
            become ``labels_``. One label may be any two classes, NaN or None where
            it is unknown. A Dataset as `X` brings its labels and patients along.
        groups : array-like of shape (n,), optional
            The patient of each row; none is split when stopping early.

        Returns
        -------
        Probe
            The estimator itself.

        Raises
        ------
        ShapeError
            If X or y has a wrong shape.
        InvalidValueError
            If a feature is not finite, a label has a single class, or a
            parameter has no meaning.
        """
        self._check_params()
        y, groups = own_truth(X, y, groups)
        made = made_by(self.model, X)
        features = self._features(X)
        labels, names, classes = read_labels(y)
        core, history = self._fit(features, labels, names, groups)
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        self.core_ = core
        self.history_ = history
        self.labels_ = names
        self.flat_ = classes is not None
        self.classes_ = (
            classes if classes is not None else [np.array([0, 1]) for _ in names]
        )
        self.n_features_in_ = features.shape[1]
        self.recipe_hash_ = made
        self.calibration_ = None
        self.thresholds_ = dict.fromkeys(names, 0.5)
        return self

    def _check_params(self) -> None:
        if self.kind not in ("logistic", "mlp"):
            raise InvalidValueError(
                f"kind: got {self.kind!r}, expected 'logistic' or 'mlp'"
            )
        if self.class_weight not in (None, "balanced"):
            raise InvalidValueError(
                f"class_weight: got {self.class_weight!r}, expected None or 'balanced'"
            )

    def _fit(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.float64],
        names: tuple[str, ...],
        groups: ArrayLike | None,
    ) -> tuple[_core.FittedProbe, list[dict[str, Any]]]:
        history: list[dict[str, Any]] = []
        shared: dict[str, Any] = {
            "policy": self.policy,
            "balanced": self.class_weight == "balanced",
            "standardise": bool(self.standardize),
        }
        logistic = self.kind == "logistic"
        unit = "label" if logistic else "epoch"
        with Bar(
            "probe", show=self.progress, unit=unit, on_event=history.append
        ) as bar:
            if logistic:
                core, unfinished = _core.FittedProbe.fit_logistic(
                    features,
                    labels,
                    list(names),
                    c=float(self.C),
                    tolerance=float(self.tol),
                    max_steps=int(self.max_iter),
                    watch=bar,
                    **shared,
                )
                if unfinished:
                    which = ", ".join(names[i] for i in unfinished)
                    warnings.warn(
                        f"the fit of {which} did not converge in {self.max_iter} "
                        "steps; raise max_iter, or lower C",
                        UserWarning,
                        stacklevel=3,
                    )
            else:
                core = _core.FittedProbe.fit_network(
                    features,
                    labels,
                    list(names),
                    codes(groups, len(features)),
                    hidden=[int(width) for width in self.hidden],
                    dropout=float(self.dropout),
                    learning_rate=float(self.learning_rate),
                    weight_decay=float(self.weight_decay),
                    epochs=int(self.epochs),
                    batch_size=int(self.batch_size),
                    validation=float(self.validation),
                    patience=int(self.patience),
                    seed=int(self.seed),
                    watch=bar,
                    **shared,
                )
        return core, history

    # Keeping.

    def save(self, path: PathLike) -> None:
        """Write a folder of a card (JSON) and weights (safetensors), atomically.

        The model itself is not saved, only its fingerprint.
        """
        fitted = self._fitted()
        params = {k: v for k, v in self.get_params().items() if k != "model"}
        details = {
            "params": params,
            "labels": list(fitted.labels_),
            "classes": np.asarray(fitted.classes_).tolist() if fitted.flat_ else None,
            "calibration": None
            if fitted.calibration_ is None
            else fitted.calibration_.tolist(),
            "thresholds": fitted.thresholds_,
            "recipe_hash": fitted.recipe_hash_,
            "history": fitted.history_,
        }
        fitted.core_.save(path, json.dumps(details, indent=1))

    @classmethod
    def load(cls, path: PathLike, model: Any = None) -> "Probe":
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path : path-like
            The folder.
        model : object, optional
            The model that made the features.

        Raises
        ------
        MissingFileError, FormatError
            If the folder holds no probe, or a damaged one.
        InvalidValueError
            If `model` is not the one of the fit.
        """
        core, text = _core.FittedProbe.load(path)
        card = json.loads(text)["details"]
        params = card["params"]
        params["hidden"] = tuple(params["hidden"])
        probe = cls(model, **params)
        probe.core_ = core
        probe.labels_ = tuple(card["labels"])
        probe.flat_ = card["classes"] is not None
        probe.classes_ = (
            np.array(card["classes"])
            if probe.flat_
            else [np.array([0, 1]) for _ in probe.labels_]
        )
        probe.n_features_in_ = core.features
        probe.recipe_hash_ = card["recipe_hash"]
        calibration = card["calibration"]
        probe.calibration_ = None if calibration is None else np.array(calibration)
        probe.thresholds_ = card["thresholds"]
        probe.history_ = card["history"]
        check_fingerprint(fingerprint(model), probe.recipe_hash_, "the probe")
        return probe
