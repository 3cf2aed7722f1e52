from pathlib import Path

import pytest

from hardware.configuration.document import Document

TEXT = """\
label = "x"  # [not.a.table]
[devices."odd name"]
driver = "board"
options = { a = 1, b = 2 }

[channels.ph]
device = "probe"
"minimum" = 1.0
[channels.ph.more]
  deep = 3
"""


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("label",), 1),
        (("devices", "odd name"), 2),
        (("devices", "odd name", "driver"), 3),
        (("devices", "odd name", "options", "b"), 4),
        (("channels", "ph", "minimum"), 8),
        (("channels", "ph", "missing"), 6),
        (("channels", "ph", "more", "deep"), 10),
        (("vessel",), 1),
    ],
)
def test_a_key_is_found_on_its_line(tmp_path: Path, where: tuple[str, ...], line: int) -> None:
    path = tmp_path / "reactor.toml"
    path.write_text(TEXT)
    assert Document.read(path).line(where) == line
