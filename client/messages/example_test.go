package messages_test

import (
	"context"
	"fmt"
	"net"

	"github.com/swarmgate/swarmgate/client/messages"
)

func Example() {
	here, there := net.Pipe() // or a circuit of package client
	ctx := context.Background()
	type move struct{ From, To string }

	go func() { // the other program
		conn := messages.New(there, messages.Config{})
		m, _ := messages.ReceiveJSON[move](ctx, conn)
		conn.SendText(ctx, "you moved to "+m.To)
		conn.SendJSON(ctx, move{"e7", "e5"})
		there.Close()
	}()

	conn := messages.New(here, messages.Config{})
	if err := conn.SendJSON(ctx, move{"e2", "e4"}); err != nil {
		fmt.Println(err)
	}
	for m, err := range conn.All(ctx) {
		switch {
		case err != nil:
			fmt.Println(err)
		case m.Kind == messages.Text:
			fmt.Println(m.Text())
		case m.Kind == messages.JSON:
			var answer move
			if err := m.Decode(&answer); err != nil {
				fmt.Println(err)
			}
			fmt.Println("and I move to", answer.To)
		}
	}
	// Output:
	// you moved to e4
	// and I move to e5
}
