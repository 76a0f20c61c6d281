#!/usr/bin/env python3
"""Executes a notebook and checks that every cell ran and that it drew so many plots."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main() -> int:
    path, plots = Path(sys.argv[1]), int(sys.argv[2])
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), f"{path.name} is kept without outputs"
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    drawn = sum("image/png" in output.get("data", {}) for output in outputs)
    assert drawn == plots, f"{drawn} plots, not {plots}"
    print(f"{path.name}: {len(notebook.cells)} cells, {drawn} plots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
