"""MATLAB files of versions 5 and 7.3: the same values out of both, and one clear error for all that is broken."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from heatpoint.datasets._mat import mat_cells, read_mat

NUMBERS = np.arange(6, dtype=np.float64).reshape(2, 3)
IMAGE = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)


def dataset(group: Any, name: str, value: np.ndarray, kind: str) -> Any:
    item = group.create_dataset(name, data=value)
    item.attrs["MATLAB_class"] = np.bytes_(kind)
    return item


def references(file: Any, name: str, values: list[tuple[np.ndarray, str]], shape: tuple[int, int], kind: str) -> Any:
    """Stores values in #refs# and references to them, given in MATLAB's column order, under `name`."""
    store = file.require_group("#refs#")
    cells = [dataset(store, f"{name.replace('/', '_')}{i}", *value).ref for i, value in enumerate(values)]
    item = file.create_dataset(name, data=np.array(cells, dtype=h5py.ref_dtype).reshape(shape[::-1]))
    if kind:
        item.attrs["MATLAB_class"] = np.bytes_(kind)
    return item


def text(words: str) -> tuple[np.ndarray, str]:
    return np.array([[ord(letter)] for letter in words], dtype=np.uint16), "char"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.mat"
    cells = np.empty((2, 1), dtype=object)
    cells[:, 0] = ["one", IMAGE]
    people = np.empty((1, 2), dtype=[("name", object), ("height", object)])
    people[0, 0], people[0, 1] = ("Ada", 1.5), ("Bob", np.zeros((0, 0)))
    savemat(
        path,
        {
            "numbers": NUMBERS,
            "flags": np.array([[True, False]]),
            "word": "left eye",
            "words": np.array(["ab", "cd"]),
            "nothing": "",
            "cells": cells,
            "one": {"x": 2.0, "inner": {"y": "z"}},
            "people": people,
        },
    )
    return path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new.mat"
    # MATLAB writes a header of its own before HDF5's.
    with h5py.File(path, "w", userblock_size=512) as file:
        dataset(file, "numbers", NUMBERS.T, "double")
        dataset(file, "flags", np.array([[1], [0]], dtype=np.uint8), "logical")
        dataset(file, "word", *text("left eye"))
        dataset(file, "words", np.array([[97, 99], [98, 100]], dtype=np.uint16), "char")
        dataset(file, "nothing", np.zeros(2, dtype=np.uint64), "char").attrs["MATLAB_empty"] = 1
        references(file, "cells", [text("one"), (IMAGE.transpose(2, 1, 0), "uint8")], (2, 1), "cell")
        one = file.create_group("one")
        one.attrs["MATLAB_class"] = np.bytes_("struct")
        dataset(one, "x", np.array([[2.0]]), "double")
        dataset(one.create_group("inner"), "y", *text("z"))
        file.create_group("people").attrs["MATLAB_class"] = np.bytes_("struct")
        references(file, "people/name", [text("Ada"), text("Bob")], (1, 2), "")
        references(
            file, "people/height", [(np.array([[1.5]]), "double"), (np.zeros(2, np.uint64), "double")], (1, 2), ""
        )
        file["#refs#/people_height1"].attrs["MATLAB_empty"] = 1
    return path


@pytest.mark.parametrize("version", ["old", "new"])
def test_both_versions_give_the_same_values(version: str, request: pytest.FixtureRequest) -> None:
    values = read_mat(request.getfixturevalue(version))
    assert sorted(values) == ["cells", "flags", "nothing", "numbers", "one", "people", "word", "words"]
    assert values["numbers"].tolist() == NUMBERS.tolist()
    assert values["flags"].tolist() == [[True, False]]
    assert (values["word"], values["nothing"], values["words"].tolist()) == ("left eye", "", ["ab", "cd"])
    assert values["cells"].shape == (2, 1)
    assert values["cells"][0, 0] == "one"
    assert values["cells"][1, 0].dtype == np.uint8
    assert np.array_equal(values["cells"][1, 0], IMAGE)
    assert values["one"]["x"].tolist() == [[2.0]]
    assert values["one"]["inner"] == {"y": "z"}
    assert values["people"].shape == (1, 2)
    assert [person["name"] for person in values["people"][0]] == ["Ada", "Bob"]
    assert values["people"][0, 0]["height"].tolist() == [[1.5]]
    assert values["people"][0, 1]["height"].shape == (0, 0)


def test_logical_values_of_the_new_version_and_complex_ones(tmp_path: Path, new: Path) -> None:
    assert read_mat(new, names=["flags"])["flags"].dtype == np.bool_
    with h5py.File(tmp_path / "complex.mat", "w") as file:
        pairs = np.array([[(1.0, 2.0)], [(3.0, -1.0)]], dtype=[("real", "f8"), ("imag", "f8")])
        dataset(file, "z", pairs, "double")
    assert read_mat(tmp_path / "complex.mat")["z"].tolist() == [[1 + 2j, 3 - 1j]]


@pytest.mark.parametrize("version", ["old", "new"])
def test_chosen_variables_only(version: str, request: pytest.FixtureRequest) -> None:
    assert list(read_mat(request.getfixturevalue(version), names=["numbers"])) == ["numbers"]


@pytest.mark.parametrize("version", ["old", "new"])
def test_cells_one_by_one_in_column_order(version: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(version)
    cells = list(mat_cells(path, "cells"))
    assert cells[0] == "one"
    assert np.array_equal(cells[1], IMAGE)
    with pytest.raises(ValueError, match=r"read_mat: numbers of .*\.mat must be a cell array, got something else"):
        list(mat_cells(path, "numbers"))


def test_cells_of_two_columns(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "grid.mat", "w") as file:
        references(file, "grid", [text(word) for word in ("a1", "a2", "b1", "b2", "c1", "c2")], (2, 3), "cell")
    assert read_mat(tmp_path / "grid.mat")["grid"].tolist() == [["a1", "b1", "c1"], ["a2", "b2", "c2"]]
    assert list(mat_cells(tmp_path / "grid.mat", "grid")) == ["a1", "a2", "b1", "b2", "c1", "c2"]


@pytest.mark.parametrize("version", ["old", "new"])
def test_missing_variables_are_named_with_those_that_are_there(version: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(version)
    with pytest.raises(ValueError) as caught:
        read_mat(path, names=["numbrs", "word", "IsTr"])
    there = "cells, flags, nothing, numbers, one, people, word, words"
    expected = f"read_mat: {path} must hold the variables numbrs, IsTr, got {there}. Did you mean numbers?"
    assert str(caught.value) == expected


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"read_mat: path must be an existing file, got .*none\.mat"):
        read_mat(tmp_path / "none.mat")
    with pytest.raises(FileNotFoundError, match="must be an existing file"):
        list(mat_cells(tmp_path / "none.mat", "cells"))


@pytest.mark.parametrize("version", ["old", "new"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_file_that_is_cut_short(version: str, share: float, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(version)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="must be a complete MATLAB file of numbers, characters, cells and structs"):
        read_mat(path)


def test_cells_that_refer_to_nothing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "grid.mat", "w") as file:
        file.create_dataset("grid", (1, 2), dtype=h5py.ref_dtype).attrs["MATLAB_class"] = np.bytes_(b"cell")
    for read in (lambda: list(mat_cells(tmp_path / "grid.mat", "grid")), lambda: read_mat(tmp_path / "grid.mat")):
        with pytest.raises(ValueError, match=r"read_mat: .*grid\.mat must be a complete MATLAB file"):
            read()


def test_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "page.mat"
    path.write_text("<html>You have reached the download limit of this page, please come back later.</html>" * 4)
    with pytest.raises(ValueError) as caught:
        read_mat(path, names=["phisT"])
    assert str(caught.value).startswith(f"read_mat: {path} must be a complete MATLAB file")
    assert str(caught.value).endswith("Download or copy the file again.")


def test_sparse_matrices_and_handles_are_refused(tmp_path: Path) -> None:
    from scipy.sparse import eye_array

    savemat(tmp_path / "old.mat", {"s": eye_array(3).tocsc()})
    with pytest.raises(ValueError, match="must hold numbers, characters, cells and structs only, got csc"):
        read_mat(tmp_path / "old.mat")
    with h5py.File(tmp_path / "new.mat", "w") as file:
        file.create_group("s").attrs["MATLAB_sparse"] = 3
    with pytest.raises(ValueError, match="cells and structs only, got a sparse matrix"):
        read_mat(tmp_path / "new.mat")
    with h5py.File(tmp_path / "handle.mat", "w") as file:
        dataset(file, "f", np.zeros((1, 1)), "function_handle")
    with pytest.raises(ValueError, match="cells and structs only, got a function handle"):
        read_mat(tmp_path / "handle.mat")


@pytest.mark.parametrize(("version", "package"), [("old", "scipy.io"), ("new", "h5py")])
def test_package_that_is_not_installed(
    version: str, package: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = request.getfixturevalue(version)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"heatpoint.datasets needs the package '{package}'"):
        read_mat(path)


def test_real_file_keeps_its_shape(data_root: Path) -> None:
    joints = read_mat(data_root / "pose_lspet/joints.mat", names=["joints"])["joints"]
    assert joints.shape == (14, 3, 10000)
