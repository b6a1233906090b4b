"""Zero, in place, the device code of every architecture but sm_90 in shared libraries: xz then drops it.

The section .nv_fatbin holds fat binaries: a header (magic, version, header size u16, size u64) and entries, each with
its kind u16 (2: machine code), header size u32 at 4, payload size u64 at 8 and architecture u32 at 28. Headers stay.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

MAGIC, MACHINE_CODE, KEPT = 0xBA55ED50, 2, 90


def slim(path: Path) -> int:
    """Return how many bytes were zeroed; 0 where the library holds no device code."""
    sections = subprocess.run(["readelf", "-SW", str(path)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\.nv_fatbin\s+PROGBITS\s+\S+\s+([0-9a-f]+)\s+([0-9a-f]+)", sections)
    if not found:
        return 0
    start, size = (int(number, 16) for number in found.groups())
    data, place, zeroed = bytearray(path.read_bytes()), start, 0
    while place < start + size - 16:
        magic, _, header, length = struct.unpack_from("<IHHQ", data, place)
        if magic != MAGIC:
            place += 8
            continue
        entry, place = place + header, place + header + length
        while entry < place:
            kind, _, own_header, payload = struct.unpack_from("<HHIQ", data, entry)
            (architecture,) = struct.unpack_from("<I", data, entry + 28)
            if (kind, architecture) != (MACHINE_CODE, KEPT):
                data[entry + own_header : entry + own_header + payload] = bytes(payload)
                zeroed += payload
            entry += own_header + payload
    path.write_bytes(data)
    return zeroed


if __name__ == "__main__":
    total = sum(slim(Path(name)) for name in sys.argv[1:])
    print(f"{total / 1e6:.1f} MB of device code zeroed")
