"""Compiles the Triton kernels for an H100 or H200 (sm_90), which needs no GPU, and prints as JSON what came out.

Of each kernel: registers a thread, bytes of stack, spills; of the fused one also the instructions and the
special-function instructions a cell in its loop over rows, and whether all its minima let NaN through.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from finepseudo.soft_dtw import triton_fused, triton_gather, triton_pairs, triton_rows

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
KINDS = {
    "*i64": "x_len y_len u_len g_len own_len other_len lengths",
    "i32": "videos count rows blocks partners n m features top bottom total",
    "fp32": "slope steepness unit border",
}
"""Types of the kernels' arguments by their names; the rest are pointers to float32."""


def machine_code(kernel: Any, constants: dict[str, Any], given: dict[str, str], **options: Any) -> tuple[str, str]:
    """Return the resource usage and the instructions of a kernel as NVIDIA's tools print them."""
    kinds = {name: kind for kind, names in KINDS.items() for name in names.split()} | given
    signature = {n: "constexpr" if n in constants else kinds.get(n, "*fp32") for n in kernel.arg_names}
    aligned = [i for i, kind in enumerate(signature.values()) if kind[0] == "*"]
    source = ASTSource(
        kernel,
        signature=signature,
        constexprs=constants,
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        return tuple(
            subprocess.run([*command, file.name], capture_output=True, text=True, check=True).stdout
            for command in ([TOOLS / "cuobjdump", "-res-usage"], [TOOLS / "nvdisasm"])
        )


def innermost_loops(code: str) -> list[list[str]]:
    """Return the loops that hold no other: the instructions from the target of a backward branch to the branch."""
    labels: dict[str, int] = {}
    found: list[str] = []
    loops: list[tuple[int, int]] = []
    for line in code.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(found)
        elif re.search(r"/\*[0-9a-f]{4,}\*/ +[A-Z@]", line) and "NOP" not in line:
            found.append(line)
            target = re.search(r"BRA.*`\((\.L_x_\d+)\)", line)
            if target and target[1] in labels:
                loops.append((labels[target[1]], len(found)))
    inner = [(a, b) for a, b in loops if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops)]
    return [found[a:b] for a, b in inner]


def usage_of(usage: str, code: str) -> dict[str, Any]:
    """Return what a kernel takes."""
    return {
        "registers": int(re.search(r"REG:(\d+)", usage)[1]),
        "stack": int(re.search(r"STACK:(\d+)", usage)[1]),
        "spills": len(re.findall(r"\b(?:STL|LDL)\b", code)),
    }


def fused(dtype: str, features: int, rough: bool, split: bool = False) -> dict[str, Any]:
    """Compile the kernel that aligns with a gallery and count in its loop over rows, which has the most powers."""
    tall, wide, warps = triton_fused.TALL, triton_fused.WIDE, triton_fused.WARPS
    width, chunk = features * (1 + split), min(triton_fused.CHUNK, features)
    columns = triton_fused.columns_of(width)
    plan = triton_fused.plan_of(width, columns, rough)
    constants = {"features": features, "chunk": chunk, "split": split, "columns": columns}
    constants |= {"tall": tall, "wide": wide, "rough": rough, "native": True}
    given = {"u": f"tensordesc<{dtype}[{tall}, {chunk}]>", "gallery": f"tensordesc<{dtype}[{columns * wide}, {chunk}]>"}
    options = {"num_warps": warps, "num_stages": plan.stages, "maxnreg": plan.registers}
    usage, code = machine_code(triton_fused.walk_tables, constants, given, **options)
    loop = max(innermost_loops(code), key=lambda lines: sum("MUFU" in line for line in lines))
    minima, cells = [line for line in loop if "FMNMX" in line], columns * tall * wide / (32 * warps)
    return usage_of(usage, code) | {
        "instructions": len(loop) / cells,
        "special": sum("MUFU" in line for line in loop) / cells,
        "products": sum("HGMMA" in line for line in loop),
        "nan_safe": bool(minima) and all("FMNMX.NAN" in line for line in minima),
    }


def trained(frames: int, symmetric: bool) -> dict[str, dict[str, Any]]:
    """Compile the kernels of a training step."""
    walks = {"native": True, "symmetric": symmetric} | triton_pairs.walk_shape(frames, frames)
    gathers = {"symmetric": symmetric, "turned": not symmetric} | triton_gather.gather_shape(frames, frames)
    found = {}
    for kernel, shape in (
        (triton_pairs.align, walks),
        (triton_pairs.push_back, walks),
        (triton_gather.gather_rows, gathers),
    ):
        constants = shape | {"tall": frames, "wide": frames}
        options = {name: constants.pop(name) for name in ("num_warps", "num_stages")}
        pointers = {"unit": "*fp32"} if kernel is triton_gather.gather_rows else {}
        found[kernel.fn.__name__] = machine_code(kernel, constants, pointers, **options)
    return {f"{name} {frames} {symmetric}": usage_of(*code) for name, code in found.items()}


def rows() -> dict[str, dict[str, Any]]:
    """Compile the kernels that make unit rows."""
    constants = {"frames": triton_rows.FRAMES, "wide": 512}
    kernels = (triton_rows.normalise, triton_rows.normalise_backward)
    return {kernel.fn.__name__: usage_of(*machine_code(kernel, constants, {})) for kernel in kernels}


def main() -> None:
    """Compile every kernel."""
    found = {}
    for dtype, features, split in (
        ("fp16", 128, False),
        ("bf16", 128, False),
        ("fp16", 128, True),
        ("fp16", 64, False),
    ):
        found[f"fused {dtype} {features}{' split' * split}"] = fused(dtype, features, True, split)
    found["fused fp16 128 exact"] = fused("fp16", 128, False)
    found["fused fp16 512"] = fused("fp16", 512, True)
    found["fused fp16 512 split"] = fused("fp16", 512, True, True)
    for frames in (16, 32, 64):
        found |= trained(frames, True)
    print(json.dumps(found | trained(32, False) | rows()))


if __name__ == "__main__":
    main()
