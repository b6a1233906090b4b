"""Compiles the Triton kernels for an H100 or H200 (sm_90), which needs no GPU, and prints as JSON what came out.

Of each kernel: registers a thread, bytes of stack, spills, and for its innermost loop over rows the instructions and
the special-function instructions a cell, and whether all its minima let NaN through.
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

from finepseudo.soft_dtw import triton_fused, triton_two_stage

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
TWO_STAGE = {"dots": "*fp32", "out": "*fp32", "u_len": "*i64", "g_len": "*i64", "gallery": "i32", "rows": "i32"}
FUSED = {
    "out": "*fp32",
    "edge_in": "*fp32",
    "edge_out": "*fp32",
    "g_len": "*i64",
    "videos": "i32",
    "count": "i32",
    "padded": "i32",
}
FUSED |= {"stride": "i32", "rows": "i32", "frames": "i32", "first": "i32"}
SCALES = {"steepness": "fp32", "border": "fp32"}
ALIGNED = ("padded", "stride")  # multiples of 16, as Triton sees when it is called


def machine_code(kernel: Any, signature: dict[str, str], constants: dict[str, Any], **options: int) -> tuple[str, str]:
    """Return the resource usage and the instructions of a kernel as NVIDIA's tools print them."""
    signature = signature | SCALES
    aligned = [i for i, (name, kind) in enumerate(signature.items()) if kind[0] == "*" or name in ALIGNED]
    source = ASTSource(
        kernel,
        signature=signature | dict.fromkeys(constants, "constexpr"),
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


def longest_loop(code: str) -> list[str]:
    """Return the instructions from the target of a backward branch to the branch, for the longest such stretch."""
    labels: dict[str, int] = {}
    found: list[str] = []
    best: list[str] = []
    for line in code.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(found)
        elif re.search(r"/\*[0-9a-f]{4,}\*/ +[A-Z@]", line) and "NOP" not in line:
            found.append(line)
            target = re.search(r"BRA.*`\((\.L_x_\d+)\)", line)
            if target and target[1] in labels and len(found) - labels[target[1]] > len(best):
                best = found[labels[target[1]] :]
    return best


def summary(usage: str, code: str, cells: float) -> dict[str, Any]:
    """Count; `cells` are those a thread does in one pass of the loop."""
    loop = longest_loop(code)
    minima = [line for line in loop if "FMNMX" in line]
    return {
        "registers": int(re.search(r"REG:(\d+)", usage)[1]),
        "stack": int(re.search(r"STACK:(\d+)", usage)[1]),
        "spills": len(re.findall(r"\b(?:STL|LDL)\b", code)),
        "instructions": len(loop) / cells,
        "special": sum("MUFU" in line for line in loop) / cells,
        "products": sum("HGMMA" in line for line in loop),
        "nan_safe": bool(minima) and all("FMNMX.NAN" in line for line in minima),
    }


def two_stage(columns: int) -> dict[str, Any]:
    constants = {"columns": columns, "block": triton_two_stage.BLOCK, "native": True}
    return summary(*machine_code(triton_two_stage.walk_tables, TWO_STAGE, constants), columns)


def fused(dtype: str, columns: int, opens: bool, closes: bool) -> dict[str, Any]:
    tall, wide, warps = triton_fused.TALL, triton_fused.WIDE, triton_fused.WARPS
    constants = {
        "features": 128,
        "columns": columns,
        "opens": opens,
        "closes": closes,
        "tall": tall,
        "wide": wide,
        "native": True,
    }
    signature = {"u": f"*{dtype}", "gallery": f"*{dtype}"} | FUSED
    code = machine_code(
        triton_fused.walk_columns, signature, constants, num_warps=warps, num_stages=triton_fused.STAGES
    )
    return summary(*code, columns * tall * wide / (32 * warps))


def main() -> None:
    """Compile every kernel that T 8, 16, 32 and 64 need."""
    found = {f"two-stage {columns}": two_stage(columns) for columns in (16, 32, 64)}
    most = triton_fused.MOST_COLUMNS
    for opens, closes in ((True, True), (True, False), (False, False), (False, True)):
        found[f"fused fp16 {most} {opens} {closes}"] = fused("fp16", most, opens, closes)
    found[f"fused bf16 {most} False False"] = fused("bf16", most, False, False)
    found["fused fp16 5 True True"] = fused("fp16", 5, True, True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
