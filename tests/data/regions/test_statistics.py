"""Statistics of features, by which those of another detector are told from published ones."""

import numpy as np
import pytest

from vlp_jax.data.regions.regions import Regions
from vlp_jax.data.regions.statistics import (
    PUBLISHED,
    FeatureSurvey,
    Statistics,
    measured,
    unlike,
)

PUBLISHED_MEANS = Statistics(0.34, 0.0, 0.61, 71.7, 0.0)


def regions(features, confidence=None):
    features = np.float32(features)
    boxes = np.tile(np.float32([0, 0, 5, 5]), (len(features), 1))
    return Regions(features, boxes, 10, 10, confidence=confidence)


def test_statistics_by_hand():
    found = measured(regions([[3, 4, 0, 0], [0, -1, 0, 0]], np.float32([0.9, 0.4])))
    assert found == Statistics(5 / 8, 1 / 8, 6 / 8, 3.0, 1.0)
    assert measured(regions([[1], [1]], np.float32([0.4, 0.9]))).ordered == 0.0
    assert np.isnan(measured(regions([[1]])).ordered)


def test_a_survey_has_the_means_of_pictures():
    survey = FeatureSurvey()
    survey.add("a", regions([[1.0, 0.0]], np.float32([1])))
    survey.add("b", regions([[3.0, 0.0], [0.0, 0.0]], np.float32([0.1, 0.2])))
    assert survey.statistics() == Statistics(0.625, 0.0, 0.625, 1.25, 0.5)
    assert np.isnan(FeatureSurvey().statistics()).all()


def test_a_file_like_the_published_one_has_no_differences():
    assert not [*unlike(PUBLISHED_MEANS, (36, 36.0, 36), PUBLISHED["bottom_up_36"])]


@pytest.mark.parametrize(
    "changed, counts, name, said",
    [
        ({}, (36, 40.0, 50), "bottom_up_36", "36 to 50 regions, published ones 36 to 36"),
        ({"negative": 0.25}, (36, 36.0, 36), "bottom_up_36", "25.0% of the numbers are below 0"),
        ({"zeros": 0.05}, (36, 36.0, 36), "bottom_up_36", "share of zeros is 0.05"),
        ({"mean": 1.2}, (36, 36.0, 36), "bottom_up_36", "mean of the numbers is 1.2"),
        ({"length": 1.0}, (36, 36.0, 36), "bottom_up_36", "length of a row is 1 on average"),
        ({"ordered": 0.75}, (10, 20.0, 100), "vinvl", "25.0% of the pictures are not in desc"),
    ],
)
def test_differences_are_named(changed, counts, name, said):
    (difference,) = unlike(PUBLISHED_MEANS._replace(**changed), counts, PUBLISHED[name])
    assert said in difference
