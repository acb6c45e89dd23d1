"""A run followed in the terminal."""

import sys
import time
from typing import Any

from engine.client import TERMINAL, Client


def follow(client: Client, run_id: str, quiet: bool) -> dict[str, Any]:
    """Wait for a run, with its progress on stderr unless `quiet`; the run as it ended."""
    shown = ""
    while (current := client.run(run_id))["state"] not in TERMINAL:
        progress = current["progress"]
        if progress and not quiet:
            eta = progress["eta_s"]
            text = f"{progress['stage']}: {100 * progress['done'] / progress['total']:.0f} %"
            text += f", {eta:.0f} s left" if eta else ""
            if text != shown:
                print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)
            shown = text
        time.sleep(0.3)
    if shown:
        print(file=sys.stderr)
    return current
