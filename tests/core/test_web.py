"""Small parts of pages that Python draws."""

import json
from pathlib import Path

import pytest

from backend.core import web


def build(folder: Path, **files: str) -> None:
    (folder / "manifest.json").write_text(json.dumps({"icons.svg": files["icons"]}))


def test_a_running_server_follows_a_new_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "DIST", tmp_path)
    monkeypatch.setattr(web, "FOLLOW_BUILD_SECONDS", 1e-9)
    build(tmp_path, icons="icons-1.svg")
    assert web.asset("icons.svg") == "/static/icons-1.svg"
    assert 'href="/static/icons-1.svg#film"' in web.icon("film")
    build(tmp_path, icons="icons-2.svg")
    assert web.asset("icons.svg") == "/static/icons-2.svg"
    assert 'href="/static/icons-2.svg#film"' in web.icon("film")
    assert web.asset("unknown.js") == "/static/unknown.js"


def test_an_icon_is_markup_and_its_name_is_not() -> None:
    assert web.icon('"><b>').count("<") == 4
    assert web.templates().from_string("{{ icon('film') }}").render() == web.icon("film")
