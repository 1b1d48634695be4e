const firsts = ['Amber', 'Brisk', 'Calm', 'Clever', 'Coral', 'Early', 'Fair', 'Gentle', 'Golden', 'Happy', 'Ivory', 'Jolly', 'Kind', 'Lucky', 'Merry', 'Misty', 'Noble', 'Olive', 'Proud', 'Quiet', 'Rapid', 'Silver', 'Sunny', 'Swift', 'Teal', 'Velvet', 'Warm', 'Wise']
const lasts = ['Badger', 'Crane', 'Dolphin', 'Eagle', 'Falcon', 'Finch', 'Fox', 'Gecko', 'Hare', 'Heron', 'Ibis', 'Jay', 'Koala', 'Lark', 'Lynx', 'Marten', 'Newt', 'Otter', 'Owl', 'Panda', 'Puffin', 'Raven', 'Robin', 'Seal', 'Stork', 'Swan', 'Tern', 'Wren']
const KEY = 'swarmgate-console-name'

/** Returns the name that was chosen in this browser, or one by chance. */
export function loadName (): string {
  const pick = (list: string[]) => list[Math.floor(Math.random() * list.length)]!
  const made = () => `${pick(firsts)} ${pick(lasts)}`
  try {
    return localStorage.getItem(KEY) || made()
  } catch {
    return made() // a browser that keeps nothing
  }
}

/** Keeps a chosen name for the next time. */
export function saveName (name: string): void {
  try {
    localStorage.setItem(KEY, name)
  } catch {
    // a browser that keeps nothing
  }
}
