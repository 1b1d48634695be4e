// Package web holds what a gateway gives to browsers, built by `make web` from the TypeScript
// beside it: the modules that pages import, and the console, a page for people. See [Dist].
package web

import "embed"

// Dist has the built files: swarmgate.js (the client module), websocket.js (which it loads
// to connect by WebSocket), messages.js, secret.js, console.html,
// console.js and console.css, in the folder dist. The console imports the module from /client.js,
// and reads the info document of the gateway that it came from.
//
//go:embed dist/swarmgate.js dist/websocket.js dist/messages.js dist/secret.js
//go:embed dist/console.html dist/console.js dist/console.css
var Dist embed.FS
