"""Images of LeRobot datasets: videos of one episode or of several, and pictures in the data files."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from fastki.data import open_dataset
from fastki.errors import DataError

pytest.importorskip("av")

ALL = pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])
TOP, WRIST = "observation.images.top", "observation.images.wrist"


def shown(clips, dataset, camera) -> list[list[int]]:
    """The numbers that the frames of each episode show, episodes and frames in some mixed order."""
    result = [[0] * int(length) for length in dataset.info.lengths]
    for index in (3, 0, 4, 1, 2):
        frames = dataset.read(index, state=False).images[camera]
        assert len(frames) == dataset.info.lengths[index]
        for frame in np.random.default_rng(index).permutation(len(frames)).tolist():
            result[index][frame] = clips.number(frames[frame])
    return result


EXPECTED = [[1000 * index + frame for frame in range(length)] for index, length in enumerate((9, 4, 12, 7, 20))]


@ALL
@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
def test_videos(make_lerobot, some_episodes, clips, version, codec):
    dataset = open_dataset(make_lerobot(some_episodes, version=version, videos=(TOP, WRIST), codec=codec))
    info = dataset.info
    assert (info.cameras, info.missing_cameras, info.notes) == ((TOP, WRIST), (), ())
    assert [(key.name, key.kind) for key in info.keys if key.kind == "image"] == [(TOP, "image"), (WRIST, "image")]
    assert shown(clips, dataset, TOP) == EXPECTED
    assert clips.number(dataset[4].images[WRIST][-1]) == 4019


@ALL
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_embedded_pictures(make_lerobot, some_episodes, clips, version, kind):
    def cell(number):
        return {"bytes": clips.encoded(number, kind), "path": f"frame_{number:06d}.{kind.lower()}"}

    dataset = open_dataset(make_lerobot(some_episodes, version=version, embedded=(TOP,), picture=cell))
    assert (dataset.info.cameras, dataset.info.missing_cameras, dataset.info.notes) == ((TOP,), (), ())
    assert dataset.info.action_names == ("action[0]", "action[1]", "action[2]")
    assert shown(clips, dataset, TOP) == EXPECTED


@pytest.mark.parametrize("cell", ["bare bytes", "path alone", "bare path"])
def test_other_forms_of_embedded_pictures(make_lerobot, some_episodes, clips, cell):
    def make(number):
        path = f"images/{number}.png"
        forms = {"bare bytes": clips.encoded(number), "path alone": {"bytes": None, "path": path}, "bare path": path}
        return forms[cell]

    root = make_lerobot(some_episodes, embedded=(TOP,), picture=make)
    (root / "images").mkdir()
    for episode in EXPECTED:
        for number in episode:
            (root / f"images/{number}.png").write_bytes(clips.encoded(number))
    assert shown(clips, open_dataset(root), TOP) == EXPECTED


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"bytes": b"", "path": "../../secret.png"}, "leads out of the dataset's folder"),
        ({"bytes": b"", "path": "/etc/secret.png"}, "leads out of the dataset's folder"),
        ({"bytes": b"", "path": "images/none.png"}, r"none\.png cannot be read"),
        ({"bytes": b"", "path": ""}, rf"episode_000000\.parquet, column {TOP}, row 2 is empty"),
        ({"bytes": None, "path": None}, "row 2 is empty"),
        (None, "row 2 is empty"),
        ({"bytes": b"no picture", "path": ""}, "row 2 is no picture of a known format"),
    ],
)
def test_embedded_pictures_that_cannot_be_read(make_lerobot, some_episodes, clips, cell, message):
    good = {"bytes": clips.encoded(7), "path": ""}
    root = make_lerobot(some_episodes, embedded=(TOP,), picture=lambda number: cell if number == 2 else good)
    frames = open_dataset(root)[0].images[TOP]
    assert clips.number(frames[1]) == 7
    with pytest.raises(DataError, match=message):
        frames[2]
    assert clips.number(frames[3]) == 7


def test_a_data_file_without_the_pictures_of_the_others(make_lerobot, some_episodes, clips):
    root = make_lerobot(some_episodes, embedded=(TOP,))
    file = root / "data/chunk-000/episode_000001.parquet"
    pq.write_table(pq.read_table(file).drop([TOP]), file)
    dataset = open_dataset(root)
    assert clips.number(dataset[0].images[TOP][3]) == 3
    with pytest.raises(DataError, match=rf"episode_000001\.parquet has no column '{TOP}'"):
        dataset[1].images[TOP][0]


def test_datasets_on_remote_file_systems(make_lerobot, some_episodes, clips):
    root = make_lerobot(some_episodes, version="v3.0", videos=(TOP,), embedded=(WRIST,))
    remote = UPath("memory://lerobot_cameras")
    for file in (path for path in root.rglob("*") if path.is_file()):
        (remote / file.relative_to(root).as_posix()).write_bytes(file.read_bytes())
    dataset = open_dataset(str(remote))
    assert dataset.info.fingerprint == open_dataset(root).info.fingerprint
    assert shown(clips, dataset, TOP) == shown(clips, dataset, WRIST) == EXPECTED


def test_pictures_are_read_from_their_row_group_on_and_only_those(make_lerobot, some_episodes, clips, monkeypatch):
    from fastki.data.formats import lerobot_pictures

    root = make_lerobot(some_episodes, version="v3.0", embedded=(TOP,), per_file=5)
    asked: list[list[int]] = []
    original = pq.ParquetFile.iter_batches

    def spy(self, *, row_groups, columns, **rest):
        asked.append(row_groups)
        assert columns == [TOP]
        return original(self, row_groups=row_groups, columns=columns, **rest)

    dataset = open_dataset(root)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    monkeypatch.setattr(lerobot_pictures, "_ROWS", 4)
    frames = dataset[4].images[TOP]
    assert asked == []
    assert [clips.number(frame) for frame in frames] == EXPECTED[4]
    assert asked == [[4]]
    assert clips.number(frames[3]) == 4003
    assert clips.number(dataset[1].images[TOP][2]) == 1002
    assert asked == [[4], [4], [1]]


@ALL
def test_absent_videos_are_a_note(make_lerobot, some_episodes, version):
    path = "videos/{video_key}/episode.mp4"
    root = make_lerobot(some_episodes, version=version, features={TOP: {"dtype": "video"}}, video_path=path)
    info = open_dataset(root).info
    assert (info.cameras, info.missing_cameras) == ((), (TOP,))
    assert info.notes == (f"the videos of {TOP} are absent for all episodes: actions only",)
    assert open_dataset(root)[0].images == {}


def test_videos_count_only_if_all_are_there(make_lerobot, some_episodes, clips):
    root = make_lerobot(some_episodes, videos=(TOP, WRIST))
    for index in (1, 3, 4):
        next((root / "videos").glob(f"*/{WRIST}/episode_{index:06d}.mp4")).unlink()
    dataset = open_dataset(root)
    assert (dataset.info.cameras, dataset.info.missing_cameras) == ((TOP,), (WRIST,))
    assert any(f"{WRIST} are absent for 3 of 5 episodes" in note for note in dataset.info.notes)
    assert shown(clips, dataset, TOP) == EXPECTED


@pytest.mark.parametrize("where", ["info", "video_info", None])
@pytest.mark.parametrize("name", ["video.is_depth_map", "is_depth_map"])
def test_depth_maps_are_left_out(make_lerobot, some_episodes, where, name):
    root = make_lerobot(some_episodes, videos=(TOP, WRIST), embedded=("observation.images.depth",))
    info = json.loads((root / "meta/info.json").read_text())
    for key in (WRIST, "observation.images.depth"):
        info["features"][key] |= {where: {name: True}} if where else {name: True}
    info["features"][TOP] |= {where: {name: False}} if where else {name: False}
    (root / "meta/info.json").write_text(json.dumps(info))
    opened = open_dataset(root).info
    assert (opened.cameras, opened.missing_cameras) == ((TOP,), (WRIST, "observation.images.depth"))
    assert [note for note in opened.notes if "depth maps" in note] == [
        f"{WRIST} holds depth maps, no pictures: left out",
        "observation.images.depth holds depth maps, no pictures: left out",
    ]


def test_images_named_but_not_there(make_lerobot, some_episodes):
    info = open_dataset(make_lerobot(some_episodes, features={TOP: {"dtype": "image", "shape": [4, 4, 3]}})).info
    assert (info.cameras, info.missing_cameras) == ((), (TOP,))
    assert info.notes == (f"the images of {TOP} are absent: actions only",)


@ALL
def test_videos_without_a_rate_cannot_be_placed(make_lerobot, some_episodes, version):
    info = open_dataset(make_lerobot(some_episodes, version=version, videos=(TOP,), fps=None)).info
    assert (info.cameras, info.missing_cameras) == ((), (TOP,))
    assert any("no fps" in note for note in info.notes)


def test_videos_without_beginnings_cannot_be_placed(make_lerobot, some_episodes):
    root = make_lerobot(some_episodes, version="v3.0", videos=(TOP,))
    for file in (root / "meta/episodes").rglob("*.parquet"):
        pq.write_table(pq.read_table(file).drop([f"videos/{TOP}/from_timestamp"]), file)
    info = open_dataset(root).info
    assert (info.cameras, info.missing_cameras) == ((), (TOP,))
    assert any("not where episodes begin in them" in note for note in info.notes)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), None])
def test_a_beginning_that_is_no_time(make_lerobot, some_episodes, value):
    root = make_lerobot(some_episodes, version="v3.0", videos=(TOP,))
    file = root / "meta/episodes/chunk-000/file-000.parquet"
    table, name = pq.read_table(file), f"videos/{TOP}/from_timestamp"
    column = pa.array([value] * len(table), pa.float64())
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), file)
    with pytest.raises(DataError, match=rf"file-000\.parquet is damaged: {name} is .*, not seconds"):
        open_dataset(root)


def test_a_video_shorter_than_its_episode_fails_where_it_ends(make_lerobot, some_episodes, clips):
    root = make_lerobot(some_episodes, videos=(TOP,))
    path = next((root / "videos").rglob("episode_000002.mp4"))
    clips.write(path, EXPECTED[2][:10])
    frames = open_dataset(root)[2].images[TOP]
    assert clips.number(frames[9]) == 2009
    with pytest.raises(DataError, match=r"episode_000002\.mp4 shows nothing at 0\.500 s"):
        frames[10]


@pytest.mark.parametrize(("key", "path"), [("../../x", "videos/{video_key}.mp4"), ("x", "../{video_key}.mp4")])
@ALL
def test_videos_stay_inside(make_lerobot, some_episodes, version, key, path):
    root = make_lerobot(some_episodes, version=version, videos=("x",))
    info = json.loads((root / "meta/info.json").read_text())
    info["features"] = {key: {"dtype": "video"}, "action": info["features"]["action"]}
    (root / "meta/info.json").write_text(json.dumps(info | {"video_path": path}))
    if version == "v3.0":
        for file in (root / "meta/episodes").rglob("*.parquet"):
            table = pq.read_table(file)
            pq.write_table(
                table.rename_columns([n.replace("videos/x/", f"videos/{key}/") for n in table.column_names]), file
            )
    with pytest.raises(DataError, match="leads out of the dataset's folder"):
        open_dataset(root)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_episodes_can_be_pickled_with_their_images(make_lerobot, some_episodes, clips, version):
    dataset = open_dataset(make_lerobot(some_episodes, version=version, videos=(TOP,), embedded=(WRIST,)))
    episode = dataset[3]
    assert clips.number(episode.images[TOP][1]) == clips.number(episode.images[WRIST][1]) == 3001
    copy = pickle.loads(pickle.dumps(episode))
    assert clips.number(copy.images[TOP][2]) == clips.number(copy.images[WRIST][2]) == 3002
