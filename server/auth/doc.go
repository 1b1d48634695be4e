// Package auth says what a client may do: a [Request] is what a gateway knows of a client that
// wants a session, and a [Grant] is the answer. What decides between the two is an authorizer:
// [TokenFile], [JWT] or [Callback], or one's own. Their Authorize refuses with an
// [*wtproto.Error], whose code and reason the client is told:
//
//   - CodeUnauthorized: there is no token, or it is not valid
//   - CodeTokenExpired: it was valid once
//   - CodeForbidden: it is valid, and not for this client
//   - CodeBusy: nobody could say in time; the client tries again later
//
// The package knows nothing of sessions: package server asks an authorizer, and sees to it that
// what it grants is kept.
package auth
