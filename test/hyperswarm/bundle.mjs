// Prints page.js with all that it imports.
import { fileURLToPath } from 'node:url'
import { bundle } from '../../web/examples/hyperswarm/build.js'

process.stdout.write(await bundle(fileURLToPath(new URL('page.js', import.meta.url))))
