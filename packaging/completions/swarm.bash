# bash: /usr/share/bash-completion/completions/swarm, or "source" it in ~/.bashrc
complete -o default -o bashdefault -C swarm swarm
