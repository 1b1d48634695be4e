/** Returns the topic of a name: SHA-256 of its UTF-8 text as it is, without any normalization. */
export declare function topicFromName(name: string): Promise<Uint8Array<ArrayBuffer>>;
/** Returns the topic that 64 hexadecimal digits stand for; any other text is a name, and 32 bytes are a topic themselves. */
export declare function topicFrom(topic: string | Uint8Array): Promise<Uint8Array<ArrayBuffer>>;
