"""The cases of a report are the best, the worst and the nearest to the threshold, and categories take turns."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from iadgpt_jax.evaluate.cases import SHOWN, best_threshold, cases_of, choose


def category(seed=0, n=60, digits=None, apart=1.5):
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    scores = (rng.normal(size=n) + apart * labels).astype(np.float32)
    return (scores if digits is None else scores.round(digits)), labels


def of_kind(cases, kind):
    return [case for case in cases if case.kind == kind]


@pytest.mark.parametrize("digits", [None, 0])
def test_the_threshold_has_the_largest_f1(digits):
    for seed in range(3):
        scores, labels = category(seed, n=24, digits=digits)
        best = max(f1_score(labels, scores >= at) for at in scores)
        assert f1_score(labels, scores > best_threshold(scores.astype(np.float64), labels)) == pytest.approx(best)


def test_best_are_right_worst_are_wrong_and_borderline_is_nearest():
    scores, labels = category()
    cases = cases_of("nut", scores, labels)
    threshold = cases[0].threshold
    best, worst, near = (of_kind(cases, kind) for kind in ("best", "worst", "borderline"))
    assert all((scores[case.index] > threshold) == labels[case.index] for case in best)
    assert all((scores[case.index] > threshold) != labels[case.index] for case in worst) and worst
    away = np.abs(scores - threshold)
    wrong = (scores > threshold) != labels
    assert {case.index for case in worst} == set(np.flatnonzero(wrong)[np.argsort(-away[wrong])][:SHOWN].tolist())
    left = [i for i in np.argsort(away) if i not in {case.index for case in worst}]
    assert [case.index for case in near] == left[: len(near)]
    assert {case.label for case in best} == {True, False}
    assert not {case.index for case in best} & {case.index for case in worst + near}


def test_categories_take_turns_and_no_gallery_exceeds_its_size():
    categories = [cases_of(f"c{number}", *category(number)) for number in range(3)]
    chosen = choose(categories)
    for kind in ("best", "worst", "borderline"):
        names = [case.category for case in chosen[kind]]
        assert len(names) <= SHOWN and set(names[:3]) == {"c0", "c1", "c2"}
    assert {case.label for case in chosen["best"][:3]} == {True, False}
    many = choose([cases_of(f"c{number}", *category(number)) for number in range(30)])
    assert len({case.category for case in many["worst"]}) == SHOWN
    sides = [case.side for case in many["worst"]]
    assert sides == sorted(sides) and len(sides) == SHOWN


def test_degenerate_categories():
    labels = np.array([True, False])
    assert cases_of("empty", np.zeros(0), np.zeros(0, bool)) == []
    assert cases_of("unscored", np.full(2, np.nan), labels) == []
    one = cases_of("all good", np.array([-1.0, 2.0]), np.zeros(2, bool))
    assert one[0].threshold == 0 and [case.index for case in of_kind(one, "worst")] == [1]
    same = cases_of("all the same", np.ones(4), np.array([True, True, False, False]))
    assert len(same) == 4 and {case.index for case in of_kind(same, "worst")} == {2, 3}  # all are called defective
    assert [case.index for case in cases_of("one nan", np.array([np.nan, 1.0]), labels)] == [1]
    assert choose([]) == {"best": [], "worst": [], "borderline": []}
