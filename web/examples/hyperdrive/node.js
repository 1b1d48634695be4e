// What page.js's bundle takes for globals of Node.
export { Buffer } from 'buffer/'
export { default as process } from 'process/browser'
