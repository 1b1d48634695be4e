// Somebody with a console open, as the tests of the console see it.
import { isLostRace, newTab } from './launch.mjs'

const patience = { timeout: 120_000, polling: 100 }

/** Opens an empty page for somebody with that name. What the console would save as a file is kept in globalThis.saved. */
export async function visitor (browser, name) {
  const page = await newTab(browser)
  page.on('pageerror', e => { if (!isLostRace(String(e))) throw e })
  await page.evaluateOnNewDocument(name => {
    if (!location.protocol.startsWith('http')) return // the empty page before the console, which Firefox makes anew for its opener policy
    localStorage.setItem('swarmgate-console-name', name)
    const make = URL.createObjectURL
    URL.createObjectURL = blob => make.call(URL, globalThis.saved = blob)
    if ('showSaveFilePicker' in globalThis) { // the browser's private disk asks nobody
      globalThis.showSaveFilePicker = async ({ suggestedName }) => {
        const file = await (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true })
        globalThis.saved = file
        return file
      }
    }
  }, name)
  return page
}

/** Waits until a text is shown in what a selector finds. */
export const shows = (page, selector, text) => page.waitForFunction(
  (selector, text) => [...document.querySelectorAll(selector)].some(e => e.checkVisibility() && e.textContent.includes(text)), patience, selector, text
).catch(e => { throw new Error(`${selector} does not show ${text}: ${e.message}`) })

/** Returns the size and the SHA-256 of the file that was saved. */
export async function saved (page) {
  await page.waitForSelector('.file[data-state=done]', patience)
  return page.evaluate(async () => {
    const file = globalThis.saved instanceof Blob ? globalThis.saved : await globalThis.saved.getFile()
    const hash = await crypto.subtle.digest('SHA-256', await file.arrayBuffer())
    return { size: file.size, hash: Array.from(new Uint8Array(hash), x => x.toString(16).padStart(2, '0')).join('') }
  })
}
