"""`rlgen completion SHELL`: a few lines of script for each shell, which ask `rlgen __complete` for what may follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class Options:
    """Print a script that completes commands, flags and run names: source <(rlgen completion bash)."""

    shell: Literal["bash", "zsh", "fish"]  # the shell it is for


def run(options: Options) -> str:
    """The script."""
    return SCRIPTS[options.shell]
