/**
 * What a gateway URL says: where a gateway is, how it is trusted, and perhaps a topic or a secret.
 * `connect` takes it as a gateway's address.
 */
export interface GatewayURL {
    /** `https://host:port`. */
    url: string;
    /**
     * SHA-256 of certificates of which the gateway has one, in 64 hexadecimal digits. Left out with
     * a certificate of an authority.
     */
    hashes?: string[];
    /** A name, or 64 hexadecimal digits, as `join` takes it. Empty for none. */
    topic: string;
    /** The secret of a secret room: a text, or 64 hexadecimal digits. Left out for none. */
    secret?: string;
}
/**
 * Reads a gateway URL such as `swarmgate://gateway.example:4433/?h=9f64…#wowcool`
 * (docs/PROTOCOL.md, 2.3). It throws a TypeError or a URIError.
 */
export declare function parseGatewayURL(text: string): GatewayURL;
/**
 * Writes a gateway URL, with `secret` rather than `topic`. It throws a TypeError if `url` or a hash
 * is not one.
 */
export declare function formatGatewayURL({ url, hashes, topic, secret }: {
    url: string;
    hashes?: readonly string[];
    topic?: string;
    secret?: string;
}): string;
