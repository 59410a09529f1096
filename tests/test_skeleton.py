"""Skeletons: their files, swap tables, normalisers, and one report of everything that is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatpoint.skeleton import Skeleton, load_skeleton, skeleton_names

COUNTS = {"mirror_mouse": 17, "openfield_mouse": 4, "synthetic_face": 18}


@pytest.mark.parametrize("name", skeleton_names())
def test_packaged_skeleton_is_complete_and_its_swap_undoes_itself(name: str) -> None:
    skeleton = load_skeleton(name)
    named = re.search(r"\d+$", name)
    assert skeleton.num_points == (int(named[0]) if named else COUNTS.get(name, skeleton.num_points))
    order = np.array(skeleton.swap)
    assert sorted(order) == list(range(skeleton.num_points))
    assert (order[order] == np.arange(skeleton.num_points)).all()
    assert skeleton.default_normalizer in skeleton.normalizers
    assert skeleton.normalizers["box"] == "box"
    assert skeleton.edges


@pytest.mark.parametrize("name", skeleton_names())
def test_named_sides_are_exchanged_by_the_swap(name: str) -> None:
    skeleton = load_skeleton(name)
    for a, b in enumerate(skeleton.swap):
        assert ("left" in skeleton.names[a]) == ("right" in skeleton.names[b])


@pytest.mark.parametrize("name", skeleton_names())
def test_dictionary_form_gives_the_same_skeleton(name: str) -> None:
    skeleton = load_skeleton(name)
    values = json.loads(json.dumps(skeleton.to_dict()))
    assert Skeleton.from_dict(values) == skeleton


def test_swap_of_68_points_is_that_of_the_published_code(goldens: Any) -> None:
    assert list(load_skeleton("face68").swap) == goldens("03_h3r_geometry")["flip_order_300w"].tolist()


def test_normalizers_of_68_points_are_the_published_ones(goldens: Any) -> None:
    arrays = goldens("06_nme_faces")
    normalizers = load_skeleton("face68").normalizers
    outer = arrays["f300w_outer_eye_corner_idx"].tolist()
    assert normalizers["inter_ocular"] == ((outer[0],), (outer[1],))
    pupils = tuple(tuple(arrays[f"f300w_pupil_idx_{side}"].tolist()) for side in ("left", "right"))
    assert normalizers["inter_pupil"] == pupils


@pytest.mark.parametrize("name", ["coco17", "mpii16", "lsp14"])
def test_halves_of_bodies(name: str) -> None:
    skeleton = load_skeleton(name)
    lower = [point for index, point in enumerate(skeleton.names) if index not in skeleton.upper_body]
    # The pelvis is of the lower half in HRNet's MPII, where it stands.
    assert all(any(part in point for part in ("hip", "knee", "ankle", "pelvis")) for point in lower)
    assert len(lower) == {"coco17": 6, "mpii16": 7, "lsp14": 6}[name]


def test_only_a_skeleton_with_halves_tells_of_them() -> None:
    assert "upper_body" not in load_skeleton("face5").to_dict()
    skeleton = Skeleton.from_dict({"points": ["a", "b"], "upper_body": ["b"]})
    assert skeleton.upper_body == (1,)
    assert skeleton.to_dict()["upper_body"] == [1]
    assert Skeleton.from_dict({"points": ["a", "b"]}).upper_body == ()


def test_sigmas_of_sets_that_publish_none_are_those_of_the_same_joints() -> None:
    coco = dict(zip(load_skeleton("coco17").names, load_skeleton("coco17").sigmas or (), strict=True))
    for name in ("lsp14", "mpii16"):
        skeleton = load_skeleton(name)
        shared = {n: s for n, s in zip(skeleton.names, skeleton.sigmas or (), strict=True) if n in coco}
        assert len(shared) == 12
        assert shared == {n: coco[n] for n in shared}
        others = {
            s for n, s in zip(skeleton.names, skeleton.sigmas or (), strict=True) if n not in coco and n != "pelvis"
        }
        assert others == {0.079}


def test_coco_sigmas() -> None:
    sigmas = load_skeleton("coco17").sigmas
    assert sigmas is not None
    assert sigmas[0] == 0.026
    assert sigmas[11] == 0.107


def test_points_may_be_given_by_name_or_index(tmp_path: Path) -> None:
    path = tmp_path / "three.json"
    values = {
        "points": ["a", "b", "c"],
        "edges": [["a", 1]],
        "swap_pairs": [[0, "c"]],
        "sigmas": [1, 0.5, 2],
        "normalizers": {"span": [["a", "b"], [2]], "box": "box"},
        "about": "for a test",
    }
    path.write_text(json.dumps(values))
    skeleton = load_skeleton(path)
    assert skeleton.edges == ((0, 1),)
    assert skeleton.swap == (2, 1, 0)
    assert skeleton.sigmas == (1.0, 0.5, 2.0)
    assert skeleton.normalizers["span"] == ((0, 1), (2,))
    assert skeleton.default_normalizer == "span"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"points": []}, "there must be at least one point"),
        ({"points": ["a", "b", "a"]}, "point names must differ, 'a' repeat"),
        ({"points": ["a", "b"], "edges": [[0, 2]]}, "edge (0, 2) must hold indices from 0 to 1"),
        ({"points": ["a", "b"], "edges": [[1, 1]]}, "edge (1, 1) must join two different points"),
        ({"points": ["a", "b"], "swap_pairs": [["a"]]}, "swap pair (0,) must hold two points"),
        (
            {"points": ["a", "b", "c"], "swap_pairs": [[0, 1], [1, 2]]},
            "swap pairs (0, 1) and (1, 2) share 'b', but a point has one mirror partner",
        ),
        ({"points": ["a", "b"], "swap_pairs": [["a", "z"]]}, "swap_pairs names the unknown point 'z'"),
        ({"points": ["a", "b"], "sigmas": [1.0]}, "there must be one sigma per point (2), got 1"),
        ({"points": ["a"], "sigmas": [0.0]}, "sigmas must be finite and greater than 0"),
        *(({"points": ["a"], "sigmas": [s]}, "sigmas must be finite and greater than 0") for s in (np.inf, np.nan)),
        *(
            (
                {"points": ["a", "b"], "normalizers": {"n": [["a", 1], second]}},
                "normalizer n must be two different groups: from one to itself the distance is 0",
            )
            for second in (["a", "b"], ["b", "a"])
        ),
        ({"points": ["a"], "sigmas": "x"}, "'sigmas' must be a list of numbers"),
        ({"points": "ab"}, "'points' must be a list of names"),
        ({"points": ["a"], "edges": 3}, "'edges' must be a list of pairs of points"),
        ({"points": ["a"], "normalizers": 3}, "'normalizers' must be an object"),
        (
            {"points": ["a"], "normalizers": {"n": "span"}},
            'normalizer n must be "box", "box_max", "box_diagonal", "given" or two lists of points',
        ),
        ({"points": ["a"], "normalizers": {"n": [[0]]}}, "normalizer n must be two groups of points, none empty"),
        ({"points": ["a"], "normalizers": {"n": [[0], [1]]}}, "normalizer n must hold indices from 0 to 0"),
        (
            {"points": ["a"], "normalizers": {"box": "box"}, "default_normalizer": "inter"},
            "default_normalizer 'inter' must be one of the normalizers (box)",
        ),
        ({"points": ["a", "b"], "upper_body": "a"}, "'upper_body' must be a list of points"),
        ({"points": ["a", "b"], "upper_body": ["z"]}, "upper_body names the unknown point 'z'"),
        ({"points": ["a", "b"], "upper_body": [2]}, "upper_body must hold indices from 0 to 1, each once"),
        ({"points": ["a", "b"], "upper_body": [0, "a"]}, "upper_body must hold indices from 0 to 1, each once"),
        ({"points": ["a", "b"], "upper_body": [0, 1]}, "upper_body must leave points to the lower half"),
        (
            {"points": ["a", "b", "c"], "swap_pairs": [[0, 1]], "upper_body": [1]},
            "upper_body must hold both or none of swap pair (0, 1)",
        ),
        ({"points": ["a"], "colour": 1}, "unknown keys 'colour' (known: points, edges"),
        ([], "it must be a JSON object, got list"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_file(values: Any, text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError) as caught:
        load_skeleton(path)
    found = str(caught.value)
    assert text in found
    assert found.startswith(f"{path}: ")
    assert found.endswith("Correct the skeleton and load it again.")
    assert "\n" not in found


def test_all_problems_come_together() -> None:
    with pytest.raises(ValueError, match="sigma per point") as caught:
        Skeleton(("a", "a"), edges=((0, 5),), swap_pairs=((0, 0),), sigmas=(1.0,), default_normalizer="x")
    for text in ("'a' repeat", "edge (0, 5)", "swap pair (0, 0)", "default_normalizer 'x'"):
        assert text in str(caught.value)


def test_file_that_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json: it is not JSON"):
        load_skeleton(path)


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match="got 'face_68'. Did you mean face68"):
        load_skeleton("face_68")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="load_skeleton: path must be an existing skeleton file"):
        load_skeleton(tmp_path / "none.json")
