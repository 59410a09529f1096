"""Files that are there and whole, and what is said of those that are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.datasets.whole_files import existing_file, is_truncated, is_whole_picture, read_whole


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_pictures_must_have_their_end(ending: str, tmp_path: Path) -> None:
    data = cv2.imencode(ending, np.random.default_rng(0).integers(0, 255, (9, 14, 3), dtype=np.uint8))[1].tobytes()
    path = tmp_path / f"a{ending}"
    path.write_bytes(data)
    assert read_whole("read", "picture", str(path)) == data
    assert not is_truncated(data)
    assert is_whole_picture(path)
    path.write_bytes(data[:-20])
    assert not is_whole_picture(path)
    with pytest.raises(ValueError) as caught:
        read_whole("read", "picture", path)
    rule = f"picture must be a complete file, got {path}, which is truncated."
    assert str(caught.value) == f"read: {rule} Copy or download the file again."


def test_other_files_are_only_there_or_not(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_bytes(b"1 2")
    assert read_whole("read", "cloud", path) == b"1 2"
    assert not is_whole_picture(path)
    assert not is_whole_picture(tmp_path)
    assert existing_file("read", "cloud", str(path)) == path
    with pytest.raises(FileNotFoundError) as absent:
        read_whole("read", "cloud", tmp_path)
    assert str(absent.value) == f"read: cloud must be an existing file, got {tmp_path}. Check the data folder."
    with pytest.raises(TypeError) as wrong:
        read_whole("read", "cloud", [0.0])
    remedy = "Make numbers an array with numpy.asarray."
    assert str(wrong.value) == f"read: cloud must be a path, an array or a sample, got list. {remedy}"
