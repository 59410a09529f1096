"""Named combinations of data, network and localizer: a row of a published table is a recipe.

>>> recipe = get_recipe("faces300w-sampling_argmax")
>>> recipe.model.backbone, recipe.data.input, recipe.optimization.epochs
('hrnet_w18', 256, 150)
"""

from __future__ import annotations

from heatpoint._checks import did_you_mean
from heatpoint.recipes import (
    clouds,
    coco,
    faces,
    faces300w,
    human36m,
    lspet,
    mpii,
    mtfl,
    oct,
    synthetic,
    synthetic_bodies,
)
from heatpoint.recipes.config import DataConfig, ModelConfig, OptimizationConfig, Recipe, differences

__all__ = ["RECIPES", "DataConfig", "ModelConfig", "OptimizationConfig", "Recipe", "differences", "get_recipe"]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *clouds.recipes(),
        *coco.recipes(),
        *faces.recipes(),
        *faces300w.recipes(),
        *human36m.recipes(),
        *lspet.recipes(),
        *mpii.recipes(),
        *mtfl.recipes(),
        *oct.recipes(),
        *synthetic.recipes(),
        *synthetic_bodies.recipes(),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: If there is none; it names the nearest ones.

    >>> get_recipe("synthetic-soft_argmax").data.dataset
    'synthetic_faces'
    """
    if name not in RECIPES:
        remedies = filter(None, [did_you_mean(name, RECIPES), "`heatpoint recipes` lists them all."])
        raise ValueError(f"get_recipe: unknown recipe {name!r}. {' '.join(remedies)}")
    return RECIPES[name]
