import type { Room } from './secretapi.js';
export { SecretError } from './secreterror.js';
export { identity, keyHex, keyWords } from './secretkeys.js';
export type { Room, RoomOptions, SealedPeer, SealedTopic } from './secretapi.js';
/** Options of `secret`. */
export interface SecretOptions {
    /**
     * What peers recognize this end by: an X25519 key pair, as `identity` returns one. One is made
     * for this room unless it is given.
     */
    identity?: CryptoKeyPair;
}
/**
 * Returns the room of a secret: 32 bytes, 64 hexadecimal digits, or a text, which takes some
 * tenths of a second to become 32 bytes. A text that can be guessed protects from nobody. It
 * rejects with a TypeError for other secrets, and with a SecretError if the browser has no X25519.
 */
export declare function secret(what: Uint8Array | string, options?: SecretOptions): Promise<Room>;
