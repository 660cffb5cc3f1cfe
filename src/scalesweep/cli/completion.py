"""The command `completion`: a script by which a shell completes the words of all commands, written from their declarations.

The script holds everything itself and starts no program, so that an answer takes milliseconds; what is in `configs/` of the
working directory it looks up.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

from scalesweep.cli.command import Command, Given
from scalesweep.errors import EXIT_OK, SpecError
from scalesweep.settings.compose import config_dir
from scalesweep.settings.keys import keys
from scalesweep.settings.own import CONFIG_DIR, HERE, group_names
from scalesweep.version import __version__

SHELLS = ("bash", "zsh")
_WITHOUT_GROUP = ("dir", "count", "budget", "store", "cost")
"""Sections of settings without options, which every command that composes a sweep has."""
_OF_READERS = ("count",)
"""The same of commands that read what was measured."""
_WORD = re.compile(r"[a-z0-9_:]*[a-z][a-z0-9_:]*")
"""A value that a metavar names, not one that it stands for."""

_PATH = re.compile(r"\bDIR\b|POINTS|FILE|\.json")
"""What stands for a file or a directory in a command's usage."""

_LISTS = """# Completion for {shell}, of scalesweep {version}: scalesweep completion {shell}
_scalesweep_commands='{commands}'
_scalesweep_paths=' {paths} '  # commands whose words may be files or directories

_scalesweep_names() {{  # the options, groups and sections of a command
    case $1 in
{names}
    esac
}}

_scalesweep_keys() {{  # the settings of a section
    case $1 in
{keys}
    esac
}}

_scalesweep_values() {{  # of the option or setting $2 of the command $1
    case "$1 $2" in
{options}
    esac
    case $2 in
{values}
    esac
    [ -d "{here}/$2" ] && (cd "{here}/$2" && for file in *.yaml; do [ -f "$file" ] && printf '%s\\n' "${{file%.yaml}}"; done)
}}

_scalesweep_candidates() {{  # what the word $2 of the command $1, behind the word $3, may become, one a line
    local key prefix='' value
    case $3 in
        {flags}|--*=*) ;;
        --*) _scalesweep_values "$1" "$3"; return ;;
    esac
    case $2 in
        *=*)
            key=${{2%%=*}}
            for value in $(_scalesweep_values "$1" "$key"); do printf '%s=%s\\n' "$key" "$value"; done ;;
        *.*)
            case $2 in sweep.axes.*|sweep.tune.*) prefix=sweep.${{2#sweep.}}; prefix=${{prefix%"${{2#sweep.????.}}"}} ;; esac
            key=${{2#"$prefix"}}
            case $key in
                *.*) for value in $(_scalesweep_keys "${{key%%.*}}"); do printf '%s%s\\n' "$prefix" "$value"; done ;;
                *) _scalesweep_keys sweep; for value in {tuned}; do printf '%s%s.\\n' "$prefix" "$value"; done ;;
            esac ;;
        *)
            for value in $(_scalesweep_names "$1"); do printf '%s\\n' "$value"; done ;;
    esac
}}
"""
_BASH = """
_scalesweep() {
    local line=${COMP_LINE:0:${COMP_POINT:-0}} word cur command option kept='' candidate
    if [ -z "$line" ]; then  # a caller that gives words alone, which are split at =
        for word in "${COMP_WORDS[@]:0:COMP_CWORD + 1}"; do
            case $word in =*) line+=$word ;; *) case $line in *=) line+=$word ;; *) line+=" $word" ;; esac ;; esac
        done
        line=${line# }
    fi
    cur=${line##*[[:space:]]}
    option=${line%"$cur"}
    option=${option%"${option##*[^[:space:]]}"}
    option=${option##*[[:space:]]}
    read -r _ command _ <<< "$line"
    case $line in *[[:space:]]*[[:space:]]*) ;; *) command='' ;; esac
    [[ $COMP_WORDBREAKS == *=* && $cur == *=* ]] && kept=${cur%"${cur##*=}"}
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ $candidate == "$cur"* ]] && COMPREPLY+=("${candidate#"$kept"}")
    done < <(
        if [ -z "$command" ]; then printf '%s\\n' $_scalesweep_commands
        else _scalesweep_candidates "$command" "$cur" "$option"; fi
    )
    if [[ $cur != *=* && $_scalesweep_paths == *" $command "* ]]; then
        while IFS= read -r candidate; do
            if [ -d "$candidate" ]; then COMPREPLY+=("$candidate/"); else COMPREPLY+=("$candidate"); fi
        done < <(compgen -f -- "$cur")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace 2> /dev/null
    return 0
}
complete -o default -F _scalesweep scalesweep
"""
_ZSH = """
_scalesweep() {
    local -a found open closed
    if (( CURRENT == 2 )); then
        compadd -- ${=_scalesweep_commands}
        return
    fi
    found=("${(@f)$(_scalesweep_candidates "${words[2]}" "$PREFIX" "${words[CURRENT-1]}")}")
    open=(${(M)found:#*[=.]})
    closed=(${found:#*[=.]})
    (( ${#open} )) && compadd -S '' -- $open
    (( ${#closed} )) && compadd -- $closed
    [[ $PREFIX == *=* ]] && compset -P '*=' || [[ $_scalesweep_paths == *" ${words[2]} "* ]] || return 0
    _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _scalesweep scalesweep
"""


def completion(given: Given) -> int:
    """Print the script."""
    from scalesweep.cli import NAMES, load_command

    shell = given.words[0]
    if shell not in SHELLS:
        raise SpecError(f"completion knows {' and '.join(SHELLS)}, not {shell!r}.")
    print(script(shell, [load_command(name) for name in NAMES]), end="")
    return EXIT_OK


def script(shell: str, commands: Iterable[Command]) -> str:
    """The script that completes these commands in a shell."""
    declared = list(commands)
    groups = {group: sorted(path.stem for path in (config_dir() / group).glob("*.yaml")) for group in group_names(config_dir())}
    settings = dict(keys())
    sections: dict[str, list[str]] = {}
    for key in settings:
        sections.setdefault(key.partition(".")[0], []).append(key)
    choices = {
        f"{command.name} {option.name}": list(_named(option.metavar))
        for command in declared
        for option in command.options or ()
    }
    lists = _LISTS.format(
        shell=shell,
        version=__version__,
        here=HERE,
        commands=" ".join(command.name for command in declared),
        paths=" ".join(command.name for command in declared if _PATH.search(command.usage)),
        flags="|".join(sorted({o.name for command in declared for o in command.options or () if not o.metavar})),
        names=_cases({command.name: _names(command, sections) for command in declared}),
        keys=_cases({section: [f"{key}=" for key in inner] for section, inner in sections.items()}),
        options=_cases(choices),
        values=_cases(groups | {key: list(words) for key, words in settings.items()}),
        tuned="recipe model optim train data",
    )
    return lists + (_BASH if shell == "bash" else _ZSH)


def _names(command: Command, sections: Mapping[str, list[str]]) -> Iterator[str]:
    """What a word of a command may begin with: its subjects, options, groups, and sections of settings."""
    yield from command.subjects
    for option in command.options or ():
        if option.about:
            yield f"{option.name}=" if option.metavar and not option.name.startswith("--") else option.name
    if not command.groups:
        return
    yield CONFIG_DIR
    yield from (f"{group}=" for group in command.groups)
    for section in (*command.groups, *(_WITHOUT_GROUP if "data" in command.groups else _OF_READERS)):
        yield f"{section}=" if sections.get(section) == [section] else f"{section}."


def _named(metavar: str) -> Iterator[str]:
    """The values that a metavar names, ladder|v_optimal, and not those that it stands for, such as FLOPs or FILE.svg|.pdf."""
    words = metavar.split("|")
    return (word for word in words if len(words) > 1 and _WORD.fullmatch(word))


def _cases(lists: Mapping[str, Iterable[str]]) -> str:
    """Lines of a shell's `case`, each of which prints a list."""
    found = {name: list(words) for name, words in lists.items()}
    return "\n".join(f"        {shlex.quote(n)}) printf '%s\\n' {shlex.join(words)} ;;" for n, words in found.items() if words)


COMMANDS = (
    Command(
        "completion",
        about="Print a script by which bash or zsh completes commands, options, groups and settings.",
        usage="bash|zsh",
        run=completion,
        examples=(
            "scalesweep completion bash",
            "scalesweep completion bash > ~/.local/share/bash-completion/completions/scalesweep",
            "scalesweep completion zsh > ~/.scalesweep.zsh    # and in ~/.zshrc: source ~/.scalesweep.zsh",
        ),
        takes="the name of a shell, bash or zsh",
        num_words=1,
        subjects=SHELLS,
    ),
)
