# fish: /usr/share/fish/vendor_completions.d/swarmgate.fish, or ~/.config/fish/completions/swarmgate.fish
function __complete_swarmgate
    set -lx COMP_LINE (commandline -cp)
    test -z (commandline -ct)
    and set COMP_LINE "$COMP_LINE "
    swarmgate
end
complete -f -c swarmgate -a "(__complete_swarmgate)"
