import { createRequire } from 'node:module'

/** Finds the packages of the example. */
export const require = createRequire(new URL('../../web/examples/hyperswarm/package.json', import.meta.url))
