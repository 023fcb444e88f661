"""Renders an OpenAPI document as one HTML page that works offline (`make docs`).

render_api.py DOCUMENT PAGE
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
REDOC = ROOT / ".local" / "tools" / "redoc" / "redoc.standalone.js"

# The policy forbids all loading, so that the viewer does not fetch its maker's logo.
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data:; worker-src blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; }}
img[src^="https:"] {{ display: none; }}
</style>
</head>
<body>
<div id="page"></div>
<script>{viewer}</script>
<script>Redoc.init({document}, {options}, document.getElementById("page"));</script>
</body>
</html>
"""

OPTIONS = {
    "disableSearch": False,
    "expandResponses": "200,201",
    "nativeScrollbars": True,
    "requiredPropsFirst": True,
    "theme": {"typography": {"fontFamily": "sans-serif", "headings": {"fontFamily": "sans-serif"}}},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("document", type=Path)
    parser.add_argument("page", type=Path)
    arguments = parser.parse_args()
    page = arguments.page
    document = without_deployment(yaml.safe_load(arguments.document.read_text(encoding="utf-8")))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(
        PAGE.format(
            title=document["info"]["title"],
            viewer=REDOC.read_text(encoding="utf-8"),
            document=script(document),
            options=script(OPTIONS),
        ),
        encoding="utf-8",
    )
    print(f"Open {page} in a browser.")


def without_deployment(part):
    """The document without API Gateway's extensions, which callers do not need."""
    if isinstance(part, dict):
        kept = {name: value for name, value in part.items() if not str(name).startswith("x-amazon-apigateway-")}
        return {name: without_deployment(value) for name, value in kept.items()}
    return [without_deployment(item) for item in part] if isinstance(part, list) else part


def script(value: object) -> str:
    """A value as JavaScript that cannot end its script element."""
    return json.dumps(value).replace("<", "\\u003c")


if __name__ == "__main__":
    main()
