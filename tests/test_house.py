"""The architecture: who may know whom, which file is tested where, and what the pages must name."""

import ast
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

import rails
from proxy.cli import app
from proxy.config import Config
from proxy.policy import docs

ROOT = Path(__file__).parents[1]
FILES = {  # module -> its file
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("proxy", "rails")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def matches(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@cache
def imports(module):
    """Every module that `module` imports, anywhere in its file; what it takes from a package counts as the package's."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & FILES.keys() or {node.module}
    return found


# -- who may import whom -----------------------------------------------------------------------------------------------

OURS = ("proxy", "proxy.*", "rails", "rails.*")
ONLY = {  # module -> the only ones of ours that it may import
    "proxy.spelling": (),
    "proxy.text": ("proxy.spelling",),
    "proxy.phrases": ("proxy.text",),
    "proxy.faults": (),
    "proxy.turn": ("proxy.text", "proxy.phrases", "proxy.faults"),
    "rails": (),
    "rails.*": ("proxy.turn", "rails._*"),
    "proxy.segments": ("proxy.turn",),
    "proxy.redact": ("proxy.turn",),
    "proxy.merge": ("proxy.turn", "proxy.redact"),
    "proxy.memo": ("proxy.turn",),
    "proxy.reading": ("proxy.turn", "proxy.memo", "proxy.wire.escapes"),
    "proxy.judged": ("proxy.turn", "proxy.merge", "proxy.redact", "proxy.policy.model"),
    "proxy.line": (
        "proxy.turn",
        "proxy.reading",
        "proxy.judged",
        "proxy.memo",
        "proxy.merge",
        "proxy.redact",
        "proxy.vault",
        "proxy.policy.model",
    ),
    "proxy.vault": ("proxy.turn", "proxy.text", "proxy.redact", "proxy.policy.schema", "proxy.policy.model"),
    "proxy.retry": ("proxy.judged", "proxy.policy.schema", "proxy.turn"),
    "proxy.judge": ("proxy.turn", "proxy.line", "proxy.wire.events"),
    "proxy.settings": ("proxy.faults",),
    "proxy.judging": (
        "proxy.wire.escapes",
        "proxy.turn",
        "proxy.line",
        "proxy.judged",
        "proxy.redact",
        "proxy.segments",
    ),
    "proxy.thoughts": ("proxy.beside",),
    "proxy.answer": (
        "proxy.turn",
        "proxy.line",
        "proxy.judged",
        "proxy.segments",
        "proxy.beside",
        "proxy.judging",
        "proxy.retry",
        "proxy.thoughts",
    ),
    "proxy.structured": (
        "proxy.wire.escapes",
        "proxy.text",
        "proxy.turn",
        "proxy.line",
        "proxy.judged",
        "proxy.answer",
        "proxy.judging",
        "proxy.segments",
    ),
    "proxy.beside": ("proxy.turn", "proxy.line", "proxy.judged", "proxy.judging", "proxy.segments"),
    "proxy.document": ("proxy.judged", "proxy.line", "proxy.answer", "proxy.structured"),
    "proxy.calls": ("proxy.line", "proxy.answer", "proxy.structured", "proxy.wire.*"),
    "proxy.wire.*": ("proxy.text", "proxy.turn", "proxy.answer", "proxy.policy.schema", "proxy.wire.*"),
    "proxy.backends.*": ("proxy.turn", "proxy.wire", "proxy.wire.*", "proxy.backends._*"),
}
OUTSIDE = {  # what reaches over the border of the process -> who may import it
    "starlette": (
        "proxy.app",
        "proxy.entry",
        "proxy.errors",
        "proxy.watched",
        "proxy.embed",
        "proxy.serve",
        "proxy.backends.scripted",
        "proxy.reply",
    ),
    "uvicorn": ("proxy.serve", "proxy.backends.scripted"),
    "uvloop": ("proxy.serve",),
    "httpx": ("proxy.backends.*", "proxy.contact"),
    "httpx_aiohttp": ("proxy.backends.*",),
    "aiohttp": ("proxy.backends.*",),
    "redis": (
        "proxy.store",
        "proxy.embedded",
        "proxy.sessions",
        "proxy.audit",
        "proxy.limits",
        "proxy.kept",
        "proxy.call",
        "proxy.app",
        "proxy.alerts",
        "proxy.record",
    ),
    "socket": ("proxy.serve",),
    "subprocess": ("proxy.embedded",),
    "http": ("proxy.backends.*",),
    "urllib": ("proxy.store", "proxy.access", "proxy.keyring"),
    "requests": (),
    "ssl": (),
    "ftplib": (),
    "smtplib": (),
    "socketserver": (),
    "multiprocessing": (),
    "proxy.backends": ("proxy.services", "proxy.cli"),
    "proxy.store": (
        "proxy.app",
        "proxy.chat",
        "proxy.errors",
        "proxy.record",
        "proxy.services",
        "proxy.sessions",
        "proxy.audit",
        "proxy.access",
        "proxy.keyring",
        "proxy.limits",
        "proxy.kept",
        "proxy.alerts",
        "proxy.alerts_cli",
        "proxy.contact",
    ),
    "proxy.embedded": ("proxy.store", "proxy.serve", "proxy.keyring"),
    "rails": ("proxy.policy.*",),
    "nemoguardrails": ("rails._colang.nemo", "rails._colang.expressions", "rails._colang.model"),
    "watchfiles": ("proxy.reload",),
}


@pytest.mark.parametrize("module", [module for module in FILES if matches(module, ONLY)])
def test_a_room_knows_only_its_own(module):
    allowed = [one for pattern, known in ONLY.items() if fnmatchcase(module, pattern) for one in known]
    strangers = {one for one in imports(module) if matches(one, OURS) and not matches(one, allowed)}
    assert not strangers, f"{module} may import of ours only {', '.join(allowed) or 'nothing'}"


@pytest.mark.parametrize("border", OUTSIDE)
def test_few_reach_outside(border):
    inside = {module for module in FILES if not matches(module, [*OUTSIDE[border], border, f"{border}.*"])}
    who = {module for module in inside if any(matches(one, [border, f"{border}.*"]) for one in imports(module))}
    assert not who, f"{border} is only for {', '.join(OUTSIDE[border]) or 'nobody'}"


def test_the_rules_are_about_what_there_is():
    patterns = {*ONLY, *(one for known in [*ONLY.values(), *OUTSIDE.values()] for one in known)}
    assert [pattern for pattern in patterns if not any(fnmatchcase(module, pattern) for module in FILES)] == []


def test_a_stranger_would_be_seen(tmp_path, monkeypatch):
    path = tmp_path / "x.py"
    path.write_text(
        "def f():\n    from proxy.backends import openai\n    from proxy import line, nothing\n    import redis.asyncio\n"
    )
    monkeypatch.setitem(FILES, "rails.x", path)
    assert imports("rails.x") == {"proxy.backends.openai", "proxy.line", "redis.asyncio"}


# -- the mirror, the sizes ---------------------------------------------------------------------------------------------

ELSEWHERE = {  # modules without a test file of their name -> where they are tested, and why there
    "proxy.errors": "tests/proxy/test_app.py",  # every error is seen at the door
    "proxy.watched": "tests/proxy/test_app.py",  # clients that go are seen there
    "proxy.answer": "tests/proxy/test_line.py",  # the line's laws are laws of whole answers
    "proxy.reading": "tests/proxy/test_hearing.py",  # what is heard shows in what the rails say of it
    "proxy.judged": "tests/proxy/test_line.py",  # what the line comes to
    "proxy.policy.bind": "tests/proxy/policy/test_load.py",  # rails are built as a policy is loaded
    "proxy.policy.docs": "tests/proxy/policy/test_policy_docs.py",  # the page is read under its own name
    "proxy.policy.marks": "tests/proxy/policy/test_load.py",  # places and `extends` show in a loaded policy's faults
    "proxy.policy.typed": "tests/proxy/policy/test_check.py",  # its faults are those that `check` shows
    "proxy.policy.schema": "tests/proxy/policy/test_check.py",  # types; what they refuse is what `check` refuses
    "proxy.policy.model": "tests/proxy/policy/test_load.py",  # the record that loading makes
    "proxy.policy.report": "tests/proxy/test_cli.py",  # the words of the command line
    "proxy.services": "tests/proxy/test_serve.py",  # opened and closed with the process
}
TESTED = [
    module
    for module, path in FILES.items()
    if path.name != "__init__.py" and "._" not in module and module not in ELSEWHERE
]


@pytest.mark.parametrize("module", TESTED)
def test_every_module_has_a_test_of_its_name(module):
    *folders, name = module.split(".")
    assert (ROOT / "tests" / Path(*folders) / f"test_{name}.py").is_file()


def test_the_exceptions_are_still_exceptions():
    assert [module for module in ELSEWHERE if module not in FILES] == []
    assert [test for test in ELSEWHERE.values() if not (ROOT / test).is_file()] == []


def test_no_file_is_long():
    paths = [path for folder in ("proxy", "rails", "tests") for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


# -- the pages ---------------------------------------------------------------------------------------------------------


def test_the_page_on_rails_is_what_the_rails_say():
    page = ROOT / "docs/rails.md"
    assert docs.main(["--check", str(page)]) == 0
    text = page.read_text("utf-8")
    named = {name: [f"`{option}`" for option in rails.load(name).RailOptions.model_fields] for name in rails.names()}
    assert [name for name in named if f"\n## {name}\n" not in text] == []
    assert [(name, option) for name, options in named.items() for option in options if option not in text] == []


SET_ELSEWHERE = {  # by the tests' own targets and docker-compose.yml
    "KINDRAIL_VLLM_VENV", "KINDRAIL_MODEL", "KINDRAIL_CLIENTS", "KINDRAIL_OPENAI_SPEC", "KINDRAIL_SHARED",
    "KINDRAIL_CONFIG",  # the command line's own: where the others are
}  # fmt: skip


def pages():
    return "\n".join(path.read_text("utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])


def test_every_verb_is_named():
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(verbs) >= 5
    assert [verb for verb in verbs if not re.search(rf"\bkindrail {re.escape(verb)}\b", pages())] == []


def test_every_setting_is_named():
    names = [f"KINDRAIL_{field.upper()}" for field in Config.model_fields]
    assert [name for name in names if not re.search(rf"\b{name}\b", pages())] == []


def test_only_settings_that_there_are_are_named():
    known = {f"KINDRAIL_{field.upper()}" for field in Config.model_fields} | SET_ELSEWHERE
    assert set(re.findall(r"\bKINDRAIL_[A-Z_]+\b", pages())) - known == set()


def test_what_the_pages_point_to_is_there():
    links = [
        (path.relative_to(ROOT), link)
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", path.read_text("utf-8"))
        if not (path.parent / link).exists()
    ]
    assert links == []


# -- nothing of the machine it was written on --------------------------------------------------------------------------

NOT_OURS = {  # behind a colon a path is one inside a container, as in `volume:/root/.cache`
    "a path of somebody's machine": r"(?<![\w.~}:-])/(?:root|work|Users|home/\w+)/",
    "a package index": r"p[y]pi\.|python[h]osted|--(?:extra-)?index-url|--find-links|https?://[^\s\"')]*/simple\b",
}


def tracked():
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, or git is not installed: which files are tracked is unknown")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("what", NOT_OURS)
def test_no_tracked_file_has(what):
    found = []
    for path in tracked():
        if path == Path(__file__).resolve():
            continue  # the patterns themselves
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), start=1):
            if re.search(NOT_OURS[what], line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert found == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (f"cd {'/'}root/x", "a path of somebody's machine"),
        ('open("/home/tom/x")', "a path of somebody's machine"),
        ("https://index.example/simple/redis", "a package index"),
        ("pip install --index-url x", "a package index"),
        ("see ./work/x, a/root/b, ~/work/, ${HOME}/work/ and cache:/root/.cache", None),
        ("a simple https://example.org/page", None),
    ],
)
def test_the_patterns_find_what_they_name(line, what):
    assert [name for name, pattern in NOT_OURS.items() if re.search(pattern, line)] == ([what] if what else [])


def test_the_server_is_not_loaded_before_it_is_wanted():
    """`kindrail check` stays quick: the heavy libraries come with `serve` alone."""
    look = "import sys, proxy.cli; print(*[name for name in ('uvicorn', 'redis', 'aiohttp', 'presidio_analyzer') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
