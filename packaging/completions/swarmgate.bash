# bash: /usr/share/bash-completion/completions/swarmgate, or "source" it in ~/.bashrc
complete -o default -o bashdefault -C swarmgate swarmgate
