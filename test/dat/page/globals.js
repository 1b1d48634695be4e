// The globals of Node that bundlers of their time gave to old programs.
export { Buffer } from 'buffer/index.js'
export { default as process } from 'process/browser.js'
