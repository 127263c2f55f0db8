"""Makes the fonts of this folder: python subset.py NotoSansCJK-Regular.ttc Inter-Regular.otf Inter-SemiBold.otf"""

import sys

from fontTools.subset import Options, Subsetter, load_font, save_font


def span(first, last):
    return "".join(map(chr, range(first, last + 1)))


def gb2312_level_1():
    rows = range(16, 56)
    cells = [(row, cell) for row in rows for cell in range(1, 95) if (row, cell) < (55, 90)]
    return bytes(0xA0 + n for pair in cells for n in pair).decode("gb2312")


SYMBOLS = "←→↑↓×±≤≥·…–—“”‘’√∑²‖°≈≠∞⋅"
CHINESE = (
    gb2312_level_1() + "熵浏莓" + span(0x3000, 0x301F) + span(0xFF01, 0xFF5E) + SYMBOLS
    + "￠￡￥△▲▼▶◀●○■□★☆①②③④⑤⑥⑦⑧⑨⑩℃‰"
)
GREEK = span(0x391, 0x3A1) + span(0x3A3, 0x3C9)
LATIN = (
    span(0x20, 0x7E) + span(0xA0, 0x17F) + GREEK + SYMBOLS
    + "‐‑‒•‚„†‡‰′″‹›⁄€™−∂∆∏∫◊⁰⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉ⁿ↔↵⇧⌘⌥"
)


def subset(source, text, *, number=-1, features=(), hinting=True):
    options = Options(
        font_number=number,
        hinting=hinting,
        layout_features=list(features),
        name_IDs=[0, 1, 2, 13, 14],
        notdef_outline=True,
    )
    font = load_font(source, options)
    subsetter = Subsetter(options)
    subsetter.populate(text=text)
    subsetter.subset(font)
    return font, options


def align(font, model):
    """Gives `font` the line metrics of `model`.

    egui centres the line of a fallback font in the line of the first font. With the same ascent and descent
    the two baselines are the same at every size, without an offset that would be rounded to whole pixels.
    """
    scale = font["head"].unitsPerEm / model["head"].unitsPerEm
    up, down = (round(value * scale) for value in (model["hhea"].ascent, model["hhea"].descent))
    hhea, os2 = font["hhea"], font["OS/2"]
    hhea.ascent, hhea.descent, hhea.lineGap = up, down, 0
    os2.sTypoAscender, os2.sTypoDescender, os2.sTypoLineGap = up, down, 0
    os2.usWinAscent, os2.usWinDescent = up, -down


noto, regular, semibold = sys.argv[1:]
latin_features = ["ccmp", "kern", "mark", "mkmk"]
inter, options = subset(regular, LATIN, features=latin_features)
save_font(inter, "Inter-Regular-subset.otf", options)
bolder, options = subset(semibold, LATIN, features=latin_features)
save_font(bolder, "Inter-SemiBold-subset.otf", options)
chinese, options = subset(noto, CHINESE, number=2, hinting=False)
align(chinese, inter)
save_font(chinese, "NotoSansSC-subset.otf", options)
