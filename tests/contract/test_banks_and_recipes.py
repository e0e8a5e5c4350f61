"""What every prompt bank and every recipe promises: found through the registries."""

import carina as ca
import numpy as np
import pytest

from .conftest import build


@pytest.mark.parametrize("name", ca.list_prompts())
def test_a_bank_has_both_sides_of_every_finding_and_scores_films(name, films):
    bank = ca.prompts(name)
    assert len(set(bank.findings)) == len(bank)
    for prompt in bank:
        sides = prompt.present + prompt.absent
        assert len(set(sides)) == len(sides), prompt.finding
        assert all(phrase == phrase.strip() != "" for phrase in sides)
    scores = build("elixr-tiny").zero_shot(films[:3], name, progress=False)
    assert list(scores.columns) == bank.findings
    assert np.isfinite(scores.to_numpy()).all()


@pytest.mark.parametrize("name", ca.Recipe.presets())
def test_a_recipe_is_json_with_a_stable_hash_and_a_map_back(name):
    recipe = ca.Recipe.preset(name)
    again = ca.Recipe.from_json(recipe.to_json())
    assert (again.hash, str(again)) == (recipe.hash, str(recipe))
    pixels, geometry = recipe.apply(np.random.default_rng(0).random((90, 70)))
    assert pixels.shape == recipe.output_shape
    inside = np.array([[35.0, 45.0], [30.5, 50.25]])
    back = geometry.to_original(geometry.to_model(inside))
    np.testing.assert_allclose(back, inside, atol=1e-6)
