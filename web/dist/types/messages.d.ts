/**
 * Texts, JSON values and bytes over a pair of streams, each with its length before it, so that
 * every message arrives as it was sent. Package `client/messages` is the same in Go;
 * docs/MESSAGES.md has the bytes.
 *
 * @packageDocumentation
 */
/** A message that came. */
export type Message = {
    type: 'text';
    text: string;
} | {
    type: 'json';
    value: any;
} | {
    type: 'bytes';
    bytes: Uint8Array<ArrayBuffer>;
}
/** A message of a kind that programs use as they like, from `FIRST_OWN` on. */
 | {
    type: 'own';
    kind: number;
    bytes: Uint8Array<ArrayBuffer>;
};
/** Two streams of bytes, for example a `Peer`. */
export interface Duplex {
    readonly readable: ReadableStream<Uint8Array>;
    readonly writable: WritableStream<Uint8Array<ArrayBuffer>>;
}
/** Options of `Messages`. */
export interface MessagesOptions {
    /**
     * Bytes of the largest message that is sent or received, without its head. 1 MiB by default;
     * `Infinity` for no limit but that of 4 GiB.
     */
    maxSize?: number;
}
/**
 * What came is not a message, or one is too large. Nothing that follows on the stream can be
 * read.
 */
export declare class MessageError extends Error {
    name: string;
}
/** The first of the kinds, up to 255, that programs use as they like. */
export declare const FIRST_OWN = 64;
/** Returns a message as it is sent. Parts follow each other without anything between them. */
export declare function encodeMessage(kind: number, ...parts: Uint8Array[]): Uint8Array<ArrayBuffer>;
/** Finds the messages in bytes that come in any pieces. It reads no stream. */
export declare class MessageDecoder {
    #private;
    constructor({ maxSize }?: MessagesOptions);
    /** Whether a part of a message has come. */
    get within(): boolean;
    /** Takes the next bytes in. They must not change until they were decoded. */
    push(b: Uint8Array): void;
    /**
     * Returns the next message if all of it has come. It skips kinds that it does not know, and
     * throws a `MessageError`.
     */
    next(): Message | undefined;
    /**
     * Takes out what was not decoded. After a `MessageError` it begins with what was not a message.
     */
    rest(): Uint8Array;
}
/**
 * Sends and receives messages over a peer, or over anything else with two streams.
 *
 * ```ts
 * const messages = new Messages(peer)
 * await messages.send('hello')
 * for await (const m of messages) if (m.type === 'text') console.log(m.text)
 * ```
 */
export declare class Messages {
    #private;
    /** Locks both streams. Nothing is read until somebody receives. */
    constructor({ readable, writable }: Duplex, options?: MessagesOptions);
    /**
     * Sends a text or bytes. It resolves when the stream has taken them, so whoever awaits it sends
     * no faster than the peer reads. It rejects with a `MessageError` if they are too large, before
     * anything is sent, and with the stream's error. Any number of messages may be sent at once.
     */
    send(message: string | Uint8Array): Promise<void>;
    /**
     * Sends a value as `JSON.stringify` writes it. One that is not JSON, such as `undefined`, is a
     * TypeError.
     */
    sendJSON(value: unknown): Promise<void>;
    /** Sends a message of a kind that programs use as they like, from `FIRST_OWN` on. */
    sendOwn(kind: number, bytes: Uint8Array): Promise<void>;
    /**
     * Resolves with the next message, or with undefined if the peer has ended its side. It rejects
     * with a `MessageError` if what comes is not a message, or ends within one, and with the
     * stream's error.
     */
    receive(): Promise<Message | undefined>;
    /**
     * The messages until the peer ends its side. To break out of the loop ends nothing: another
     * loop goes on with the next message.
     */
    [Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined>;
    /**
     * Ends this side: the peer gets what was sent, and then the end. What the peer sends can still
     * be received.
     */
    close(): Promise<void>;
    /** Ends both sides at once: what was not taken yet is lost. */
    abort(reason?: unknown): Promise<void>;
}
