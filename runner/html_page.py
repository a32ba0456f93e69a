"""Pages of HTML that need nothing but themselves: what the reports of runs and of sweeps have in common."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.shown import printable

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


def html_page(template: str, *, styles: Sequence[str], scripts: Sequence[str] = (), **values: Any) -> str:
    """Return a page whose policy lets it load nothing but pictures within itself, and run no script but its own.

    Names and texts are escaped; the filter ``shown`` brings them into one line without control characters. The
    template gets ``policy`` (of its ``Content-Security-Policy``), ``style`` and ``script`` besides its *values*.

    Args:
        template: Name of the file in ``templates/``, as are the others.
        styles: Files that make up the one style element, rendered with *values*, too.
        scripts: Files that make up the one script element.
        **values: For the template.
    """
    from markupsafe import Markup

    environment = _environment()
    style = "".join(environment.get_template(name).render(values) for name in styles)
    script = "".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in scripts)
    return environment.get_template(template).render(
        values,
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - our own
        script=Markup(script),  # noqa: S704 - our own
    )


def compile_templates(*names: str) -> None:
    """Compile templates, which takes longer than to make a page of them, for all processes that are forked later."""
    for name in names:
        _environment().get_template(name)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return what compiles each template once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = printable
    return environment


def _policy(style: str, script: str) -> str:
    allowed = ["default-src 'none'", "img-src data:", f"style-src {_hash(style)}"]
    allowed += [f"script-src {_hash(script)}"] if script else []
    return "; ".join([*allowed, "base-uri 'none'", "form-action 'none'"])


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
