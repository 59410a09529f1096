"""Human3.6M: real frames in the shared annotation files, both forms of cameras, splits, mixing, planted faults."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatpoint.cameras import Camera
from heatpoint.datasets.human36m import (
    DRIFTED,
    FROM_MPII,
    REMEDY,
    mpii_as_human36m,
    open_human36m,
    read_human36m,
    with_thorax,
)
from heatpoint.datasets.human36m_records import ACTIONS, SERIALS
from heatpoint.datasets.sample import PointSet, Sample, load_image
from heatpoint.skeleton import load_skeleton

ROTATION = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
POSITION = np.array([0.0, -5000.0, 900.0])
FOCAL, CENTER = [1145.0, 1144.0], [512.0, 515.0]
PLAIN = Camera(ROTATION, POSITION, np.array(FOCAL), np.array(CENTER))


def parameters(form: str = "position") -> dict[str, Any]:
    t = POSITION if form == "position" else -ROTATION @ POSITION
    return {"R": ROTATION.tolist(), "t": t.tolist(), "f": FOCAL, "c": CENTER}


def pose(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(17, 3)) * [200, 200, 350] + [100, 0, 900]


def bbox(world: np.ndarray, camera: Camera = PLAIN) -> list[float]:
    pixels = camera.project(camera.from_world(world))
    size = np.ptp(pixels, axis=0) * 1.2
    return [*((pixels.min(0) + pixels.max(0)) / 2 - size / 2), *size]


class Writer:
    """Writes annotation files as their owners do: frame by frame, then all at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.subjects: dict[int, dict[str, Any]] = {}
        self.image_id = 0

    def subject(self, number: int) -> dict[str, Any]:
        empty = {"images": [], "annotations": [], "cameras": {}, "joints": {}}
        return self.subjects.setdefault(number, empty)

    def add(
        self,
        subject: int,
        action: int,
        frame: int,
        world: np.ndarray,
        *,
        camera: int = 1,
        subaction: int = 1,
        values: dict[str, Any] | None = None,
        box: list[float] | None = None,
        source: Path | None = None,
    ) -> str:
        folder = f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{camera:02d}"
        name = f"{folder}/{folder}_{frame + 1:06d}.jpg"
        content = self.subject(subject)
        image = {"id": self.image_id, "file_name": name, "width": 1000, "height": 1002, "subject": subject}
        image |= {"action_name": ACTIONS[action], "action_idx": action, "subaction_idx": subaction}
        content["images"].append(image | {"cam_idx": camera, "frame_idx": frame})
        box = bbox(world) if box is None else box
        content["annotations"].append({"id": 1000 + self.image_id, "image_id": self.image_id, "bbox": box})
        content["cameras"][str(camera)] = parameters() if values is None else values
        place = content["joints"].setdefault(str(action), {}).setdefault(str(subaction), {})
        place[str(frame)] = world.tolist()
        path = self.root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if source is None:
            path.write_bytes(b"read when it is shown")
        else:
            shutil.copy(source, path)
        self.image_id += 1
        return name

    def write(self) -> Path:
        folder = self.root / "annotations"
        folder.mkdir(parents=True, exist_ok=True)
        for number, content in self.subjects.items():
            data = {key: content[key] for key in ("images", "annotations")}
            for kind, value in (("data", data), ("camera", content["cameras"]), ("joint_3d", content["joints"])):
                (folder / f"Human36M_subject{number}_{kind}.json").write_text(json.dumps(value))
        return self.root

    def write_drawn(self, name: str, **changes: Any) -> Path:
        folder = self.root / "annotations"
        folder.mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for content in self.subjects.values():
            for image, annotation in zip(content["images"], content["annotations"], strict=True):
                keys = [str(image[key]) for key in ("action_idx", "subaction_idx", "frame_idx")]
                world = content["joints"][keys[0]][keys[1]][keys[2]]
                camera = content["cameras"][str(image["cam_idx"])]
                images.append({key: image[key] for key in ("id", "file_name", "width", "height")})
                annotations.append({**annotation, "keypoints_world": world, "cam_param": camera})
        (folder / name).write_text(json.dumps({"images": images, "annotations": annotations, **changes}))
        return self.root


def small(root: Path, subjects: tuple[int, ...] = (9, 11), frames: tuple[int, ...] = (0, 32, 64)) -> Writer:
    writer = Writer(root)
    for subject in subjects:
        for frame in frames:
            for camera in (1, 3):
                writer.add(subject, 2, frame, pose(100 * subject + frame), camera=camera)
    return writer


def real(root: Path, data_root: Path, form: str) -> tuple[Path, list[dict[str, Any]]]:
    """The four real frames in the layout of three files per subject, and their records."""
    folder, cameras = data_root / "samples/h36m", data_root / "pose3d_h36m_cameras/camera-parameters.json"
    if not folder.exists() or not cameras.exists():
        pytest.skip("the frames of Human3.6M and its cameras are absent")
    content, known = json.loads((folder / "h36m_coco.json").read_text()), json.loads(cameras.read_text())
    writer, records = Writer(root), content["annotations"]
    writer.subject(6)
    for image, record in zip(content["images"], records, strict=True):
        sequence, serial, frame = image["file_name"].removesuffix(".jpg").replace(".", "_").rsplit("_", 2)
        subject, action = sequence.split("_")[:2]
        inner, outer = known["intrinsics"][serial], known["extrinsics"][subject][serial]
        r, t, k = (np.array(v) for v in (outer["R"], outer["t"], inner["calibration_matrix"]))
        values = {"R": r.tolist(), "t": t[:, 0].tolist(), "f": [k[0, 0], k[1, 1]], "c": k[:2, 2].tolist()}
        if form == "position":
            values["t"] = (-r.T @ t[:, 0]).tolist()
        record["name"] = writer.add(
            int(subject[1:]),
            next(number for number, name in ACTIONS.items() if name == action),
            int(frame) - 1,
            np.array(record["keypoints_3d"]).reshape(-1, 4)[:, :3] * 1000,
            camera=SERIALS.index(serial) + 1,
            values=values,
            box=record["bbox"],
            source=next(folder.rglob(image["file_name"])),
        )
    return writer.write(), records


@pytest.mark.parametrize("form", ["position", "translation"])
def test_real_frames_in_both_forms_of_their_cameras(tmp_path: Path, data_root: Path, form: str) -> None:
    root, records = real(tmp_path / "human36m", data_root, form)
    points = open_human36m(tmp_path, "train")
    assert [sample.key for sample in points.samples] == [record["name"] for record in records]
    words = {"position": "t as the camera's position", "translation": "t as a translation"}
    assert points.protocol["cameras"] == f"of the annotations, {words[form]}, ideal lenses"
    exact = read_human36m(root, "train", cameras=data_root / "pose3d_h36m_cameras/camera-parameters.json")
    assert exact.protocol["cameras"] == "camera-parameters.json, with distortion"
    for sample, real_lens, record in zip(points.samples, exact.samples, records, strict=True):
        published = np.array(record["keypoints"]).reshape(-1, 3)[:, :2]
        assert sample.body is not None
        assert real_lens.body is not None
        np.testing.assert_allclose(sample.body.points, real_lens.body.points, atol=1e-6)
        # An ideal lens is off by pixels, the real one by what the set's own tools leave.
        assert 1 < np.abs(sample.points[:17] - published).max() < 2.5
        assert np.abs(real_lens.points[:17] - published).max() < 0.2
        world = sample.body.camera.to_world(sample.body.points)
        np.testing.assert_allclose(world[:17] / 1000, np.array(record["keypoints_3d"]).reshape(-1, 4)[:, :3], atol=1e-9)
        np.testing.assert_allclose(world[17], world[[11, 14]].mean(0))
        # A foot is lower in the image than the head for who stands, and bones are of human length.
        bones = [np.linalg.norm(world[a] - world[b]) for a, b in load_skeleton("human36m17").edges]
        assert min(bones) > 80
        assert max(bones) < 520
        height, width = load_image(sample).shape[:2]
        assert sample.box is not None
        assert np.all(np.array(sample.box) <= [width - 1, height - 1] * 2)
    assert [next(iter(sample.tags)) for sample in points.samples] == [
        "Directions",
        "SittingDown",
        "Greeting",
        "WalkDog",
    ]


def test_a_sample_is_what_was_written(tmp_path: Path) -> None:
    root = small(tmp_path).write()
    points = read_human36m(root, "test")
    assert [sample.key[-10:] for sample in points.samples] == ["000001.jpg"] * 2 + ["000065.jpg"] * 2 + [
        "000001.jpg"
    ] * 2 + ["000065.jpg"] * 2
    sample, world = points.samples[2], with_thorax(pose(964))
    assert sample.body is not None
    np.testing.assert_allclose(sample.body.points, PLAIN.from_world(world))
    np.testing.assert_allclose(sample.points, PLAIN.project(PLAIN.from_world(world)))
    assert sample.visible.all()
    assert (sample.body.root, sample.group) == (0, "s_09_act_02_subact_01")
    assert sample.ids == {"image_id": 4, "subject": 9, "camera": 1}
    x, y, width, height = bbox(pose(964))
    expected = np.clip([x, y, x + width - 1, y + height - 1], 0, [999, 1001, 999, 1001])
    np.testing.assert_allclose(sample.box, expected)
    assert points.skeleton == load_skeleton("human36m18")
    assert points.protocol["frames"] == "every 64th of annotated frames"
    assert read_human36m(root, "test", thorax=False).skeleton == load_skeleton("human36m17")
    assert len(read_human36m(root, "test", thorax=False).samples[0].points) == 17
    assert len(read_human36m(root, "test", every=32)) == 12


def test_the_protocols_share_out_the_subjects(tmp_path: Path) -> None:
    root = small(tmp_path, (1, 5, 6, 7, 8, 9, 11), (0, 5, 6)).write()

    def subjects(split: str, protocol: int) -> list[int]:
        points = read_human36m(root, split, protocol=protocol, drifted=True)
        assert points.protocol["subjects"] == sorted({int(sample.ids["subject"]) for sample in points.samples})
        return list(points.protocol["subjects"])

    assert (subjects("train", 2), subjects("test", 2)) == ([1, 5, 6, 7, 8], [9, 11])
    assert (subjects("train", 1), subjects("test", 1)) == ([1, 5, 6, 7, 8, 9], [11])
    # Of the frames 0, 5 and 6, two are trained on; two cameras each.
    assert len(read_human36m(root, "train")) == 5 * 2 * 2


def test_drifted_recordings_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    writer = small(tmp_path)
    for name in DRIFTED:
        subject, action, subaction = (int(part) for part in name.split("_")[1::2])
        writer.add(subject, action, 0, pose(action), camera=2, subaction=subaction)
    root = writer.write()
    kept, whole = read_human36m(root, "test"), read_human36m(root, "test", drifted=True)
    assert (len(kept), len(whole)) == (8, 11)
    told = [points.protocol["left out"] for points in (kept, whole)]
    assert told == [f"{count} frames of three drifted recordings" for count in (3, 0)]


@pytest.mark.parametrize("form", ["position", "translation"])
def test_frames_drawn_beforehand_are_the_same_samples(tmp_path: Path, form: str) -> None:
    writer = small(tmp_path / "drawn", frames=(0, 64))
    for content in writer.subjects.values():
        content["cameras"] = dict.fromkeys(content["cameras"], parameters(form))
    drawn = read_human36m(writer.write_drawn("Sample_64_test_Human36M_protocol_2.json"), "test")
    plain = read_human36m(small(tmp_path / "plain").write(), "test")
    assert [sample.key for sample in drawn.samples] == [sample.key for sample in plain.samples]
    for one, other in zip(drawn.samples, plain.samples, strict=True):
        np.testing.assert_allclose(one.points, other.points)
        assert one.ids["subject"] == other.ids["subject"]
    assert drawn.protocol["frames"] == "as drawn in Sample_64_test_Human36M_protocol_2.json"
    with pytest.raises(ValueError) as raised:
        read_human36m(tmp_path / "drawn", "test", every=5)
    text = "human36m: every must be None, since frames were drawn beforehand, got 5 with Sample_64_test_Human36M_protocol_2.json."
    assert str(raised.value) == f"{text} Leave it out."


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    writer = small(tmp_path, frames=(0, 64, 128, 192))
    images, annotations = writer.subject(9)["images"], writer.subject(9)["annotations"]
    images[0]["file_name"] = "frame.jpg"
    images[1]["width"] = 0
    annotations[2]["image_id"] = 777
    annotations[3]["bbox"] = [0, 0, -1, 4]
    del images[4]["frame_idx"]
    writer.subject(9)["joints"]["2"]["1"]["192"][4] = [0.0, float("nan"), 0.0]
    writer.subject(11)["cameras"]["3"] = {"R": np.eye(3).tolist(), "t": [0, 9e6, 9e6], "f": FOCAL, "c": CENTER}
    writer.subject(11)["joints"]["2"]["1"]["64"] = (pose(1164) - [0, 9000, 0]).tolist()
    images[5]["file_name"] = images[5]["file_name"].replace("s_09", "s_01")
    root = writer.write()
    (root / "images" / writer.subject(11)["images"][4]["file_name"]).unlink()
    problems: list[str] = []
    kept = read_human36m(root, "test", problems=problems)
    assert [sample.ids["image_id"] for sample in kept.samples] == [8, 14]
    nine = "Human36M_subject9_data.json annotation"
    eleven = "Human36M_subject11_data.json annotation"
    assert problems[:-1] == [
        f"{nine} 1000 must have a file_name with s_…_act_…_subact_…_ca_…, got 'frame.jpg'",
        f"{nine} 1001 refers to an image without width and height",
        f"{nine} 1002 refers to the unknown image 777",
        f"{nine} 1003 must hold a bbox of x, y and a width and height of at least 0",
        f"{nine} 1004 refers to an image without a whole frame_idx",
        f"{nine} 1005 is of subject 1, but the file or split is of 9",
        f"{nine} 1006 must have 17 finite world points of three numbers",
        f"{nine} 1007 must have 17 finite world points of three numbers",
        f"{eleven} 1010 has points behind its camera",
        f"{eleven} 1009 and 3 more have a camera that shows 0% of the points in their boxes, whether t is its position or a "
        "translation",
    ]
    assert problems[-1].startswith("image ")
    assert problems[-1].endswith("000129.jpg is missing")
    with pytest.raises(
        ValueError, match=r"^human36m: Human36M_subject9_data\.json annotation 1000 .*; and 5 more\. Get the set"
    ):
        read_human36m(root, "test")


def broken(writer: Writer, change: Callable[[dict[str, Any]], object]) -> str:
    change(writer.subject(11))
    problems: list[str] = []
    read_human36m(writer.write(), "test", problems=problems)
    assert len(problems) == 1
    return problems[0]


def test_numbers_must_be_those_of_the_file_name(tmp_path: Path) -> None:
    label = "Human36M_subject11_data.json annotation 1002 must have the action, subaction and camera of its file_name"
    for number, change in enumerate(({"cam_idx": 3}, {"subaction_idx": 2}, {"action_idx": 5})):
        writer = small(tmp_path / str(number), frames=(0,))
        joints = writer.subject(11)["joints"]
        joints["2"]["2"] = joints["2"]["1"]
        joints["5"] = joints["2"]
        found = broken(writer, lambda subject, change=change: subject["images"][0].update(change))
        assert found == f"{label} {writer.subject(11)['images'][0]['file_name']!r}"


def test_repeated_images_are_named(tmp_path: Path) -> None:
    file = "Human36M_subject11_data.json"
    writer = small(tmp_path / "a", frames=(0, 64))
    names = [image["file_name"] for image in writer.subject(11)["images"]]
    writer.subject(11)["annotations"].pop()
    found = broken(writer, lambda subject: subject["images"][3].update(id=5))
    assert found == f"{file} image 5 ({names[3]}) has the id of {names[1]}"
    writer = small(tmp_path / "b", frames=(0, 64))
    found = broken(writer, lambda subject: subject["annotations"][3].update(image_id=4))
    assert found == f"{file} annotation 1007 is of image 4, as one before it"


def test_a_set_without_a_frame_is_an_error(tmp_path: Path) -> None:
    root = small(tmp_path, frames=(1, 2)).write()
    with pytest.raises(ValueError, match=r"^human36m: .*annotations holds no frame of the split 'test'\. Get the set"):
        read_human36m(root, "test")


def test_cameras_that_cannot_be_read(tmp_path: Path) -> None:
    label = "Human36M_subject11_data.json annotation 1002"
    frames = (0,)
    lacking = broken(small(tmp_path / "a", frames=frames), lambda s: s["cameras"]["1"].pop("f"))
    assert lacking == f"{label} must have a camera with R (3, 3), t (3), f (2) and c (2), got one with: 'f'"
    mirrored = broken(
        small(tmp_path / "b", frames=frames), lambda s: s["cameras"]["1"].update(R=np.diag([1, 1, -1]).tolist())
    )
    assert mirrored.startswith(
        f"{label} must have a camera with R (3, 3), t (3), f (2) and c (2), got one with: Camera: rotation"
    )
    absent = broken(small(tmp_path / "c", frames=frames), lambda s: s["cameras"].pop("1"))
    assert absent == f"{label} has no camera"
    cameras = tmp_path / "cameras.json"
    matrix = np.eye(3).tolist()
    inner = {s: {"calibration_matrix": matrix, "distortion": [0.0] * 5} for s in SERIALS}
    outer = {s: {"R": matrix, "t": [[0.0], [0.0], [9e3]]} for s in SERIALS}
    cameras.write_text(json.dumps({"intrinsics": inner, "extrinsics": {"S9": outer}}))
    problems: list[str] = []
    root = small(tmp_path / "d", frames=frames).write()
    read_human36m(root, "test", cameras=cameras, problems=problems)
    # The camera of subject 9 is there, but another one than its frames were taken with.
    strange = [
        f"Human36M_subject9_data.json annotation {number} and 0 more have a camera that shows 0% of the points in their boxes, "
        f"by {cameras}"
        for number in (1000, 1001)
    ]
    lacking_of_11 = [f"{cameras} holds no camera {camera} of subject 11" for camera in (1, 3)]
    assert problems == strange + lacking_of_11
    cameras.write_text(json.dumps({"intrinsics": inner, "extrinsics": {"S9": {}}}))
    with pytest.raises(
        ValueError, match=r"^human36m: cameras must hold intrinsics .* got .*cameras\.json: '54138969'\.$"
    ):
        read_human36m(root, "test", cameras=cameras)


def test_a_file_of_drawn_frames_can_be_wrong(tmp_path: Path) -> None:
    name = "Sample_64_test_Human36M_protocol_2.json"
    writer = small(tmp_path / "set", frames=(0,))
    writer.subject(9)["annotations"][1]["image_id"] = 5
    problems: list[str] = []
    assert len(read_human36m(writer.write_drawn(name), "test", problems=problems)) == 3
    assert problems == [f"{name} annotation 1001 stands beside image 1, but belongs to image 5"]
    problems.clear()
    writer.write_drawn(name, images=[]).rename(tmp_path / "human36m")
    open_human36m(tmp_path, "test", problems=problems)
    assert problems == [f"{name} must hold as many images as annotations, got 0 and 4"]


def test_a_root_can_be_wrong_in_other_ways(tmp_path: Path) -> None:
    def text(error: type[Exception], call: Callable[[], object]) -> str:
        with pytest.raises(error) as raised:
            call()
        return str(raised.value)

    folder, remedy = tmp_path / "human36m", f" {REMEDY}"
    for part in (folder, folder / "annotations", folder / "images"):
        holder = f"the folder that holds {folder.name}/."
        start = f" Set HEATPOINT_DATA or --data-root to {holder}" if part == folder else ""
        expected = f"human36m: data root must hold the folder {part}, got no such folder.{start}{remedy}"
        assert text(FileNotFoundError, lambda: read_human36m(folder, "test")) == expected
        part.mkdir()
    file = folder / "annotations/Sample_64_test_Human36M_protocol_2.json"
    expected = f"human36m: annotations must hold Human36M_subject*_data.json or this file, got no {file}.{remedy}"
    assert text(FileNotFoundError, lambda: read_human36m(folder, "test")) == expected
    (folder / "annotations/Human36M_subject9_data.json").write_text('{"images": []}')
    actual = text(FileNotFoundError, lambda: read_human36m(folder, "test"))
    assert actual.count(".json") == 5 + REMEDY.count(".json")
    small(folder).write()
    data = folder / "annotations/Human36M_subject9_data.json"
    data.write_text('{"images": []}')
    expected = (
        f"human36m: annotations must hold the lists of objects 'images' and 'annotations', got otherwise in {data}."
    )
    assert text(ValueError, lambda: read_human36m(folder, "test")) == expected
    expected = "human36m: split must be one of test, train, got 'val'."
    assert text(ValueError, lambda: read_human36m(folder, "val")) == expected
    expected = "human36m: protocol must be one of 1, 2, got '3'."
    assert text(ValueError, lambda: read_human36m(folder, "test", protocol=3)) == expected
    expected = "human36m: every must be at least 1, got 0."
    assert text(ValueError, lambda: read_human36m(folder, "test", every=0)) == expected


def test_mpii_is_mixed_in_by_the_published_table() -> None:
    mpii, names = load_skeleton("mpii16"), load_skeleton("human36m18").names
    coordinates = np.stack([np.arange(16.0) + 1, -np.arange(16.0)], axis=-1)
    visible = np.arange(16) != 3
    occluded = np.arange(16) == 9
    sample = Sample(
        np.zeros((9, 9, 3), np.uint8), coordinates, visible, None, "a", occluded=occluded, lengths={"head": 5.0}
    )
    mixed = mpii_as_human36m(PointSet("mpii", "train", mpii, (sample,), {"a": 1}))
    taken = mixed.samples[0]
    for point, source in enumerate(FROM_MPII):
        assert bool(taken.visible[point]) == (source not in (None, 3)), names[point]
        np.testing.assert_array_equal(taken.points[point], 0 if source is None else coordinates[source])
    assert taken.occluded is not None
    assert np.flatnonzero(taken.occluded).tolist() == [names.index("head")]
    assert (taken.body, taken.lengths, mixed.protocol["a"]) == (None, {"head": 5.0}, 1)
    # Points of one name are one point, and sides stay what they are.
    same = {name: mpii.names[source] for name, source in zip(names, FROM_MPII, strict=True) if source is not None}
    assert all(other == name for name, other in same.items() if name in mpii.names)
    assert {name: other for name, other in same.items() if name not in mpii.names} == {
        "neck": "upper_neck",
        "head": "head_top",
    }
    assert [name for name, source in zip(names, FROM_MPII, strict=True) if source is None] == ["torso", "nose"]
    with pytest.raises(ValueError) as raised:
        mpii_as_human36m(PointSet("coco", "train", load_skeleton("coco17"), ()))
    assert str(raised.value) == "mpii_as_human36m: points must have the skeleton mpii16, got 17 points of coco."


@pytest.mark.parametrize("name", ["human36m17", "human36m18", "humaneva15"])
def test_every_limb_has_a_partner_on_the_other_side(name: str) -> None:
    skeleton = load_skeleton(name)
    for index, point in enumerate(skeleton.names):
        mirrored = {"left": "right", "right": "left"}.get(point.split("_")[0])
        expected = point if mirrored is None else f"{mirrored}_{point.partition('_')[2]}"
        assert skeleton.names[skeleton.swap[index]] == expected
    edges = {frozenset(edge) for edge in skeleton.edges}
    assert {frozenset(skeleton.swap[point] for point in edge) for edge in edges} == edges


def test_the_published_swaps(goldens: Callable[[str], dict[str, np.ndarray]]) -> None:
    published = {frozenset(pair) for pair in goldens("08_h36m")["joint_pairs"].tolist()}
    assert {frozenset(pair) for pair in load_skeleton("human36m18").swap_pairs} == published
