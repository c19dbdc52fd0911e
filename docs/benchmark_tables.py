"""The tables and plots of benchmarks.md, made of the files in benchmarks/results/."""

from __future__ import annotations

import html
import json
import pathlib
import re
import statistics
from collections.abc import Callable, Iterable
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import HTML

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks" / "results"
OURS = "jaxrnn save"
JAX_PEERS = ["plain lax.scan", "Flax", "Flax nnx", "Haiku", "Equinox", "Keras"]
OTHERS = [*JAX_PEERS, "torch", "TF1"]
PRODUCT = "a matrix product"
CELLS = {"lstm": "LSTM", "gru": "GRU", "basic": "basic"}
CELLS |= {"layer_norm_lstm": "layer-normalised LSTM", "ind_rnn": "IndRNN", "sru": "SRU", "nas": "NAS"}
CELLS |= {"min_gru": "minGRU", "min_lstm": "minLSTM", "lru": "LRU"}
SPEED = {
    "Zen 3": "speed_zen3.json",
    "Zen 3, jax 0.10.2": "speed_zen3_jax_0.10.2.json",
    "Zen 3, held-out shapes": "held_out_zen3.json",
    "older run": "speed.json",
}
LATEST = ["Zen 3", "older run"]  # with the latest jax, and all shapes
Row = dict[str, Any]


def load(name: str) -> Any:
    """A file of results."""
    return json.loads((RESULTS / name).read_text())


# ---- numbers and tables


def number(value: float | None) -> str:
    """Three digits; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def size(count: float | None) -> str:
    """Bytes in a unit that suits them."""
    unit, name = next(((u, n) for u, n in ((1e9, "GB"), (1e6, "MB")) if (count or 0) >= u), (1e3, "kB"))
    return "-" if count is None else f"{number(count / unit)} {name}"


def share(values: list[float]) -> str:
    """Geometric mean and, in brackets, the largest."""
    return f"{statistics.geometric_mean(values):.2f} ({max(values):.2f})" if values else "-"


def shape(work: str) -> str:
    """`lstm,28,150,28,150` as it stands in a table."""
    cell, *rest = work.split(",")
    return " ".join([CELLS[cell], ", ".join(rest)])


def bold(text: str) -> str:
    """Marked as the fastest, for `table`."""
    return f"**{text}**"


def table(header: list[str], rows: Iterable[list[str]], folded: str = "") -> HTML:
    """A table, its first column to the left, all others to the right; `folded` is the title of one that opens on a click."""

    def cell(tag: str, text: str, place: int) -> str:
        inner = re.sub(r"\*\*(.*?)\*\*", r"<strong>\1</strong>", html.escape(text))
        wrap = "normal" if tag == "th" else "nowrap"
        return f'<{tag} style="text-align:{"right" if place else "left"};white-space:{wrap}">{inner}</{tag}>'

    line = lambda tag, texts: "<tr>" + "".join(cell(tag, text, i) for i, text in enumerate(texts)) + "</tr>"
    body = "".join(line("td", row) for row in rows)
    text = f'<table class="docutils" style="font-size:85%"><thead>{line("th", header)}</thead><tbody>{body}</tbody></table>'
    text = f'<div class="table-wrapper" style="margin:0.6em 0">{text}</div>'
    return HTML(f'<details style="margin:0.6em 0"><summary>{html.escape(folded)}</summary>{text}</details>' if folded else text)


# ---- training steps and forward passes


def best(row: Row, what: str) -> dict[str, float]:
    """Each system's best time in a row, in ms."""
    return {result["system"]: 1e3 * result[what]["best"] for result in row["results"]}


def fastest_peer(times: dict[str, float]) -> str:
    """The name of the fastest JAX peer."""
    return min((name for name in JAX_PEERS if name in times), key=times.__getitem__)


def ratios(name: str, what: str, other: str = "", ours: str = OURS, cell: str = "") -> list[float]:
    """In every row, or every row of a cell, jaxrnn's time as a part of another's; "" is the fastest JAX peer."""
    found = []
    for times in (best(row, what) for row in load(name)["rows"] if row["work"].startswith(cell)):
        system = other or fastest_peer(times)
        if system in times:
            found.append(times.get(ours, times[OURS]) / times[system])
    return found


def summary() -> HTML:
    """For each CPU run the geometric means of the ratios, and the largest."""
    rows = []
    for title, name in SPEED.items():
        packed = any("jaxrnn packed" in best(row, "train") for row in load(name)["rows"])
        for what, step in (("train", "training"), ("forward", "forward")):
            cells = [share(ratios(name, what, other)) for other in ("", "torch", "TF1")]
            cells.insert(1, share(ratios(name, what, ours="jaxrnn packed")) if packed else "-")
            rows.append([f"{title}: {step}", *cells])
    return table(["jaxrnn's time as a part of", "fastest JAX peer's", "the same, packed", "torch's", "TF1's"], rows)


def by_cell() -> HTML:
    """The same for each cell alone, in the runs with the latest jax."""
    rows = []
    for title in LATEST:
        name = SPEED[title]
        for what, step in (("train", "training"), ("forward", "forward")):
            for cell, label in CELLS.items():
                cells = [share(ratios(name, what, other, cell=cell)) for other in ("", "torch", "TF1")]
                rows.append([f"{title}: {step}, {label}", *cells])
    header = ["jaxrnn's time as a part of", "fastest JAX peer's", "torch's", "TF1's"]
    return table(header, rows, "The same for each cell")


def machines() -> HTML:
    """What each CPU file says of where it was measured, and how fast a large matrix product is there."""
    rows = []
    for title, name in SPEED.items():
        file = load(name)
        results = [result for row in file["rows"] for result in row["results"]]
        rate = statistics.median(r["operations"] / r["train"]["best"] for r in results if r["system"] == PRODUCT)
        versions = [next((r[key] for r in results if key in r), "-") for key in ("jax", "torch", "tensorflow")]
        machine = file["machine"]
        place = f"{machine['processor']}, {machine['cores']} cores"
        rows.append([title, name, machine["measured"], place, number(rate / 1e9), *versions])
    return table(["run", "file", "measured", "processor", "product, GFLOP/s", "jax", "torch", "TensorFlow"], rows)


def speed_table(name: str, what: str, folded: str = "") -> HTML:
    """All rows of a run in ms, the fastest bold; the last line has the geometric means of the ratios."""
    rows, every = [], load(name)["rows"]
    others = [system for system in ("torch", "TF1") if any(system in best(row, what) for row in every)]
    for row in every:
        times = best(row, what)
        peer = fastest_peer(times)
        shown = [OURS, peer, *others]
        least = min(times[system] for system in shown)
        cells = [bold(number(times[system])) if times[system] == least else number(times[system]) for system in shown]
        if "jaxrnn packed" in times:
            cells[0] += f" ({number(times['jaxrnn packed'])})"
        cells[1] += f" {peer}"
        rows.append([shape(row["work"]), *cells, *(f"{times[OURS] / times[system]:.2f}" for system in shown[1:])])
    means = [share(ratios(name, what, other)) for other in ("", *others)]
    rows.append(["geometric mean (largest)", *[""] * (2 + len(others)), *means])
    header = ["T, B, D, H", "jaxrnn", "fastest JAX peer", *others, "part of the peer's", *(f"of {s}'s" for s in others)]
    return table(header, rows, folded)


def contrib_table() -> HTML:
    """Some cells of `jaxrnn.contrib` beside a plain scan of their equations."""
    return _beside("contrib_zen3.json", "plain lax.scan", "plain scan")


def linear_table() -> HTML:
    """Linear cells beside a scan with a backward pass written by hand."""
    return _beside("linear_zen3.json", "lax.scan, own rule", "scan, own rule")


def _beside(name: str, other: str, called: str) -> HTML:
    """jaxrnn beside another system: ms, MB, and parts of the other's."""
    rows = []
    for row in load(name)["rows"]:
        by_system = {result["system"]: result for result in row["results"]}
        numbers = []
        for value in (lambda r: r["train"]["best"] * 1e3, lambda r: r["forward"]["best"] * 1e3, lambda r: r["bytes"] / 1e6):
            ours, theirs = value(by_system[OURS]), value(by_system[other])
            numbers += [number(ours), number(theirs), f"{ours / theirs:.2f}"]
        rows.append([shape(row["work"]), *numbers])
    header = ["T, B, D, H"]
    header += [f"{what} {who}" for what in ("training, ms:", "forward, ms:", "MB:") for who in ("jaxrnn", called, "part")]
    return table(header, rows)


def dot_plot(name: str) -> None:
    """Every system's time as a multiple of jaxrnn's, a row each, for training steps and forward passes."""
    rows = load(name)["rows"]
    _, panels = plt.subplots(1, 2, figsize=(11, 0.27 * len(rows) + 1.3), sharey=True, layout="constrained")
    looks = {"JAX peers": ("o", "tab:blue", JAX_PEERS), "torch": ("^", "tab:orange", ["torch"]), "TF1": ("s", "0.45", ["TF1"])}
    for panel, (what, title) in zip(panels, (("train", "training step"), ("forward", "forward pass")), strict=True):
        for label, (marker, color, systems) in looks.items():
            times = [(best(row, what), y) for y, row in enumerate(rows)]
            points = [(t[s] / t[OURS], y) for t, y in times for s in systems if s in t]
            if points:
                panel.plot(*zip(*points, strict=True), marker, color=color, label=label, markersize=5, alpha=0.8)
        panel.axvline(1, color="0.2", linewidth=1)
        panel.set(xscale="log", title=title, xlabel="time / jaxrnn's time (left of 1: faster than jaxrnn)")
        ticks = [tick for tick in (0.5, 1, 2, 4, 8, 16, 32, 64, 128) if tick < 1.5 * panel.get_xlim()[1]]
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.grid(color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(rows)), [shape(row["work"]) for row in rows], fontsize=8)
    panels[0].invert_yaxis()
    panels[1].legend(frameon=False)
    plt.show()


def peers_ahead() -> HTML:
    """The shapes at which something else is faster: its time as a part of jaxrnn's, and its name."""
    runs = [(title, SPEED[title], what) for title in LATEST for what in ("train", "forward")]
    found: dict[str, list[str]] = {}
    for place, (_, name, what) in enumerate(runs):
        for row in load(name)["rows"]:
            times = best(row, what)
            system = min((other for other in OTHERS if other in times), key=times.__getitem__)
            if times[system] < times[OURS]:
                cells = found.setdefault(row["work"], [""] * len(runs))
                cells[place] = f"{times[system] / times[OURS]:.2f} {system}"
    order = [row["work"] for row in load(runs[0][1])["rows"]]
    header = [f"{title}: {'training' if what == 'train' else 'forward'}" for title, _, what in runs]
    return table(["T, B, D, H", *header], [[shape(work), *found[work]] for work in order if work in found])


# ---- memory


def modes() -> HTML:
    """What the memory modes cost beside "save", over all rows of a run: geometric means and largest ratios."""

    def over(name: str, mode: str, value: Callable[[Row], float]) -> str:
        values = [{r["system"]: value(r) for r in row["results"] if "bytes" in r} for row in load(name)["rows"]]
        return share([row[f"jaxrnn {mode}"] / row[OURS] for row in values])

    rows = []
    for mode in ("recompute", "recursive", "offload"):
        cells = [over("speed.json", mode, value) for value in (lambda r: r["train"]["best"], lambda r: r["bytes"])]
        rows.append([f'"{mode}"', *cells])
    return table(['as a part of "save"', "time", "bytes"], rows)


MEMORY_LOOKS = {
    "jaxrnn save": ("tab:red", "-."), "jaxrnn offload": ("tab:red", ":"), "jaxrnn recompute": ("tab:red", "-"),
    "jaxrnn recursive": ("tab:red", "--"), "plain lax.scan": ("0.5", "-"), "Flax": ("tab:blue", "-"),
    "Flax, nn.remat": ("tab:blue", "--"), "Haiku": ("tab:purple", ":"), "Equinox, checkpointed": ("tab:green", "-"),
    "torch": ("tab:orange", "-"),
}  # fmt: skip


def of_system(system: str, loss: str) -> dict[int, Row]:
    """A system's rows in memory.json, by T."""
    return {row["time"]: row for row in load("memory.json")["rows"] if (row["system"], row["loss"]) == (system, loss)}


def memory_plot() -> None:
    """Temporary memory of a training step against T."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    for panel, (loss, title) in zip(
        panels, (("state", "last step's output"), ("outputs", "outputs of all steps")), strict=True
    ):
        for system, (color, style) in MEMORY_LOOKS.items():
            rows = of_system(system, loss)
            counted = [row["bytes"] for row in rows.values()]
            panel.plot([*rows], counted, style, color=color, label=system, marker=".", linewidth=1.5)
        panel.set(xscale="log", yscale="log", xlabel="T, steps", title=f"loss on the {title}")
        panel.grid(color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("temporary memory, bytes")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    plt.show()


def memory_table(loss: str, title: str, lengths: tuple[int, ...] = (512, 32768, 1048576), timed: int = 32768) -> HTML:
    """Bytes at some T, and the time of a training step per step of time at one of them."""
    rows = []
    for system in MEMORY_LOOKS:
        known = of_system(system, loss)
        seconds = known.get(timed, {}).get("step")
        counted = [size(known.get(length, {}).get("bytes")) for length in lengths]
        rows.append([system, *counted, number(seconds and 1e6 * seconds / timed)])
    return table([title, *(f"T = {length}" for length in lengths), f"µs per step of time at T = {timed}"], rows)


# ---- compiling, reinforcement learning, the GPU


def compile_table() -> HTML:
    """Processor time to trace, lower and compile a gradient: jaxrnn's in ms, and all as parts of a plain scan's."""
    systems = ["jaxrnn save", *JAX_PEERS[1:]]
    rows = []
    for work, stages in load("compile_times.json").items():
        total = {system: sum(seconds) for system, seconds in stages.items()}
        plain = total["plain lax.scan"]
        parts = [f"{total[system] / plain:.2f}" if system in total else "-" for system in systems]
        rows.append([shape(work), number(1e3 * total[OURS]), number(1e3 * plain), *parts])
    return table(["T, B, D, H", "jaxrnn, ms", "plain scan, ms", "jaxrnn", *systems[1:]], rows)


def ppo_table() -> HTML:
    """An update of recurrent PPO."""
    systems = load("ppo_zen3.json")["systems"]
    least = min(result["seconds_an_update"] for result in systems.values())
    rows = []
    for system, result in systems.items():
        text = number(1e3 * result["seconds_an_update"])
        text = bold(text) if result["seconds_an_update"] == least else text
        part = systems["jaxrnn"]["seconds_an_update"] / result["seconds_an_update"]
        rows.append([system, text, f"{result['steps_a_second'] / 1e3:.0f} 000", f"{part:.2f}"])
    return table(["", "ms an update", "steps a second", "part of its time that jaxrnn takes"], rows)


def gpu_systems() -> dict[str, dict[str, Row]]:
    """The H100's rows, by work and system."""
    found: dict[str, dict[str, Row]] = {}
    for row in load("gpu_h100.json")["rows"]:
        if row["system"] != PRODUCT and "left_out" not in row:
            found.setdefault(row["work"], {})[row["system"]] = row
    return found


def gpu_table(what: str, folded: str = "") -> HTML:
    """Times on the H100 in ms, the fastest bold, and their ratios."""
    shown, rows = ["jaxrnn save", "jaxrnn save, compiler_options", "torch", "Flax", "Keras"], []
    for work, systems in gpu_systems().items():
        times = {system: 1e3 * systems[system][what]["best"] for system in shown if system in systems}
        cells = [number(times.get(system)) for system in shown]
        cells = [bold(c) if times.get(s) == min(times.values()) else c for c, s in zip(cells, shown, strict=True)]
        parts = [f"{times[OURS] / times[other]:.2f}" if other in times else "-" for other in ("torch", "Flax")]
        rows.append([shape(work), *cells, *parts])
    every = [{s: row[what]["best"] for s, row in systems.items()} for systems in gpu_systems().values()]
    means = [share([times[OURS] / times[other] for times in every if other in times]) for other in ("torch", "Flax")]
    rows.append(["geometric mean (largest)", *[""] * len(shown), *means])
    header = ["T, B, D, H, precision", "jaxrnn", "with its compiler options", *shown[2:], "part of torch's", "of Flax's"]
    return table(header, rows, folded)


def gpu_memory(folded: str = "") -> HTML:
    """Memory of a training step on the H100."""
    shown = ["jaxrnn save", "torch", "Flax"]
    rows = [
        [shape(work), *(size(systems.get(system, {}).get("bytes")) for system in shown)]
        for work, systems in gpu_systems().items()
    ]
    return table(["T, B, D, H, precision", "jaxrnn", "torch", "Flax"], rows, folded)


def gpu_versions() -> HTML:
    """The card and the versions that the H100's file names."""
    file = load("gpu_h100.json")
    known = {key: row[key] for row in file["rows"] for key in ("jax", "torch", "cudnn") if key in row}
    row = [file["machine"]["card"], str(file["machine"]["cores"]), *map(str, known.values())]
    return table(["card", "cores of its host", *known], [row])


# ---- several processes


def distributed() -> HTML:
    """A training step over two processes, beside one."""
    file = load("distributed_zen3.json")
    rows = []
    for name, sizes in file["sizes"].items():
        times = (number(1e3 * seconds[name]) for seconds in file["seconds"].values())
        rows.append([f"{name} split: {', '.join(map(str, sizes))}", *times])
    return table(["ms a training step: T, B, H, layers", *file["seconds"]], rows)


# ---- Newton's method over time


def newton() -> HTML:
    """Iterations of the forward pass and of the adjoint, a dash where steps were run one by one; times of a training step."""
    rows = []
    for row in load("newton_zen3.json")["rows"]:
        what = [row["cell"].replace("_", " "), str(row["units"]), str(row["steps"]), f"x{row['scale']}"]
        passes = ["-" if row[f"{of}fell_back"] else str(row[f"{of}iterations"]) for of in ("", "adjoint_")]
        times = [f"{number(row[f'{way}_ms'])} ms" for way in ("loop", "newton")]
        rows.append([*what, f"{row['exponent']:.2f}", *passes, *times])
    return table(["cell", "H", "T", "weights", "exponent", "forward", "adjoint", "loop", "Newton"], rows)
