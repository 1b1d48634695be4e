// Reads a drive of the Dat network: its key, and the file to show, are behind the # of the page's address.
//
//   http://localhost:8000/?gateway=http://localhost:8080#dat://KEY/FILE
import hyperdrive from 'hyperdrive'
import ram from 'random-access-memory'
import DSS from 'swarmgate/discovery-swarm'

const gateway = new URLSearchParams(location.search).get('gateway') ?? 'http://localhost:8080'
const [, key, start] = location.hash.match(/^#(?:dat:\/\/)?([0-9a-f]{64})(\/.*)?$/i) ?? []
const $ = id => document.getElementById(id)
const wanted = () => decodeURIComponent(location.hash.split(key)[1] ?? '')

if (key) read()
else tell('bad', 'The address of this page lacks the drive: add #dat:// and its 64 digits')

/** Finds the drive's peers, and shows what it has, now and after each change. */
function read () {
  $('key').textContent = `dat://${key}`
  const drive = hyperdrive(ram, key, { sparse: true })
  const peers = new Set()
  const swarm = new DSS({ url: gateway, stream: () => drive.replicate({ live: true }) })
  let trouble // with the gateway

  function state () {
    if (trouble) tell('bad', `No connection to ${gateway}: ${trouble.message}`)
    else if (peers.size) tell('good', `Live: ${peers.size === 1 ? '1 peer' : `${peers.size} peers`}, version ${drive.version}`)
    else tell('wait', drive.version ? `No peer at the moment, version ${drive.version}` : 'Looking for a peer')
  }
  swarm.on('connection', stream => {
    trouble = undefined
    peers.add(stream)
    stream.on('close', () => {
      peers.delete(stream)
      state()
    })
    state()
  })
  for (const event of ['error', 'disconnected']) { // after the latter it tries again by itself
    swarm.on(event, err => {
      trouble = err
      state()
    })
  }
  swarm.on('status', () => { // of a gateway that is there
    trouble = undefined
    state()
  })
  drive.on('error', err => tell('bad', err.message))
  drive.ready(() => swarm.join(drive.discoveryKey))

  const update = oneAtATime(async () => {
    state()
    if (!drive.version) return // nothing has come yet
    list(await walk(drive, '/'))
    await show(drive, wanted())
  })
  drive.on('update', update)
  addEventListener('hashchange', update)
  if (!start) history.replaceState(null, '', `#dat://${key}/readme.md`)
  state()
}

/** Says how it is going. */
function tell (how, text) {
  $('state').className = how
  $('state').textContent = text
}

/** Returns the files below a folder, as { path, size }. */
async function walk (drive, folder) {
  const files = []
  for (const name of (await call(drive, 'readdir', folder)).sort()) {
    const path = folder + name
    const stat = await call(drive, 'stat', path)
    if (stat.isDirectory()) files.push(...await walk(drive, `${path}/`))
    else files.push({ path, size: stat.size })
  }
  return files
}

/** Shows the list of files. */
function list (files) {
  $('files').replaceChildren(...files.map(({ path, size }) => {
    const link = document.createElement('a')
    link.href = `#dat://${key}${encodeURI(path)}`
    if (path === wanted()) link.ariaCurrent = 'page'
    const bytes = document.createElement('span')
    bytes.textContent = `${size.toLocaleString('en')} B`
    link.append(path.slice(1), bytes)
    const item = document.createElement('li')
    item.append(link)
    return item
  }))
}

/** Shows a file: a picture as such, text as text. */
async function show (drive, path) {
  const bytes = await call(drive, 'readFile', path).catch(() => undefined)
  $('name').textContent = path || 'Choose a file'
  if (!bytes) {
    $('facts').textContent = path && 'There is no such file'
    $('content').replaceChildren()
    return
  }
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  $('facts').textContent = `${bytes.length.toLocaleString('en')} bytes, SHA-256 ${Array.from(sum, b => b.toString(16).padStart(2, '0')).join('')}`
  const picture = { svg: 'image/svg+xml', png: 'image/png', jpg: 'image/jpeg', gif: 'image/gif', webp: 'image/webp' }[path.split('.').at(-1)]
  const element = document.createElement(picture ? 'img' : 'pre')
  if (picture) {
    element.src = URL.createObjectURL(new Blob([bytes], { type: picture }))
    element.onload = () => URL.revokeObjectURL(element.src)
    element.alt = path
  } else element.textContent = new TextDecoder().decode(bytes)
  $('content').replaceChildren(element)
}

/** Calls a method that takes a callback. */
function call (object, method, ...args) {
  return new Promise((resolve, reject) => object[method](...args, (err, result) => err ? reject(err) : resolve(result)))
}

/** Returns a function that runs `work`, once more if it was called meanwhile. */
function oneAtATime (work) {
  let running = false
  let again = false
  return async () => {
    again = true
    if (running) return
    running = true
    while (again) {
      again = false
      await work().catch(err => tell('bad', err.message))
    }
    running = false
  }
}
