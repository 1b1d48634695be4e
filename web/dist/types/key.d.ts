/** Returns the topic of a name: SHA-256 of its UTF-8 text as it is, without any normalization. */
export declare function topicFromName(name: string): Promise<Uint8Array<ArrayBuffer>>;
/**
 * Returns a topic in hexadecimal digits: 64 such digits and 32 bytes are one themselves, any other
 * text is a name.
 */
export declare function topicFrom(topic: string | Uint8Array): Promise<string>;
