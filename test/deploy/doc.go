// Package deploy tries what operators install: shell completions, manual pages, the systemd unit
// and the examples of deploy/. With the tag "packages" (make packages) it also installs the Debian
// package in a machine of its own and starts the image.
package deploy
