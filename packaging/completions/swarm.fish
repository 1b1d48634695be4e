# fish: /usr/share/fish/vendor_completions.d/swarm.fish, or ~/.config/fish/completions/swarm.fish
function __complete_swarm
    set -lx COMP_LINE (commandline -cp)
    test -z (commandline -ct)
    and set COMP_LINE "$COMP_LINE "
    swarm
end
complete -f -c swarm -a "(__complete_swarm)"
