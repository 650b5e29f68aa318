"""Completion in the shell: a few lines of script for each shell ask `rlgen __complete` for what may follow."""

from __future__ import annotations

import typing
from pathlib import Path

from rlgen.commands import main as cli
from rlgen.errors import UsageError
from rlgen.options import algorithms as registry
from rlgen.options import config
from rlgen.options.flags import POSITIONAL
from rlgen.runs import show as inspect_runs

SCRIPTS = {
    "bash": """\
# bash: source <(rlgen completion bash), or that line in ~/.bashrc
_rlgen() {
    local IFS=$'\\n'
    COMPREPLY=($(rlgen __complete "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null))
}
complete -o bashdefault -o default -F _rlgen rlgen""",
    "zsh": """\
#compdef rlgen
# zsh: source <(rlgen completion zsh) after compinit, or this file as _rlgen in a directory of $fpath
_rlgen() {
    local -a found
    found=("${(@f)$(rlgen __complete "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( $#found )); then compadd -a found; else _files; fi
}
if [[ $funcstack[1] == _rlgen ]]; then _rlgen "$@"; else compdef _rlgen rlgen; fi""",
    "fish": """\
# fish: rlgen completion fish > ~/.config/fish/completions/rlgen.fish
function __rlgen
    set -l last (commandline -ct)
    set -l found (rlgen __complete (commandline -opc) "$last" 2>/dev/null | string match -r '.+')
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path "$last"
    end
end
complete -c rlgen -f -a '(__rlgen)'""",
}


def candidates(words: list[str]) -> list[str]:
    """What may stand for the last word; nothing means a file or free text.

    Args:
        words: of the line up to the cursor, `rlgen` first; the last one is what is typed of it so far, maybe "".
    """
    before, current, prefix = [word for word in words[1:-1] if word != "="], words[-1] if words[1:] else "", ""
    current = "" if current == "=" else current  # bash splits `--flag=value` in three
    if current.startswith("--") and "=" in current:  # zsh and fish do not
        flag, _, current = current.partition("=")
        before, prefix = [*before, flag], f"{flag}="
    try:
        found = _candidates(before, current)
    except UsageError:  # an algorithm that there is not
        found = []
    return [prefix + word for word in found if word.startswith(current)]


def _candidates(before: list[str], current: str) -> list[str]:
    if not before:
        return ["train", *cli.COMMANDS, "--help", "--version"]
    command, *rest = before
    algorithm = None
    if command == "train":
        if not rest:
            return [*registry.names(), "--help"]
        algorithm = registry.find(rest.pop(0))
        options = cli._options(cli.Train) | config.options(algorithm)
    elif command in cli.COMMANDS:
        options = cli._options(cli.COMMANDS[command][0])
    else:
        return []

    waiting, positional, runs_dir = None, [], "runs"  # waiting: the option whose value comes next
    for word in rest:
        if word.startswith("--"):
            flag, equals, value = word[2:].partition("=")
            option = options.get(flag.replace("-", "_"))
            waiting = option if option and option.type is not bool and not equals else None
            runs_dir = value if flag == "runs-dir" and equals else runs_dir
        elif waiting:
            runs_dir = word if waiting.name == "runs_dir" else runs_dir
            waiting = None
        else:
            positional.append(word)
    flags = [f"--{name.replace('_', '-')}" for name in options if name not in POSITIONAL]
    if not waiting:
        slots = [option for name, option in options.items() if name in POSITIONAL]
        many = bool(slots) and typing.get_origin(slots[-1].type) is tuple
        if current.startswith("-") or (len(positional) >= len(slots) and not many):
            return [*flags, "--help"]
        waiting = slots[min(len(positional), len(slots) - 1)]
    if waiting.name == "run":
        found = sorted(path.parent.name for path in Path(runs_dir).glob("*/config.json"))
        return [*found, "last"] if found else []
    if waiting.name == "sort":
        return list(inspect_runs.COLUMNS)
    if algorithm and waiting.name in ("env", "data"):
        from rlgen.data import load as datasets

        named = [name for name, _, _ in datasets.known()] if waiting.name == "data" else []
        return list(dict.fromkeys([*named, *config.presets(algorithm), *_default(waiting.default)]))
    return [str(choice) for choice in typing.get_args(waiting.type) if isinstance(choice, str)]


def _default(value: object) -> list[str]:
    return [value] if isinstance(value, str) else []
