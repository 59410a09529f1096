"""Scores of trained weights on a split, under every normaliser, together with the protocol that they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from heatpoint._checks import check_whole, message, one_of
from heatpoint.localizers import Localizer, make_localizer
from heatpoint.recipes.changes import changed
from heatpoint.recipes.options import parse_named
from heatpoint.training.sets import limited
from heatpoint.training.task import SampleSet
from heatpoint.training.tasks import check_set, task_of
from heatpoint.training.weights import Trained, load_weights

OWN = "recipe"  # Name of the recipe's own decoder among the scores.
SCORING = 2  # Grows whenever equal maps would be scored otherwise, so that kept scores are not taken for new ones.


def evaluate(
    model_path: str | Path,
    *,
    data_root: Path | None = None,
    split: str | None = None,
    readouts: Sequence[str] = (),
    flip_test: bool | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: str = "cpu",
    limit: int | None = None,
    point_set: SampleSet | None = None,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Scores a file of weights on a split of its recipe's data set.

    Args:
        model_path: A file that `fit` has written.
        data_root: Folder of the data sets; None takes HEATPOINT_DATA.
        split: Of the data set; None takes the recipe's test split, or "test" if it has none.
        readouts: More ways to read the same maps, such as "top_k:k=25": each is scored beside the recipe's own.
        flip_test: None takes the recipe's choice.
        batch_size: Samples at a time.
        workers: Processes that prepare samples.
        device: Where the network runs.
        limit: Only the first so many samples; None takes the recipe's.
        point_set: A set of one's own; None reads `split` of the recipe's data set.
        changes: What is to be different from training, such as {"data.box_policy": "P2"}; fields of the recipe's data.

    Returns:
        {"recipe", "protocol", "seed", "split", "num_images", "scores": {decoder: {...}}}; see `scores_of`. The recipe's own
        decoder is called "recipe". Errors are fractions of the normaliser. "samples" is the set's `fingerprint`.

    Raises:
        FileNotFoundError: If the weights or the data are missing.
        TypeError: If the set is of another kind of data than the weights.
        ValueError: If the weights, the split or a readout are not as they must be.
    """
    check_whole("evaluate", "--batch-size", batch_size, "be at least 1", least=1)
    check_whole("evaluate", "--workers", workers, "be at least 0", least=0)
    if limit is not None:
        check_whole("evaluate", "--limit", limit, "be at least 0", least=0)
    trained = _changed(load_weights(model_path, device=device), changes or {})
    task = task_of(trained.recipe)
    localizers = localizers_for(trained, readouts)
    data = trained.recipe.data if limit is None else replace(trained.recipe.data, limit=limit)
    if point_set is None:
        point_set = task.read_split(data, data_root, split or data.test_split or "test")
    else:
        check_set("evaluate", "point_set", point_set, trained.recipe)
        point_set = limited(point_set, data.limit)
    if point_set.skeleton.names != trained.skeleton.names:
        raise ValueError(message("evaluate", "point_set", "have the points the weights were trained on", point_set))
    recipe = replace(trained.recipe, data=data)
    scored = task.score(
        replace(trained, recipe=recipe),
        localizers,
        point_set,
        flip_test=flip_test,
        batch_size=batch_size,
        workers=workers,
        device=device,
    )
    return {
        "recipe": recipe.name,
        "task": recipe.task,
        "split": point_set.split,
        "num_images": len(point_set),
        "samples": task.fingerprint(point_set),
        "scoring": SCORING,
        "num_points": trained.skeleton.num_points,
        "seed": recipe.seed,
        "epoch": trained.header.get("scores", {}).get("epoch"),
        "decoders": {name: repr(localizer) for name, localizer in localizers.items()},
        "protocol": task.protocol(recipe, trained.skeleton, point_set, flip_test=flip_test),
        **scored,
    }


def _changed(trained: Trained, changes: Mapping[str, Any]) -> Trained:
    for path in changes:
        one_of("evaluate", "changes", path, [f"data.{name}" for name in task_of(trained.recipe).free])
    return replace(trained, recipe=changed(trained.recipe, changes))


def localizers_for(trained: Trained, readouts: Sequence[str]) -> dict[str, Localizer]:
    """The trained localizer, called "recipe", and its twin for each further readout.

    Raises:
        ValueError: If a readout or an option is unknown, or the localizer takes no readout.
    """
    own = trained.localizer
    found = {OWN: own}
    for text in readouts:
        readout = parse_named(text, function="evaluate", argument="--readout")
        options = {**trained.recipe.localizer_options, "readout": readout}
        found[text] = make_localizer(trained.recipe.localizer, own.grid, **options)
    return found
