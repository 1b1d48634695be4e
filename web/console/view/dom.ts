/** What an element may have in it. Texts are text, whatever they hold. */
export type Child = Node | string | false | undefined

/** Attributes; `class`, listeners as `onclick`, and true for an attribute without a value. */
export type Attributes = Record<string, string | boolean | undefined | ((event: Event) => void)>

/** Returns a new element. */
export function h<K extends keyof HTMLElementTagNameMap> (tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const e = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') e.addEventListener(name.slice(2), value)
    else if (value !== undefined && value !== false) e.setAttribute(name, value === true ? '' : value)
  }
  e.append(...children.filter(c => c !== undefined && c !== false))
  return e
}

/**
 * Returns names as they can stand in a sentence, whose direction they do not change: all, or the
 * first few and how many more.
 */
export function listed (names: string[], most = 5): Child[] {
  const shown: Child[] = names.slice(0, names.length > most + 1 ? most : names.length).map(name => h('bdi', {}, name))
  if (shown.length < names.length) shown.push(`${names.length - shown.length} more`)
  return shown.flatMap((child, i) => i === 0 ? [child] : [i === shown.length - 1 ? ' and ' : ', ', child])
}

/** Returns the element of the page that has an id. */
export function $<E extends HTMLElement = HTMLElement> (id: string): E {
  return document.getElementById(id) as E
}

/**
 * Sets the text of an element if it is another one, so that a screen reader is not told the
 * same again.
 */
export function setText (e: Element, text: string): void {
  if (e.textContent !== text) e.textContent = text
}

/** Returns a mark of a colour that stands for an id. */
export function dot (id: string): HTMLElement {
  const e = h('span', { class: 'dot', 'aria-hidden': 'true' })
  let hash = 0
  for (let i = 0; i < id.length; i++) hash = (hash * 31 + id.charCodeAt(i)) >>> 0
  e.style.setProperty('--hue', String(hash % 360))
  return e
}

/** Returns a time of the day for people. */
export function clock (at: Date): HTMLTimeElement {
  return h('time', { datetime: at.toISOString() }, at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }))
}
