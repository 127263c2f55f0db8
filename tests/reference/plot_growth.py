"""Draws what `cargo bench --bench growth` has measured: time and memory of one pass against the number of tokens.

    cargo bench --bench growth > growth.csv
    .venv/bin/pip install matplotlib
    .venv/bin/python tests/reference/plot_growth.py growth.csv docs/growth.svg

The thin line is the ideal one: the time of the smallest size, times as many operations as a size has more.
"""

import csv
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none", "font.size": 11,
                            "font.family": "sans-serif"})
import matplotlib.pyplot as plt

KINDS = {"patches": "patches of a picture", "positions": "positions of a text"}
LOOKS = {"all": ("#0072b2", "o", "all maps recorded"), "one": ("#d55e00", "s", "one layer's maps recorded")}

source, target = sys.argv[1:3]
with open(source) as file:
    rows = list(csv.DictReader(line for line in file if line.count(",") == 6))

figure, panels = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
for column, (kind, label) in enumerate(KINDS.items()):
    time, memory = panels[0][column], panels[1][column]
    for recorded, (colour, marker, name) in LOOKS.items():
        own = [row for row in rows if row["kind"] == kind and row["recorded"] == recorded]
        tokens = [int(row["tokens"]) for row in own]
        took = [float(row["milliseconds"]) for row in own]
        time.loglog(tokens, took, color=colour, marker=marker, label=name)
        added = [(int(row["peak bytes"]) - int(row["bytes at rest"])) / 2**20 for row in own]
        memory.loglog(tokens, added, color=colour, marker=marker, label=name)
        if recorded == "one":
            work = [int(row["operations"]) for row in own]
            time.loglog(tokens, [took[0] * each / work[0] for each in work], color="#808080", linewidth=1,
                        label="as operations grow")
    for panel in (time, memory):
        panel.set_xticks(tokens, [f"{each:,}" for each in tokens], rotation=40)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.set_xlabel(label)
    time.set_ylabel("one pass, milliseconds")
    memory.set_ylabel("memory beside the weights, MiB")
panels[0][0].legend(frameon=False)
panels[1][0].legend(frameon=False)
figure.savefig(target, metadata={"Date": None})
