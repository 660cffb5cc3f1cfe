"""The completion scripts, in real shells."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from scalesweep.cli import NAMES, load_command, main
from scalesweep.cli.completion import script
from scalesweep.settings.compose import compose_settings
from scalesweep.settings.keys import keys

BASH = shutil.which("bash")
CASES = {
    "scalesweep ": set(NAMES),
    "scalesweep re": {"resume", "retry", "report"},
    "scalesweep run sw": {"sweep=", "sweep."},
    "scalesweep run sweep=": {"demo", "smoke", "kaplan_small", "chinchilla_small", "tuned_small", "mine"},
    "scalesweep run my.yaml recipe.lr": {
        *("recipe.lr=", "recipe.lr_law.coefficient=", "recipe.lr_law.n_exponent=", "recipe.lr_law.d_exponent=")
    },
    "scalesweep run recipe.parametrisation=": {"completep", "mup", "sp"},
    "scalesweep run train.fast=t": {"true"},
    "scalesweep run sweep.axes.recipe.warmup_s": {"sweep.axes.recipe.warmup_steps="},
    "scalesweep run sweep.tune.recipe.base_w": {"sweep.tune.recipe.base_width="},
    "scalesweep run --e": {"--extend"},
    "scalesweep run my": {"my.yaml"},
    "scalesweep run launcher.na": set(),
    "scalesweep run dir=ru": set(),  # which bash itself completes to a path
    "scalesweep next runs/a method=": {"ladder", "v_optimal"},
    "scalesweep fit co": {"count.", "configs/"},
    "scalesweep status ": {"--watch", "--json", "--health", "my.yaml", "configs/", "runs/"},
    "scalesweep worker runs/a --device c": {"cpu", "cuda", "configs/"},
    "scalesweep plot isof": {"isoflops"},
    "scalesweep check t": {"transfer", "train=", "train.", "tokens=", "trust="},
    "scalesweep study a": {"all", "algorithms", "artefacts"},
    "scalesweep completion ": {"bash", "zsh"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with runs, a sweep file, a preset of one's own, and the scripts beside it."""
    here = tmp_path_factory.mktemp("here")
    for name in ("bash", "zsh"):
        (here.parent / f"scalesweep.{name}").write_text(script(name, map(load_command, NAMES)))
    (here / "runs" / "a").mkdir(parents=True)
    (here / "configs" / "sweep").mkdir(parents=True)
    (here / "configs" / "sweep" / "mine.yaml").touch()
    (here / "my.yaml").touch()
    return here


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_bash_completes_every_kind_of_word(place: Path) -> None:
    program = "source ../scalesweep.bash\n" + "".join(
        f"COMP_LINE='{line}' COMP_POINT={len(line)}; _scalesweep; printf '%s ' \"${{COMPREPLY[@]}}\"; echo\n" for line in CASES
    )
    done = subprocess.run(["bash", "--norc", "-c", program], cwd=place, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert dict(zip(CASES, map(set, map(str.split, done.stdout.splitlines())), strict=True)) == CASES


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_bash_completes_words_that_a_caller_has_split(place: Path) -> None:
    program = (
        "source ../scalesweep.bash; COMP_WORDS=(scalesweep run sweep = sm) COMP_CWORD=4; _scalesweep; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "--norc", "-c", program], cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout == "smoke\n"


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_a_tab_at_a_prompt_completes_in_place(place: Path) -> None:
    leader, follower = pty.openpty()
    typed = "source ../scalesweep.bash\nscalesweep run sweep=mi\t recipe.parametri\tmu\t"
    command = ["bash", "--norc", "--noprofile", "-i"]
    environment = {**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null"}
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, cwd=place, env=environment) as shell:
        os.close(follower)
        os.write(leader, typed.encode())
        text, end = "", time.monotonic() + 60
        while "sweep=mine" not in text or "parametrisation=mup" not in text:
            assert time.monotonic() < end, text
            if select.select([leader], [], [], 1)[0]:
                text += os.read(leader, 65536).decode()
        shell.kill()
    os.close(leader)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_the_same_lists(place: Path) -> None:
    lists = "_scalesweep_candidates run sweep= ''; _scalesweep_keys fit"
    program = f"function compdef {{ :; }}; source ../scalesweep.zsh; {lists}"
    done = subprocess.run(["zsh", "-f", "-c", program], cwd=place, capture_output=True, text=True, check=True)
    assert {"sweep=mine", "sweep=demo", "fit.bootstrap="} <= set(done.stdout.split())


def test_every_key_that_is_completed_is_a_setting() -> None:
    settings = compose_settings([]).model_dump(mode="json")
    known = dict(keys())
    assert {"sweep.sizes", "recipe.lr", "data.tokenizer.kind", "launcher.retries.lost", "dir"} <= set(known)
    assert not {"recipe.name", "launcher.name"} & set(known)
    for name, table in settings.items():
        for inner, value in table.items() if isinstance(table, dict) else ():
            if not isinstance(value, dict) and value is not None:
                assert f"{name}.{inner}" in known or inner in ("name", "kind", "source")
    assert known["train.fast"] == ("true", "false") and known["recipe.parametrisation"] == ("completep", "mup", "sp")


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 2
    assert "completion knows bash and zsh, not 'fish'" in capsys.readouterr().err
