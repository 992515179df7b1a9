"""Files of JSON lines: many writers, a reader that follows, and what killed writers leave."""

import json
import lzma
import multiprocessing
from pathlib import Path

from thresher.bench.lines import Lines, packed


def contents(lines: Lines) -> list[object]:
    return [content for _, content in lines.new()]


def test_a_reader_follows_what_others_append(tmp_path: Path) -> None:
    ours, theirs = Lines(tmp_path / "a.jsonl"), Lines(tmp_path / "a.jsonl")
    assert contents(ours) == []
    theirs.append({"x": 1})
    assert list(ours.new()) == [(1, {"x": 1})]
    ours.append({"x": 2})
    theirs.append({"x": "γ\n"})
    assert list(ours.new()) == [(2, {"x": 2}), (3, {"x": "γ\n"})]
    assert contents(ours) == []


def test_a_line_that_was_cut_off_is_told_once_and_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = Lines(path)
    lines.append({"x": 1})
    with path.open("a") as file:
        file.write('{"x": 2')
    assert list(lines.new()) == [(1, {"x": 1}), (2, Lines.TORN)]
    assert contents(lines) == []
    Lines(path).append({"x": 3})
    assert list(lines.new()) == [(3, {"x": 3})]
    assert list(Lines(path).new()) == [(1, {"x": 1}), (2, Lines.TORN), (3, {"x": 3})]


def append_many(path: Path, name: int) -> None:
    lines = Lines(path)
    for number in range(50):
        lines.append({"name": name, "number": number, "long": "x" * 20_000})


def test_lines_of_several_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(path, name)) for name in range(3)]
    for writer in writers:
        writer.start()
    reader, found = Lines(path), []
    while any(writer.is_alive() for writer in writers):
        found += contents(reader)
    found += contents(reader)
    assert all(isinstance(line, dict) for line in found)
    assert sorted((line["name"], line["number"]) for line in found) == [
        (name, number) for name in range(3) for number in range(50)
    ]


def test_a_packed_file_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    text = "".join(json.dumps({"x": number}) + "\n" for number in range(2000)).encode()
    path = tmp_path / "a.jsonl.xz"
    path.write_bytes(lzma.compress(text))
    assert [content for _, content in packed(path)] == [{"x": number} for number in range(2000)]
    path.write_bytes(lzma.compress(text)[:-50])
    *_, (_, last) = packed(path)
    assert last is Lines.TORN
    path.write_bytes(b"something else")
    assert list(packed(path)) == [(1, Lines.TORN)]
