"""The child in which weights of unknown origin are read: `python -m engine.studies.smartclip.converting FILE LAYOUT TARGET`.

It prints JSON: {} when TARGET holds them as safetensors, or a refusal under "message".
"""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

SPARE_MEMORY, COPIES = 3 << 30, 8


def confine(size: int) -> None:
    """From here on: memory and what is written in proportion to the file, no core dumped."""
    in_use = Path("/proc/self/statm")
    if in_use.exists():
        pages = int(in_use.read_text().split()[0])
        limit = pages * resource.getpagesize() + COPIES * size + SPARE_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * size + (1 << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read(path: Path) -> dict[str, Any]:
    """Tensors by name. Files that can hold code are read as weights only. Raises ValueError."""
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict):
        raise ValueError("it holds no weights by name")
    return {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}


def convert(path: Path, layout: str, target: Path) -> None:
    """Write the weights of a file in OpenAI's layout, under a temporary name first. Raises ValueError."""
    from safetensors.torch import save_file

    from engine.studies.smartclip.clip_layout import to_openai

    temporary = target.with_suffix(f".{os.getpid()}")
    save_file(to_openai(read(path), layout), temporary)
    os.replace(temporary, target)


def main() -> None:
    path, layout, target = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    confine(path.stat().st_size)
    try:
        convert(path, layout, target)
    except Exception as error:
        brief = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        print(json.dumps({"message": f"{path.name} cannot be used: {brief}."}))
        return
    print("{}")


if __name__ == "__main__":
    main()
