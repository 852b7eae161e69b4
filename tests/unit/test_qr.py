"""Activation codes from images of their QR codes, drawn by a library of its own."""

import sys
from pathlib import Path

import pytest
import segno
from PIL import Image

from esim_bench.errors import ConfigError
from esim_bench.rack.qr import activation_code_of
from esim_bench.rack.source import ProfileSource
from esim_bench.scenario import registry

CODE = "LPA:1$testsmdpplus1.example.com$ABC-123$2.999.10$1"


def draw(path: Path, text: str = CODE, **look: object) -> Path:
    segno.make(text).save(str(path), scale=5, **look)
    return path


def test_text_stays_text() -> None:
    assert activation_code_of(CODE) == CODE


@pytest.mark.parametrize("look", [{}, {"dark": "navy"}, {"light": None}, {"border": 8}])
def test_a_png_is_read(tmp_path: Path, look: dict[str, object]) -> None:
    assert activation_code_of(f"@{draw(tmp_path / 'code.png', **look)}") == CODE


def test_a_photo_is_read(tmp_path: Path) -> None:
    """Turned, on a grey table, as a JPEG."""
    picture = Image.open(draw(tmp_path / "code.png")).convert("L")
    table = Image.new("L", (600, 600), 200)
    table.paste(picture.rotate(14, expand=True, fillcolor=255), (90, 120))
    table.save(tmp_path / "photo.jpg", quality=70)
    assert activation_code_of(f"@{tmp_path / 'photo.jpg'}") == CODE


def test_of_several_codes_the_activation_code_is_taken(tmp_path: Path) -> None:
    both = Image.new("L", (900, 400), 255)
    both.paste(Image.open(draw(tmp_path / "web.png", "https://www.example.com/")).convert("L"), (0, 0))
    both.paste(Image.open(draw(tmp_path / "code.png")).convert("L"), (450, 0))
    both.save(tmp_path / "both.png")
    assert activation_code_of(f"@{tmp_path / 'both.png'}") == CODE


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such image"):
        activation_code_of(f"@{tmp_path / 'missing.png'}")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ConfigError, match="not an image"):
        activation_code_of(f"@{tmp_path / 'text.png'}")
    Image.new("L", (100, 100), 255).save(tmp_path / "empty.png")
    with pytest.raises(ConfigError, match="expected one, found no QR code"):
        activation_code_of(f"@{tmp_path / 'empty.png'}")
    draw(tmp_path / "web.png", "https://www.example.com/")
    with pytest.raises(ConfigError, match="found 1 QR codes without one"):
        activation_code_of(f"@{tmp_path / 'web.png'}")
    whole = draw(tmp_path / "code.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="not an image"):
        activation_code_of(f"@{tmp_path / 'half.png'}")


def test_two_activation_codes_are_one_too_many(tmp_path: Path) -> None:
    both = Image.new("L", (900, 400), 255)
    for place, number in ((0, "1"), (450, "2")):
        picture = Image.open(draw(tmp_path / f"{number}.png", CODE.replace("123", f"SECRET{number}"))).convert("L")
        both.paste(picture, (place, 0))
    both.save(tmp_path / "both.png")
    with pytest.raises(ConfigError, match="expected one, found 2") as caught:
        activation_code_of(f"@{tmp_path / 'both.png'}")
    assert "SECRET" not in str(caught.value)


def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = draw(tmp_path / "code.png")
    monkeypatch.setitem(sys.modules, "zxingcpp", None)
    with pytest.raises(ConfigError, match=r"pip install 'esim-bench\[qr\]'"):
        activation_code_of(f"@{path}")


def test_scenarios_and_commands_take_images(tmp_path: Path) -> None:
    path = draw(tmp_path / "code.png")
    assert ProfileSource(activation_code=f"@{path}").activation_code == CODE
    params = registry.scenario("provision").parse({"activation_code": f"@{path}"})
    assert isinstance(params, ProfileSource)
    assert params.activation_code == CODE
