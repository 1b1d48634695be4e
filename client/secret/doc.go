// Package secret seals circuits from end to end: who is in a secret room shares a secret with the
// others in it, and the gateway between them learns only the room's topic (docs/SECRET.md).
//
//	room := secret.NewRoom(secret.New(), nil)
//	topic, err := room.Join(ctx, c, client.JoinOptions{})
//	for conn, err := range topic.Conns(ctx) {
//		go talk(conn)
//	}
//
// A [Secret] is 32 random bytes, or is made from a text. A [Room] is a secret together with this
// program's [Identity]: a static key that it shows to those who know the secret, so that they can
// recognize it ([Conn.Key]). [Room.Join] joins the room's topic with a [client.Client], and its
// [Topic] gives sealed circuits, each a [Conn], which is a [net.Conn]. [Room.Seal] seals one
// circuit by hand.
//
// A gateway still sees who is in the room, when they talk and how much. It can cut a circuit, and
// delay or drop what is on it. It can neither read, change, add or reorder bytes, nor end a
// circuit so that it looks like the peer's own end.
package secret
