/**
 * Returns an identity that this browser keeps for this site: a key pair whose private half nobody
 * can read, not even this page. `name` tells identities apart. Pages that are open at the same
 * time get one each, because a room refuses its own key; so the first page has the same one each
 * time. It is the page's until the page is closed. If the browser keeps nothing, as in some private
 * windows, the identity is a new one.
 */
export declare function identity(name?: string): Promise<CryptoKeyPair>;
/** Returns how a key is shown to people, as `swarm` shows it too: `1a2b 3c4d 5e6f 7081`. */
export declare function keyHex(key: Uint8Array): string;
/**
 * Returns the same part of a key as four words that can be read out: `lusab-babad-gutih-tugad`
 * (proquints).
 */
export declare function keyWords(key: Uint8Array): string;
