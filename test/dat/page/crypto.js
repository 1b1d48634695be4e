// What old programs use of Node's crypto in a page.
exports.randomBytes = n => Buffer.from(crypto.getRandomValues(new Uint8Array(n)))
