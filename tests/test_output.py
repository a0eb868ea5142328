"""Output: whole files or none, and words for what is in the way."""

import os

import pytest

from bridge import output
from bridge.errors import StoreError


def test_a_pipe_is_written_to_and_a_link_stays_a_link(tmp_path):
    """``-o /dev/stdout`` or ``-o /dev/full`` as root would put a file in the device's place."""
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    output.write_bytes(b"page", pipe)
    assert pipe.is_fifo()
    assert os.read(reader, 10) == b"page"
    os.close(reader)
    file.write_bytes(b"before")
    link.symlink_to(file)
    output.write_bytes(b"after", link)
    assert link.is_symlink()
    assert file.read_bytes() == b"after"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link", "pipe"]


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_folder_or_no_name_is_no_file_to_write(name):
    """``--html ""`` would be a traceback: a path without a name."""
    with pytest.raises(StoreError, match="is a folder; name a file in it"):
        output.write_bytes(b"page", name)


def test_a_folder_that_cannot_be_one_is_refused_at_once(tmp_path):
    """Found out after an hour, when the first file is written."""
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StoreError, match="-o x: is a file; name a folder"):
        output.make_folder(tmp_path / "file", "-o x")
    with pytest.raises(StoreError, match="name another folder"):
        output.make_folder(tmp_path / "file" / "deeper", "-o x")
    assert output.make_folder(tmp_path / "new" / "folder", "-o x").is_dir()
    assert not list((tmp_path / "new" / "folder").iterdir())
