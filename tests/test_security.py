import ast
from pathlib import Path

import scalesweep

SOURCES = sorted(Path(scalesweep.__file__).parent.rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec"}


def calls(source: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


def faults(source: Path) -> list[str]:
    """What in a file could run what it reads, one line each."""
    found = []
    for node in ast.walk(ast.parse(source.read_text())):
        imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"imports {name}" for name in imported if name.partition(".")[0] in FORBIDDEN_MODULES]
    for call in calls(source):
        options = {k.arg: ast.unparse(k.value) for k in call.keywords}
        name = name_of(call)
        if (
            name in FORBIDDEN_CALLS
            or (name == "torch.load" and options.get("weights_only") != "True")
            or (name in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False")
            or name.endswith(("read_pickle", "yaml.load", "yaml.unsafe_load"))
            or options.get("shell") == "True"
        ):
            found.append(ast.unparse(call))
    return [f"{source.name}: {fault}" for fault in found]


def test_nothing_that_is_read_is_executed() -> None:
    assert not [fault for source in SOURCES for fault in faults(source)]


def test_the_scan_sees_what_it_looks_for() -> None:
    assert any(name_of(call) == "torch.load" for source in SOURCES for call in calls(source))
