"""Activation codes from QR images. Needs the extra ``qr`` (Pillow and zxing-cpp)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from esim_bench.codec.activation_code import ActivationCode
from esim_bench.errors import CodecError, ConfigError

MAX_PIXELS: Final = 50_000_000
"""Of an image: more than any camera of a phone makes."""
MARK: Final = "@"


def activation_code_of(text: str) -> str:
    """Return the text of an activation code: as given, or of the QR image that ``@FILE`` names.

    Raises ConfigError: no such image, no or several activation codes in it, the extra is not installed.
    """
    return read_qr(Path(text.strip()[1:])) if text.strip().startswith(MARK) else text


def read_qr(path: Path) -> str:
    """Return the one activation code in an image. Raises ConfigError."""
    if not path.is_file():
        raise ConfigError("no such image", where=str(path), expected="a QR code as PNG, JPEG or the like")
    try:
        import zxingcpp
        from PIL import Image, UnidentifiedImageError
    except ImportError as exc:
        raise ConfigError(
            "QR images cannot be read here",
            where=str(path),
            expected="the packages Pillow and zxing-cpp",
            hint="pip install 'esim-bench[qr]', or give the activation code as text",
        ) from exc
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                found = f"{image.width} x {image.height}"
                raise ConfigError("image too large", where=str(path), expected=f"{MAX_PIXELS} pixels", found=found)
            grey = image.convert("RGBA")
            # What is transparent is paper.
            paper = Image.new("RGBA", grey.size, "white")
            paper.alpha_composite(grey)
            found_codes = zxingcpp.read_barcodes(paper.convert("L"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as exc:
        raise ConfigError("not an image that can be read", where=str(path), expected="PNG, JPEG or the like") from exc
    texts = list(dict.fromkeys(code.text for code in found_codes))
    codes = [text for text in texts if _is_activation_code(text)]
    if len(codes) != 1:
        found = f"{len(codes)}" if codes else f"{len(texts)} QR codes without one" if texts else "no QR code"
        hint = None if codes else "is the whole code in the picture, sharp and with its white margin?"
        raise ConfigError("activation codes in the image", where=str(path), expected="one", found=found, hint=hint)
    return codes[0]


def _is_activation_code(text: str) -> bool:
    try:
        ActivationCode.parse(text)
    except CodecError:
        return False
    return True
