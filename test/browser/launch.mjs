import puppeteer from 'puppeteer-core'

const PATIENCE = 600_000 // ms for what takes a second on a machine that is not busy

/**
 * Starts a headless "chromium" or "firefox" that keeps its files in `profile`, and asks nobody on the network. `options`
 * are further ones of puppeteer.
 */
export async function launch (name, profile, options) {
  const browser = await puppeteer.launch(name === 'firefox'
    ? {
        ...options,
        timeout: PATIENCE,
        browser: 'firefox',
        executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
        userDataDir: profile,
        headless: true,
        protocolTimeout: PATIENCE,
        extraPrefsFirefox: {
          'termsofuse.acceptedVersion': 999, 'termsofuse.bypassNotification': true,
          'browser.aboutwelcome.enabled': false, 'browser.startup.homepage_override.mstone': 'ignore',
          'datareporting.policy.dataSubmissionEnabled': false, 'app.normandy.enabled': false,
          'network.captive-portal-service.enabled': false, 'network.connectivity-service.enabled': false,
          'extensions.getAddons.cache.enabled': false, 'browser.safebrowsing.update.enabled': false
        }
      }
    : {
        ...options,
        timeout: PATIENCE,
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        userDataDir: profile,
        headless: true,
        protocolTimeout: PATIENCE,
        args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
          '--disable-component-update', '--disable-sync']
      })
  watch(browser, name)
  return browser
}

/** If a browser ends before it is closed, tells on stderr how, and the last that it said. */
function watch (browser, name) {
  const program = browser.process()
  let said = ''
  program.stderr.on('data', text => { said = (said + text).slice(-4096) })
  const tell = (status, signal) => console.error(`${name} has ended by itself, with ${signal ?? `status ${status}`}:\n${said}`)
  program.once('exit', tell)
  const close = browser.close
  browser.close = () => {
    if (browser.connected) program.off('exit', tell)
    return close.call(browser)
  }
}

/**
 * Opens a tab of a browser, or of one of its contexts, whose pages may take their time to load. Firefox sometimes fails
 * to while it closes another tab, and is asked again.
 */
export async function newTab (browser, options) {
  for (let attempt = 1; ; attempt++) {
    try {
      const tab = await browser.newPage(options)
      tab.setDefaultNavigationTimeout(PATIENCE)
      return tab
    } catch (err) {
      if (attempt === 10 || !String(err).includes('DiscardedBrowsingContextError')) throw err
    }
  }
}

/**
 * Says whether a complaint is the browser's own about a WebSocket that did not come about, as that of
 * a client whose WebTransport was ready first. Firefox tells it as an error of the page.
 */
export const isLostRace = text => /^(Error: )?(WebSocket connection to '|Firefox can.t establish a connection to the server at |The connection to )wss?:/.test(text)
