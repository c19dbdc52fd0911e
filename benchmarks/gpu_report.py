"""What `gpu.py` found, in lines and pictures."""

from __future__ import annotations

import pathlib
from typing import Any

import memory
import speed
from work import Work

PRODUCT = speed.PRODUCT
SYSTEMS = [
    "jaxrnn save", "torch", "Flax", "jaxrnn offload", "jaxrnn recompute", "jaxrnn recursive", "jax.experimental.rnn", "Keras",
    "plain lax.scan",
]  # fmt: skip
Rows = list[dict[str, Any]]


def line(row: dict[str, Any], rows: Rows) -> str:
    """One measurement, beside the others that are known."""
    head = f"{row['work']:32}  {row['system']:38}"
    if "left_out" in row:
        return f"{head} left out: {row['left_out']:.150}"
    return head + {"speed": speed_cells, "offload": offload_cells, "trial": trial_cells}[row["kind"]](row, rows)


def speed_cells(row: dict[str, Any], rows: Rows) -> str:
    """Times, ratio to "save", part of the rate, kernels a step, bytes, compilation."""
    if row["system"] == PRODUCT:
        return f"{row['operations'] / row['train']['best'] / 1e12:8.3g} TFLOP/s"
    work, save = Work.of(row["work"]), find(rows, "jaxrnn save", row["work"])
    cells = []
    for what in ("train", "forward"):
        best = row[what]["best"]
        ratio = f"x {best / save[what]['best']:5.2f}" if save else "x     -"
        cells.append(
            f"{what} {best * 1e3:8.3f} ms {best / work.time * 1e6:7.2f} us a step {ratio} {launched(row, what):>6} kernels"
        )
    product = find(rows, PRODUCT, Work("lstm", 1, 1, 1, 1, precision=work.precision).name)
    floor = work.operations / product["operations"] * product["train"]["best"] if product else None
    cells.append(f"{floor / row['train']['best']:6.1%} of the rate" if floor else "")
    if "bytes" in row:
        cells.append(sizes(row))
    if "compile" in row:
        cells.append(f"{row['compile']:5.1f} s to compile")
    return "  ".join(cells)


def launched(row: dict[str, Any], what: str) -> str:
    """Kernels a step of time."""
    loops = row["kernels"].get(what)
    return f"{sum(times * kernels for times, kernels in loops) / Work.of(row['work']).time:.1f}" if loops else "-"


def offload_cells(row: dict[str, Any], rows: Rows) -> str:
    """Bytes here and there, and time beside "recompute"."""
    length = time_of(row)
    other = find(rows, "jaxrnn recompute, time-major", row["work"], row["loss"], "offload")
    cells = [f"{row['loss']:8}", sizes(row)]
    cells.append(f"{row['step'] / length * 1e6:7.2f} us a step" if "step" in row else "not run")
    if "step" in row and other and "step" in other:
        cells.append(f"x {row['step'] / other['step']:5.2f} of recompute")
    return "  ".join([*cells, f"{row['compile']:5.1f} s to compile"])


def trial_cells(row: dict[str, Any], rows: Rows) -> str:
    """The decision, the comparison, the sabotage, a line each."""
    lines = [row["decided"]]
    for loss in ("state", "outputs"):
        seen = row[loss]
        lines.append(
            f"loss on the {loss}: largest difference {seen['difference']:.2g} of {seen['gradient']:.2g}; {sizes(seen)}"
        )
        if "planned" in seen:
            lines[-1] += f"; planned {sizes({'bytes': seen['planned'], 'host_bytes': seen['planned_host']})}"
    sabotaged = row["sabotaged"]
    lines.append(
        f"sabotaged: {sabotaged['mode']}, {megabytes(sabotaged['host_bytes'])} on the host,"
        f" {sabotaged['difference_to_recompute']:.2g} from recompute; warning: {sabotaged['warning']}"
    )
    return "\n    ".join(lines)


def sizes(row: dict[str, Any]) -> str:
    """Temporary memory on the device, and on the host if there is any."""
    host = row.get("host_bytes")
    return megabytes(row["bytes"]) + (f" + {megabytes(host)} on the host" if host else "")


def megabytes(size: float) -> str:
    """In ten characters and the unit."""
    return f"{size / 1e6:9.2f} MB"


def find(rows: Rows, system: str, work: str, loss: str = "outputs", kind: str = "speed") -> dict[str, Any] | None:
    """The last measurement of that, if there is one."""
    wanted = (kind, system, work, loss)
    found = [row for row in rows if (row["kind"], row["system"], row["work"], row["loss"]) == wanted and "left_out" not in row]
    return found[-1] if found else None


def time_of(row: dict[str, Any]) -> int:
    """T of an offload row."""
    return int(row["work"].split(",")[0])


def tables(rows: Rows) -> list[str]:
    """All of them again, the systems of a work together."""
    works = dict.fromkeys((row["kind"], row["work"]) for row in rows)
    grouped = [[row for row in rows if (row["kind"], row["work"]) == work] for work in works]
    return [text for group in grouped for text in ("", *(line(row, rows) for row in group))]


def draw_all(out: pathlib.Path, rows: Rows, sizes: list[int]) -> None:
    """gpu.png: training steps as multiples of jaxrnn's; offload.png: bytes against T."""
    timed = [row for row in rows if row["kind"] == "speed" and "train" in row and row["system"] != PRODUCT]
    others = dict.fromkeys(row["work"] for row in timed if row["system"] in SYSTEMS[1:])
    works = [work for work in others if find(rows, "jaxrnn save", work)]
    grouped = [{"work": work, "results": [row for row in timed if row["work"] == work]} for work in works]
    if grouped:
        speed.draw(out / "gpu.png", grouped, SYSTEMS[1:])
    offload = [row | {"time": time_of(row)} for row in rows if row["kind"] == "offload" and "bytes" in row]
    if offload:
        memory.draw(out / "offload.png", offload, sizes)
