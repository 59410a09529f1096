"""Files of point clouds, written here in the published layouts, and what is said of broken ones."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from heatpoint.datasets import load_cloud
from heatpoint.datasets.cloud_files import read_npy, read_off, read_pcd, read_ply, read_rows

# Whole multiples of 1/64: exact as float32 and in six decimals.
XYZ = np.random.default_rng(0).integers(-200, 200, (9, 3)) / 64
PCD = (
    "# .PCD v.7\nVERSION .7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\nWIDTH 9\nHEIGHT 1\nPOINTS 9\n"
)


def text_rows(*, more: str = "", between: str = " ") -> str:
    return "".join(between.join(f"{v:.6f}" for v in row) + more + "\n" for row in XYZ)


def pcd(path: Path, *, header: str = PCD, data: str = "ascii", body: bytes | None = None) -> Path:
    body = text_rows(more=" 10975560").encode() if body is None else body
    path.write_bytes(header.encode() + f"DATA {data}\n".encode() + body)
    return path


def ply(path: Path, *, kind: str = "ascii", header: str = "", body: bytes | None = None, faces: bool = True) -> Path:
    order = {"binary_big_endian": ">"}.get(kind, "<")
    header = header or (
        "element vertex 9\nproperty uchar red\nproperty double x\nproperty float y\nproperty float z\n"
        + ("element face 1\nproperty list uchar int vertex_indices\n" if faces else "")
    )
    if body is None and kind == "ascii":
        body = "".join(f"7 {x} {y} {z}\n" for x, y, z in XYZ).encode() + (b"3 0 1 2\n" if faces else b"")
    elif body is None:
        body = b"".join(struct.pack(order + "Bdff", 7, *row) for row in XYZ) + struct.pack(order + "Biii", 3, 0, 1, 2)
    path.write_bytes(f"ply\nformat {kind} 1.0\ncomment by hand\n{header}end_header\n".encode() + body)
    return path


def test_pcd_as_keypointnet_writes_it(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_pcd(pcd(tmp_path / "a.pcd")), XYZ)


def test_pcd_with_fields_of_several_numbers_and_in_another_order(tmp_path: Path) -> None:
    header = "FIELDS normal z y x\nSIZE 4 8 4 4\nTYPE F F F F\nCOUNT 3 1 1 1\nWIDTH 3\nHEIGHT 3\n"
    rows = "".join(f"0 0 1 {z} {y} {x}\n" for x, y, z in XYZ).encode()
    np.testing.assert_array_equal(read_pcd(pcd(tmp_path / "a.pcd", header=header, body=rows)), XYZ)
    packed = b"".join(struct.pack("<fffdff", 0, 0, 1, z, y, x) for x, y, z in XYZ)
    np.testing.assert_array_equal(read_pcd(pcd(tmp_path / "b.pcd", header=header, data="binary", body=packed)), XYZ)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply(kind: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_ply(ply(tmp_path / "a.ply", kind=kind)), XYZ)
    np.testing.assert_array_equal(load_cloud(tmp_path / "a.ply"), XYZ)


@pytest.mark.parametrize("start", ["OFF\n9 1 0\n", "OFF9 1 0\n", "# made\nOFF\n# counts\n9 1 0\n"])
def test_off_with_the_counts_on_either_line(start: str, tmp_path: Path) -> None:
    path = tmp_path / "a.off"
    path.write_text(start + text_rows() + "3 0 1 2\n")
    np.testing.assert_array_equal(read_off(path), XYZ)


@pytest.mark.parametrize(
    ("more", "between"), [("", " "), (" 0 0 1 4", " "), (",0,0,1", ","), ("\t5", "\t"), ("", " ; ")]
)
def test_rows_of_text(more: str, between: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("# x y z\n\n" + text_rows(more=more, between=between))
    np.testing.assert_array_equal(read_rows(path), XYZ)


def test_rows_of_text_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text_rows(), encoding="utf-8-sig")
    np.testing.assert_array_equal(read_rows(path), XYZ)


@pytest.mark.parametrize("row", ["0,5 0,25 0,75", "0,5;0,25;0,75", "1.0,2.0 3.0"])
def test_decimal_commas_are_not_taken_for_separators(row: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"# a,b c\n{row}\n")
    assert refused(path) == (
        f"read_rows: file must hold numbers with decimal points, got {row!r} in line 2 of {path}. "
        "Write decimal points, and put either commas or spaces between numbers."
    )


@pytest.mark.parametrize("ending", ["xyz", "txt", "pts", "npy", "off", "pcd", "PLY"])
def test_a_cloud_is_read_by_its_ending(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        np.save(path, np.concatenate([XYZ, np.ones((9, 3))], axis=1))
    elif ending == "pcd":
        pcd(path)
    elif ending == "PLY":
        ply(path, faces=False)
    else:
        path.write_text(("OFF\n9 0 0\n" if ending == "off" else "") + text_rows())
    np.testing.assert_array_equal(load_cloud(path), XYZ)


@pytest.mark.parametrize("more", ["", " 0.5", " 0.5 1 2 3"])
def test_pts_as_leica_writes_it_begins_with_its_count(more: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    path.write_bytes(b"9 \r\n" + text_rows(more=more).replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(read_rows(path), XYZ)
    for count in (8, 10):
        path.write_text(f"{count}\n{text_rows(more=more)}")
        rule = f"read_rows: file must hold the {count} points that it announces, got 9 in {path}."
        assert refused(path).startswith(rule)
    # Another kind of text has no count.
    path = tmp_path / "a.xyz"
    path.write_text("9\n" + text_rows())
    assert refused(path).startswith("read_rows: file must have 1 numbers in every row, got 3 in line 2 in ")


@pytest.mark.parametrize("ending", ["txt", "off", "ply"])
def test_text_is_read_without_a_list_of_its_words(ending: str, tmp_path: Path) -> None:
    path, number = tmp_path / f"a.{ending}", 4000
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    start = {
        "txt": "",
        "off": f"OFF\n{number} 0 0\n",
        "ply": f"ply\nformat ascii 1.0\nelement vertex {number}\n{axes}end_header\n",
    }[ending]
    rows = np.random.default_rng(1).uniform(-1, 1, (number, 3))
    path.write_text(start + "".join("{!r} {!r} {!r}\n".format(*row) for row in rows.tolist()))
    tracemalloc.start()
    found = load_cloud(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, rows)
    assert peak < 4 * path.stat().st_size


def refused(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_cloud(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("POINTS 9", "POINTS 10"), "read_pcd: file must hold the 10 points that it announces, got 9 in "),
        (("POINTS 9", "POINTS 8"), "read_pcd: file must hold the 8 points that it announces, got 9 in "),
        (("COUNT 1 1 1 1\n", "COUNT 1 1 1\n"), "read_pcd: file must have a header of FIELDS, SIZE, TYPE, COUNT and POINTS, got"),
        (("POINTS 9", "POINTS -9"),
         "read_pcd: file must have a header of FIELDS, SIZE, TYPE, COUNT and POINTS, got -9 points in "),
        (("TYPE F", "TYPE Q"), "read_pcd: file must have a header of FIELDS, SIZE, TYPE, COUNT and POINTS, got 'Q' in "),
        (("x y z", "x y w"), "read_pcd: file must have one x, y and z for each point, got fields x y w rgb in "),
        (("rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1", "\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1"),
         "read_pcd: file must have 3 numbers in every row, got 4 in line 11 in "),
    ],
)  # fmt: skip
def test_broken_pcd_headers(change: tuple[str, str], text: str, tmp_path: Path) -> None:
    assert change[0] in PCD
    assert refused(pcd(tmp_path / "a.pcd", header=PCD.replace(*change))).startswith(text)


def test_broken_pcd_data(tmp_path: Path) -> None:
    path = tmp_path / "a.pcd"
    assert refused(pcd(path, body=text_rows(more=" a").encode())).startswith(
        "read_pcd: file must hold rows of numbers, got "
    )
    cut = text_rows(more=" 1").encode()[:-12]
    assert refused(pcd(path, body=cut)).startswith(
        "read_pcd: file must have 4 numbers in every row, got 2 in line 19 in "
    )
    text = refused(pcd(path, data="binary", body=bytes(16 * 9 - 1)))
    assert (
        text
        == f"read_pcd: file must hold the 9 points that it announces, got 8 in {path}. Copy or download the file again."
    )
    text = refused(pcd(path, data="binary_compressed"))
    assert text == (
        f"read_pcd: file must hold ascii or binary data, got binary_compressed in {path}. "
        "Convert it: pcl_convert_pcd_ascii_binary IN OUT 0."
    )
    path.write_bytes(b"hello")
    assert refused(path).startswith("read_pcd: file must have a header that ends in DATA, got none in ")
    path.write_bytes(b"\n".join(f"A{i} 1".encode() for i in range(99)))
    assert "ends in DATA" in refused(path)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("element vertex 9\nproperty float x\nproperty float y\n",
         "have vertices with x, y, z and no lists, got properties x y in "),
        ("element vertex 9\nproperty float x\nproperty float y\nproperty float z\nproperty list uchar int x2\n",
         "have vertices with x, y, z and no lists, got properties x y z x2 in "),
        ("element face 1\nproperty list uchar int i\nelement vertex 9\nproperty float x\n",
         "begin with its vertices, got element face first in "),
        ("element face 1\nproperty list uchar int i\n", "have a header with format and element vertex, got format ascii in "),
        ("element vertex many\n", "have a header of elements and properties, got 'element vertex many' ("),
        ("element vertex -1\n", "have a header of elements and properties, got 'element vertex -1' (below 0) in "),
        ("property float x\n", "have a header of elements and properties, got 'property float x' ("),
        ("element vertex 9\nproperty quad x\n", "have a header of elements and properties, got 'property quad x' ("),
        ("element vertex 12\nproperty uchar red\nproperty float x\nproperty float y\nproperty float z\n",
         "hold the 12 points that it announces, got 10 in "),
    ],
)  # fmt: skip
def test_broken_ply_headers(header: str, text: str, tmp_path: Path) -> None:
    assert refused(ply(tmp_path / "a.ply", header=header)).startswith(f"read_ply: file must {text}")


def test_broken_ply_data(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    text = refused(ply(path, kind="binary_little_endian", body=bytes(17 * 4 + 3)))
    assert text.startswith("read_ply: file must hold the 9 points that it announces, got 4 in ")
    assert "got format ternary in" in refused(ply(path, kind="ternary"))
    path.write_bytes(b"ply\nelement")
    assert refused(path).startswith(
        "read_ply: file must begin with ply and a header that ends in end_header, got otherwise in "
    )
    path.write_bytes(
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header"
    )
    assert "hold the 1 points that it announces, got 0" in refused(path)


@pytest.mark.parametrize("content", ["", "OFF", "OFF\nmany\n", "OFF\n-1 0 0\n", "PLY\n9 0 0\n"])
def test_broken_off(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.off"
    path.write_text(content)
    assert refused(path).startswith("read_off: file must begin with OFF and the number of vertices, got otherwise in ")
    path.write_text("OFF\n10 0 0\n" + text_rows())
    assert refused(path).startswith("read_off: file must hold the 10 points that it announces, got 9 in ")


def test_broken_rows_and_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text("1 2 3\n1 2\n")
    assert refused(path).startswith("read_rows: file must have 3 numbers in every row, got 2 in line 2 in ")
    path.write_text("1 2\n3 4\n")
    rule = "file must have 3 columns x, y, z, or 4, 6 or 7 with more behind them, got shape "
    assert refused(path).startswith(f"read_rows: {rule}(2, 2) in ")
    path.write_text("# x y z\n\n1 2 3\none two three\n")
    assert refused(path) == (
        f"read_rows: file must hold rows of numbers, got could not convert string to float: 'one' in line 4 in {path}. "
        "Copy or download the file again."
    )
    path.write_text("")
    assert refused(path) == f"load_cloud: cloud must hold at least one point, got none in {path}."
    path = tmp_path / "a.npy"
    for values in (XYZ.T, XYZ[0], XYZ[None]):
        np.save(path, values)
        assert refused(path).startswith(f"read_npy: {rule}{values.shape} in ")
    np.save(path, np.array([["a", "b", "c"]]))
    assert refused(path).startswith("read_npy: file must be an array of real numbers, got <U1 in ")
    buffer = io.BytesIO()
    np.savez(buffer, a=XYZ)
    path.write_bytes(buffer.getvalue())
    assert refused(path).startswith("read_npy: file must be an array of real numbers, got an archive in ")
    path.write_bytes(buffer.getvalue()[:40])
    assert refused(path).startswith(
        "read_npy: file must be an array saved by numpy.save, got File is not a zip file in "
    )
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000, 3), }".ljust(118)
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert refused(path).startswith("read_npy: file must be an array saved by numpy.save, got Unable to allocate ")
    path.write_bytes(b"\x93NUMPY nothing")
    assert refused(path).startswith("read_npy: file must be an array saved by numpy.save, got ")
    with pytest.raises(ValueError, match="read_npy: file must be an array saved by numpy.save"):
        read_npy(path)


def test_unknown_endings_list_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.las"
    path.write_bytes(b"")
    text = f"load_cloud: cloud must be a file that ends in .npy, .off, .pcd, .ply, .pts, .txt, .xyz, got {path}."
    assert refused(path) == text


def test_every_real_cloud_is_read_as_numpy_reads_it(data_root: Path) -> None:
    files = sorted((data_root / "pointcloud_keypointnet" / "pcds").rglob("*.pcd"))
    if not files:
        pytest.skip("real clouds are absent: pointcloud_keypointnet/pcds holds none")
    for path in files:
        np.testing.assert_array_equal(load_cloud(path), np.loadtxt(path, skiprows=10)[:, :3])
        assert re.fullmatch(r"[0-9a-f]+", path.stem)
