"""Metrics against scikit-learn, against themselves, and against bad input."""

import time
import warnings

import numpy as np
import pytest
import sklearn.metrics as reference
from carina import metrics
from carina.errors import InvalidValueError, ShapeError
from carina.metrics import UndefinedMetricWarning
from hypothesis import given, settings
from hypothesis import strategies as st

rows = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=80)


def arrays(pairs):
    y = np.array([p[0] for p in pairs], dtype=float)
    return y, np.array([p[1] for p in pairs], dtype=float) / 8


def both_classes(pairs):
    return 0 < sum(p[0] for p in pairs) < len(pairs)


@given(rows.filter(both_classes))
def test_ranking_metrics_agree_with_sklearn_with_ties(pairs):
    y, s = arrays(pairs)
    assert metrics.auroc(y, s) == pytest.approx(reference.roc_auc_score(y, s))
    expected = reference.average_precision_score(y, s)
    assert metrics.auprc(y, s) == pytest.approx(expected)
    assert metrics.brier(y, s) == pytest.approx(reference.brier_score_loss(y, s))


@given(rows.filter(both_classes))
def test_threshold_metrics_agree_with_sklearn(pairs):
    y, s = arrays(pairs)
    called = s >= 0.5
    assert metrics.accuracy(y, s) == pytest.approx(reference.accuracy_score(y, called))
    assert metrics.sensitivity(y, s) == pytest.approx(reference.recall_score(y, called))
    expected = reference.recall_score(1 - y, ~called)
    assert metrics.specificity(y, s) == pytest.approx(expected)
    if called.any():
        expected = reference.precision_score(y, called)
        assert metrics.ppv(y, s) == pytest.approx(expected)
    assert metrics.f1(y, s) == pytest.approx(reference.f1_score(y, called))


@given(rows.filter(both_classes), st.randoms())
def test_metrics_are_bounded_and_blind_to_order(pairs, random):
    y, s = arrays(pairs)
    random.shuffle(pairs)
    shuffled = arrays(pairs)
    for metric in (metrics.auroc, metrics.auprc, metrics.brier, metrics.ece):
        value = metric(y, s)
        assert 0 <= value <= 1
        assert metric(*shuffled) == pytest.approx(value)
    assert metrics.auroc(y, y) == metrics.auprc(y, y) == 1
    assert metrics.auroc(1 - y, s) == pytest.approx(1 - metrics.auroc(y, s))


@given(rows.filter(both_classes))
def test_youden_is_the_best_of_the_roc_curve(pairs):
    y, s = arrays(pairs)
    false, true, _ = reference.roc_curve(y, s)
    cut = metrics.youden_threshold(y, s)
    found = metrics.sensitivity(y, s, threshold=cut)
    found += metrics.specificity(y, s, threshold=cut)
    # The curve's first point calls nothing positive, which no score can do.
    assert found - 1 == pytest.approx(max((true - false)[1:]))


@given(rows.filter(both_classes), st.floats(0.05, 1))
def test_thresholds_meet_their_wish(pairs, wish):
    y, s = arrays(pairs)
    cut = metrics.threshold_at_sensitivity(y, s, sensitivity=wish)
    assert metrics.sensitivity(y, s, threshold=cut) >= wish
    cut = metrics.threshold_at_specificity(y, s, specificity=wish)
    assert metrics.specificity(y, s, threshold=cut) >= wish


grades = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=2)


@given(grades.filter(lambda g: any(x[0] for x in g)), st.integers(1, 12))
def test_ndcg_agrees_with_sklearn_with_ties(pairs, k):
    y = np.array([[p[0] for p in pairs]], dtype=float)
    s = np.array([[p[1] for p in pairs]], dtype=float)
    expected = reference.ndcg_score(y, s, k=k)
    assert metrics.ndcg(y, s, k=k, gain="linear") == pytest.approx(expected)
    expected = reference.ndcg_score(2**y - 1, s, k=k)
    assert metrics.ndcg(y, s, k=k) == pytest.approx(expected)
    assert metrics.ndcg(y, y, k=k) == pytest.approx(1)


def test_ndcg_takes_its_ideal_from_the_graded_pool():
    found = metrics.ndcg([1, 0, 2], pool=[2, 2, 1, 0], k=3)
    ideal = 3 + 3 / np.log2(3) + 1 / 2
    assert found == pytest.approx((1 + 3 / 2) / ideal)


def test_ranked_lists_are_read_in_their_order():
    assert metrics.precision_at_k([1, 0, 1, 0], k=2) == 0.5
    assert metrics.recall_at_k([1, 0, 1, 0], k=1) == 0.5
    assert metrics.recall_at_k([[1, 0], [0, 0]], k=2, relevant=[4, 1]) == 0.125
    found = metrics.retrieval_average_precision([1, 0, 1, 0])
    assert found == pytest.approx((1 + 2 / 3) / 2)
    with pytest.warns(UndefinedMetricWarning, match="no relevant item"):
        assert np.isnan(metrics.ndcg([0, 0], k=1))


def test_unknown_labels_are_left_out_and_uncertain_ones_follow_the_policy():
    y, s = np.array([1, 0, -1, np.nan, 0]), np.array([0.9, 0.2, 0.1, 0.99, 0.4])
    assert metrics.auroc(y, s) == 1
    assert metrics.auroc(y, s, policy="zeros") == 1
    assert metrics.auroc(y, s, policy="ones") == 0.5
    with pytest.raises(InvalidValueError, match='policy: found "ones_", expected'):
        metrics.auroc(y, s, policy="ones_")


def test_findings_are_averaged_without_those_that_cannot_be_ranked():
    y = np.array([[1, 0, 1.0], [0, 0, np.nan], [1, 0, 0]])
    s = np.array([[0.9, 0.5, 0.2], [0.1, 0.4, np.nan], [0.8, 0.1, 0.3]])
    with pytest.warns(UndefinedMetricWarning, match="auroc of column 1.*no positive"):
        each = metrics.auroc(y, s, average=None)
    np.testing.assert_array_equal(each, [1, np.nan, 0])
    with pytest.warns(UndefinedMetricWarning):
        assert metrics.auroc(y, s) == 0.5


def test_a_single_class_is_nan_with_the_reason():
    with pytest.warns(UndefinedMetricWarning, match="no negative row"):
        assert np.isnan(metrics.auroc([1, 1], [0.2, 0.4]))
    with pytest.warns(UndefinedMetricWarning, match="no row has known truth"):
        assert np.isnan(metrics.auroc([], []))
    with pytest.warns(UndefinedMetricWarning, match="at or above the threshold"):
        assert np.isnan(metrics.ppv([1, 0], [0.2, 0.4]))


@pytest.mark.parametrize(
    ("y", "s", "error", "text"),
    [
        ([0, 1], [0.1], ShapeError, r"y_score: expected shape \(2,\)"),
        ([[[1]]], [[[1]]], ShapeError, "y_true: expected shape"),
        ([0, 2], [0.1, 0.2], InvalidValueError, "y_true: found 2, expected 0"),
        ([0, 1], [0.1, np.nan], InvalidValueError, "y_score: row 1 is NaN"),
        (["a", "b"], [0.1, 0.2], InvalidValueError, "y_true: not an array of numbers"),
    ],
)
def test_bad_input_is_named(y, s, error, text):
    with pytest.raises(error, match=text):
        metrics.auroc(y, s)


def test_probabilities_must_be_probabilities():
    with pytest.raises(InvalidValueError, match=r"found 1\.5, expected probabilities"):
        metrics.brier([0, 1], [0.5, 1.5])
    with pytest.raises(InvalidValueError, match="bins: got 0"):
        metrics.ece([0, 1], [0.5, 0.5], bins=0)
    with pytest.raises(InvalidValueError, match=r"sensitivity: got 1\.5"):
        metrics.threshold_at_sensitivity([0, 1], [0, 1], sensitivity=1.5)


def scores(n, seed=0, shift=1.0):
    random = np.random.default_rng(seed)
    y = (random.random(n) < 0.3).astype(float)
    return y, random.normal(size=n) + shift * y


def test_the_bootstrap_is_the_same_for_a_name_a_function_and_any_callable():
    y, s = scores(200)
    groups = np.arange(200) // 3
    options = {"groups": groups, "n": 100, "seed": 3}
    named = metrics.bootstrap("auroc", y, s, **options)
    assert metrics.bootstrap(metrics.auroc, y, s, **options) == named
    other = metrics.bootstrap(reference.roc_auc_score, y, s, **options)
    assert other.value == pytest.approx(named.value)
    assert other.low == pytest.approx(named.low)
    assert other.high == pytest.approx(named.high)
    assert named.low < named.value < named.high
    assert (named.n, named.clusters, named.resamples) == (200, 67, 100)
    assert metrics.bootstrap("auroc", y, s, **(options | {"seed": 4})) != named


def test_rows_of_one_patient_widen_the_interval():
    y, s = scores(150)
    y, s, groups = np.repeat(y, 8), np.repeat(s, 8), np.repeat(np.arange(150), 8)
    clustered = metrics.bootstrap("auroc", y, s, groups=groups)
    naive = metrics.bootstrap("auroc", y, s)
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    from math import erf

    truth = 0.5 * (1 + erf(0.5))  # of normals one standard deviation apart
    hits = 0
    for seed in range(200):
        found = metrics.bootstrap("auroc", *scores(150, seed), n=200)
        hits += found.low <= truth <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_skipped_resamples_are_counted_and_stratifying_avoids_them():
    y, s = np.array([1.0, *np.zeros(20)]), np.arange(21.0)
    found = metrics.bootstrap("auroc", y, s, n=300)
    assert 60 < found.skipped < 160
    assert metrics.bootstrap("auroc", y, s, n=300, stratify=True).skipped == 0
    with pytest.raises(InvalidValueError, match="stratify: needs a single finding"):
        metrics.bootstrap("auroc", np.c_[y, y], np.c_[s, s], stratify=True)


def test_findings_are_resampled_together():
    y, s = scores(300)
    both = np.c_[y, y], np.c_[s, s]
    each = metrics.bootstrap("auroc", *both, average=None, n=100)
    mean = metrics.bootstrap("auroc", *both, n=100)
    assert each[0] == each[1]
    assert mean.low == pytest.approx(each[0].low)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n": 0}, "n: got 0 resamples"),
        ({"level": 1.0}, "level: got 1"),
        ({"groups": [1, 2]}, r"groups: expected shape \(100,\)"),
        ({"groups": [None] * 100}, "groups: row 0 is missing"),
        ({"metric": "auc"}, 'metric: got "auc", expected one of auroc'),
    ],
)
def test_bad_bootstraps_are_named(options, text):
    y, s = scores(100)
    with pytest.raises((InvalidValueError, ShapeError), match=text):
        metrics.bootstrap(options.pop("metric", "auroc"), y, s, **options)


def test_a_thousand_resamples_of_five_thousand_rows_take_under_two_seconds():
    y, s = scores(5000)
    start = time.perf_counter()
    metrics.bootstrap("auroc", y, s, groups=np.arange(5000) // 2)
    assert time.perf_counter() - start < 2


def test_delong_agrees_with_the_bootstrap_on_independent_rows():
    y, s = scores(800)
    exact, drawn = metrics.delong(y, s), metrics.bootstrap("auroc", y, s, n=2000)
    assert exact.value == pytest.approx(metrics.auroc(y, s))
    assert exact.low == pytest.approx(drawn.low, abs=0.006)
    assert exact.high == pytest.approx(drawn.high, abs=0.006)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_the_paired_test_is_antisymmetric(seed):
    y, a = scores(60, seed)
    b = a + np.random.default_rng(seed + 1).normal(size=60)
    one, other = metrics.delong_test(y, a, b), metrics.delong_test(y, b, a)
    assert one.z == pytest.approx(-other.z)
    assert one.p == pytest.approx(other.p)
    assert 0 <= one.p <= 1
    assert metrics.delong_test(y, a, 3 * a + 1).p == 1


def test_p_is_uniform_when_there_is_no_difference():
    ps = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        y = (random.random(120) < 0.4).astype(float)
        shared = random.normal(size=120) + y
        a, b = (shared + random.normal(size=120) for _ in range(2))
        ps.append(metrics.delong_test(y, a, b).p)
    assert np.mean(np.array(ps) < 0.05) < 0.1
    assert 0.4 < np.mean(ps) < 0.6


def test_masks_and_boxes_overlap_as_defined():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert np.isnan(metrics.dice(a, b))
    assert metrics.iou(a, b, empty=1.0) == 1
    a[:2], b[1:3] = True, True
    assert metrics.dice(a, b) == 0.5
    assert metrics.iou(a, b) == pytest.approx(1 / 3)
    table = metrics.box_iou([[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]])
    np.testing.assert_allclose(table, [[1, 1 / 7, 0]])
    with pytest.raises(ShapeError, match=r"y_pred: expected shape \(4, 4\)"):
        metrics.dice(a, b[:2])
    with pytest.raises(InvalidValueError, match="box: got"):
        metrics.box_iou([[2, 0, 0, 2]], [[0, 0, 1, 1]])
    with pytest.raises(ShapeError, match=r"b: expected shape \(n, 4\)"):
        metrics.box_iou([[0, 0, 1, 1]], [[0, 0, 1]])


def test_no_metric_changes_its_input_or_warns_without_reason():
    y, s = scores(50)
    before = y.copy(), s.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.auroc(y, s)
        metrics.bootstrap("auprc", y, s, n=10)
    np.testing.assert_array_equal(y, before[0])
    np.testing.assert_array_equal(s, before[1])
