"""`heatpoint check` and `heatpoint skeleton`: what a person types, sees, is told, and finds written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heatpoint.cli import main
from heatpoint.datasets import Sample, load_image, synthetic_faces
from heatpoint.report.contact_sheet import (
    FRAMES,
    LEFT,
    MIDDLE,
    RIGHT,
    Tile,
    contact_sheet,
    save_sheet,
    side_colors,
)
from heatpoint.skeleton import load_skeleton


def write_faces(folder: Path, number: int = 22, split: str = "train") -> dict[str, Any]:
    """A COCO file of rendered faces beside their images."""
    skeleton = load_skeleton("synthetic_face")
    images, annotations = [], []
    folder.mkdir(parents=True, exist_ok=True)
    for index, sample in enumerate(synthetic_faces(number, split=split).samples):
        pixels = load_image(sample)
        cv2.imwrite(str(folder / f"{split}{index}.png"), pixels[..., ::-1])
        size = {"width": pixels.shape[1], "height": pixels.shape[0]}
        images.append({"id": index, "file_name": f"{split}{index}.png", **size})
        rows = [[float(x), float(y), 2 * int(v)] for (x, y), v in zip(sample.points, sample.visible, strict=True)]
        annotations.append({"id": index, "image_id": index, "keypoints": [v for row in rows for v in row]})
    content = {"images": images, "annotations": annotations, "categories": [{"keypoints": list(skeleton.names)}]}
    (folder / f"{split}.json").write_text(json.dumps(content))
    return content


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr after a person's mistake."""
    assert main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_clean_set_gives_0_and_a_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_faces(tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "faces/train.json"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "faces/train.json: train 22 samples in 22 images\nskeleton: synthetic_face, which has these points\n"
    )
    assert "\n0 errors, 0 warnings\n" in out
    assert "all points exchanged would be found in 100% of the samples" in out
    assert "contact sheet: train-check.png (22 samples, 0 of them faulty)" in out
    assert cv2.imread("train-check.png").shape == (4 * 280 + 24, 6 * 240, 3)


def test_faults_give_1_a_report_and_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = write_faces(tmp_path / "data")
    for place in (3, 5, 8):
        content["annotations"][place]["keypoints"][0] = -70.0
    content["annotations"][6]["num_keypoints"] = 1
    (tmp_path / "labels.json").write_text(json.dumps(content))
    sheet, report = tmp_path / "out" / "sheet.png", tmp_path / "out" / "report.json"
    arguments = ["check", str(tmp_path / "labels.json"), "--images", str(tmp_path / "data"), "--show", "2"]
    arguments += ["--sheet", str(sheet), "--json", str(report), "--samples", "5", "--skeleton", "synthetic_face"]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "\nerror point_outside (3): a labelled point lies outside the image\n" in out
    assert f"  {tmp_path / 'labels.json'}: annotation 3 (train3.png) has 1 of " in out
    assert "\n  … and 1 more\n" in out
    assert "\nwarning num_keypoints (1): " in out
    assert "\n3 errors, 1 warning\n" in out
    assert f"contact sheet: {sheet} (5 samples, 4 of them faulty)\nreport: {report}\n" in out
    values = json.loads(report.read_text())
    assert values["counts"] == {"error": {"point_outside": 3}, "warning": {"num_keypoints": 1}}
    first = values["findings"][0]
    assert (first["kind"], first["record"], first["split"]) == ("num_keypoints", "annotation 6", "all")
    corner = cv2.cvtColor(cv2.imread(str(sheet)), cv2.COLOR_BGR2RGB)[1, [1, 241, 481, 721, 961]]
    assert [tuple(int(v) for v in color) for color in corner] == [
        *[FRAMES["error"]] * 3,
        *(FRAMES["warning"], FRAMES[""]),
    ]


def test_train_and_test_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_faces(tmp_path / "a", 22)
    write_faces(tmp_path / "b", 4, "test")
    (tmp_path / "b" / "test2.png").write_bytes((tmp_path / "a" / "train7.png").read_bytes())
    train, test = (str(tmp_path / name) for name in ("a/train.json", "b/test.json"))
    sheet = tmp_path / "sheet.png"
    assert main(["check", "--train", train, "--test", test, "--sheet", str(sheet), "--samples", "0"]) == 1
    assert "test2.png has the same bytes as " in capsys.readouterr().out
    assert not sheet.exists()


def test_sets_known_by_name_and_one_category(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mtfl"
    folder.mkdir()
    for split, name in (("training", "a"), ("testing", "b")):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((40, 50, 3), ord(name), np.uint8))
        (folder / f"{split}.txt").write_text(f"{name}.png 10 30 20 12 28 10 10 20 30 30 1 1 1 1\n{name}.png 1 2\n")
    assert main(["check", "mtfl", "--data-root", str(tmp_path), "--samples", "0"]) == 1
    out = capsys.readouterr().out
    assert "mtfl: train 1 samples in 1 images, test 1 samples in 1 images" in out
    assert "error keypoint_count (2)" in out
    content = write_faces(tmp_path / "faces", 3)
    content["categories"] = [{"id": 1, "name": "face", "keypoints": content["categories"][0]["keypoints"]}]
    content["categories"].append({"id": 2, "name": "car"})
    for annotation, number in zip(content["annotations"], (1, 1, 2), strict=True):
        annotation["category_id"] = number
    path = tmp_path / "faces" / "train.json"
    path.write_text(json.dumps(content))
    assert main(["check", str(path), "--category", "face", "--samples", "0"]) == 0
    assert "train 2 samples in 3 images" in capsys.readouterr().out
    assert "--category must be one of car, face, got 'fase'" in told(capsys, "check", str(path), "--category", "fase")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "DATA must be given, or both --train and --test" in told(capsys, "check")
    assert "Did you mean faces300w" in told(capsys, "check", "faces300")
    assert "--samples must be at least 0, got -1" in told(capsys, "check", "mtfl", "--samples", "-1")
    assert "--show must be at least 1, got 0" in told(capsys, "check", "mtfl", "--show", "0")
    assert "--json must be a file to write" in told(capsys, "check", "mtfl", "--json", str(tmp_path))
    assert "--sheet must end in .png or .jpg" in told(capsys, "check", "mtfl", "--sheet", "a.gif")
    assert "hold the folder" in told(capsys, "check", "mtfl", "--data-root", str(tmp_path))
    absent = str(tmp_path / "no.json")
    assert "must be a set's name, a file or a folder" in told(capsys, "check", absent)
    assert "be a set's name, a file or a folder" in told(
        capsys, "skeleton", "init", absent, "--out", str(tmp_path / "s.json")
    )
    assert "load_skeleton: name must be one of" in told(capsys, "skeleton", "show", "coco71")


def test_skeleton_init_writes_once_and_show_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_faces(tmp_path, 3)
    labels, out = str(tmp_path / "train.json"), tmp_path / "new" / "face.json"
    assert main(["skeleton", "init", labels, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{out}: 18 points, 0 edges, 7 swap pairs\n" in printed
    assert "note: 7 swap pairs read from the names: look them through.\n" in printed
    assert "note: No sigmas: no object was labelled twice" in printed
    skeleton, known = load_skeleton(out), load_skeleton("synthetic_face")
    assert (skeleton.names, skeleton.swap, skeleton.sigmas) == (known.names, known.swap, None)
    assert (dict(skeleton.normalizers), skeleton.default_normalizer) == ({"box": "box"}, "box")
    assert "which exists. Or give --force." in told(capsys, "skeleton", "init", labels, "--out", str(out))
    assert main(["skeleton", "init", labels, "--out", str(out), "--force"]) == 0
    assert "that ends in .json" in told(capsys, "skeleton", "init", labels, "--out", str(tmp_path / "s.txt"))
    capsys.readouterr()
    assert main(["skeleton", "show", "coco17"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "coco17: 17 points, 19 edges, 8 swap pairs"
    assert rows[3].split() == ["1", "left_eye", "right_eye", "right_eye,", "nose,", "left_ear", "0.025"]
    assert rows[-1] == "normalizer box (default): box"


def test_the_sheet_shows_sides_and_survives_what_it_cannot_read(tmp_path: Path) -> None:
    skeleton = load_skeleton("face5")
    assert side_colors(skeleton) == [LEFT, RIGHT, MIDDLE, LEFT, RIGHT]
    points = np.array([[10.0, 10.0], [30.0, 10.0], [20.0, 20.0], [12.0, 30.0], [28.0, 30.0]])
    sample = Sample(np.zeros((40, 40, 3), np.uint8), points, np.ones(5, bool), (9.0, 9.0, 31.0, 31.0), "a")
    lost = Sample(tmp_path / "gone.png", points, np.ones(5, bool), (5.0, 5.0, 4.0, 9.0), "b")
    sheet = contact_sheet([Tile(sample, ("ok", "ü")), Tile(lost, severity="error")], skeleton)
    assert sheet.shape == (304, 480, 3)
    colors = {tuple(int(v) for v in color) for color in sheet[4:236, 4:236].reshape(-1, 3)}
    assert {LEFT, RIGHT, MIDDLE} <= colors
    with pytest.raises(ValueError, match="tiles must be one at least"):
        contact_sheet([], skeleton)
    with pytest.raises(ValueError, match="columns must be at least 1, got 0"):
        contact_sheet([Tile(sample)], skeleton, columns=0)
    with pytest.raises(ValueError, match=r"path must end in \.png or \.jpg"):
        save_sheet(tmp_path / "a.odd", sheet)
