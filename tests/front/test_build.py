"""The built front end and its sources: nothing comes from elsewhere, nothing is inline, no registry is named."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "static" / "dist"
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))

#: Names that XML knows by an address: they are never fetched.
_NAMESPACES = re.compile(r"https?://www\.w3\.org/(?:2000/svg|1999/xhtml|1999/xlink|1998/Math/MathML)")


@pytest.fixture(scope="module")
def manifest() -> dict[str, str]:
    path = DIST / "manifest.json"
    assert path.exists(), "the front end is not built: npm ci --ignore-scripts && npm run build"
    found: dict[str, str] = json.loads(path.read_text())
    return found


def _built(*suffixes: str) -> list[Path]:
    return [path for path in DIST.iterdir() if path.suffix in suffixes]


def test_every_linked_file_is_built_and_its_name_holds_its_hash(manifest: dict[str, str]) -> None:
    for name, out in manifest.items():
        stem, suffix = Path(name).stem, Path(name).suffix
        assert (DIST / out).is_file(), name
        assert re.fullmatch(rf"{re.escape(stem)}-[0-9a-zA-Z]{{8,10}}{re.escape(suffix)}", out), out


def test_every_asset_a_template_names_is_in_the_manifest(manifest: dict[str, str]) -> None:
    named = {name for path in TEMPLATES for name in re.findall(r"asset\(['\"]([^'\"]+)['\"]\)", path.read_text())}
    assert named
    assert named <= manifest.keys()


def test_stylesheets_fetch_only_files_beside_them() -> None:
    for path in _built(".css"):
        text = path.read_text()
        assert "@import" not in text
        for url in re.findall(r"url\(\s*['\"]?([^'\")]+)", text):
            if not url.startswith("data:"):
                assert (DIST / url).is_file(), url


def test_scripts_import_and_fetch_nothing_from_elsewhere() -> None:
    imports = re.compile(r"(?:\bimport\s*\(?|\}\s*from)\s*['\"]([\w./@:-]+)['\"]")
    fetches = re.compile(r"(?:fetch|EventSource|WebSocket|Worker|open)\(\s*[^()]{0,40}?['\"`](?:https?|wss?):")
    for path in _built(".js"):
        text = _NAMESPACES.sub("", path.read_text())
        for target in imports.findall(text):
            assert target.startswith("./"), (path.name, target)
            assert (DIST / target).is_file(), (path.name, target)
        assert not fetches.search(text), path.name
        assert not re.search(r"(?:src|href)\s*=\s*['\"`]https?:", text), path.name


def test_icons_are_a_sprite_of_symbols_without_links() -> None:
    (sprite,) = DIST.glob("icons-*.svg")
    text = _NAMESPACES.sub("", sprite.read_text())
    assert "<symbol" in text
    assert not re.search(r"https?:|<script|<image|on\w+=", text)


class _Page(HTMLParser):
    """Collects what the content security policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "style":
            self.found.append("<style>")
        if tag == "script" and not values.get("src"):
            self.found.append("inline <script>")
        for name, value in attrs:
            if name == "style" or re.fullmatch(r"on[a-z]+|hx-on.*|hx-vars", name):
                self.found.append(f"{name} on <{tag}>")
            if name in ("src", "href", "action", "srcset", "poster") and re.match(r"\s*(?:https?:)?//", value or ""):
                self.found.append(f"{name}={value}")
            if re.match(r"\s*(?:javascript|js):", value or "", re.I):
                self.found.append(f"{name}={value}")


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_no_template_holds_what_the_content_policy_refuses(template: Path) -> None:
    page = _Page()
    # Tags of Jinja may hold quotes and angle brackets that an HTML parser takes for its own.
    page.feed(re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", "x", template.read_text(), flags=re.S))
    assert page.found == []


def test_the_lock_names_packages_and_hashes_but_no_registry() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        if name:
            assert package["integrity"].startswith("sha512-"), name
        # A platform's package that is missing here makes `npm ci` fail on every platform.
        for optional in package.get("optionalDependencies", {}):
            assert any(key.endswith(f"node_modules/{optional}") for key in lock["packages"]), (name, optional)
    assert "omit-lockfile-registry-resolved=true" in (ROOT / ".npmrc").read_text().splitlines()


def test_every_package_is_pinned_to_one_version() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    for name, version in {**package.get("dependencies", {}), **package.get("devDependencies", {})}.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
