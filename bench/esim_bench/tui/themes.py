"""The three themes: dark, light, high contrast."""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

DARK: Final = Theme(
    name="bench-dark",
    primary="#5fa8d3",
    secondary="#8fb8a8",
    accent="#e0b354",
    foreground="#d8dee4",
    background="#11161c",
    surface="#181f27",
    panel="#222b35",
    success="#7fb77e",
    warning="#e0a458",
    error="#e5737a",
    dark=True,
    variables={
        "footer-key-foreground": "#e0b354",
        "block-cursor-text-style": "none",
        "input-selection-background": "#5fa8d3 35%",
    },
)
LIGHT: Final = Theme(
    name="bench-light",
    primary="#1f6594",
    secondary="#3d7464",
    accent="#8a5a00",
    foreground="#1c232b",
    background="#f4f6f8",
    surface="#ffffff",
    panel="#e3e8ed",
    success="#2b7031",
    warning="#8f5b00",
    error="#b3262f",
    dark=False,
    variables={"footer-key-foreground": "#8a5a00", "block-cursor-text-style": "none"},
)
CONTRAST: Final = Theme(
    name="bench-contrast",
    primary="#00d7ff",
    secondary="#ffffff",
    accent="#ffff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#1c1c1c",
    success="#00ff5f",
    warning="#ffff00",
    error="#ff8787",
    dark=True,
    luminosity_spread=0.1,
    text_alpha=1.0,
    variables={"footer-key-foreground": "#ffff00", "border": "#ffffff", "block-cursor-text-style": "bold"},
)
THEMES: Final = (DARK, LIGHT, CONTRAST)
