"""README.md from nbs/index.ipynb: text as it is, code as code, text outputs below it; hidden cells left out."""
import json
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent


def render(notebook: Path) -> str:
    "The Markdown of a notebook."
    blocks = ["<!-- Written from nbs/index.ipynb by `make readme`: edit that notebook, not this file. -->"]
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if source.startswith("#| hide"): continue
        if cell["cell_type"] == "markdown":
            blocks.append(source)
            continue
        blocks.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            text = "".join(output.get("text", output.get("data", {}).get("text/plain", [])))
            if text and "image/png" not in output.get("data", {}):
                blocks.append("\n".join("    " + line for line in text.rstrip().splitlines()))
    text = "\n\n".join(blocks) + "\n"
    return re.sub(r"\]\((images/[^)]+|[\w/]+\.ipynb)\)", r"](nbs/\1)", text)  # links as seen from the root


def main() -> int:
    (root / "README.md").write_text(render(root / "nbs" / "index.ipynb"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
