package wtproto_test

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// payload reads the one frame that b holds.
func payload(b []byte) []byte {
	_, p, err := wtproto.NewReader(bytes.NewReader(b)).Next()
	if err != nil {
		panic(err)
	}
	return p
}

var (
	topic  = wtproto.TopicFromName("wowcool")
	secret = wtproto.Secret{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
)

// A stream of frames ends with io.EOF, and frames of unknown types are skipped.
func ExampleReader() {
	stream := wtproto.Joined{Topic: topic}.Append(nil)
	stream = append(stream, 0x3f, 0x01, 0xff) // from a later version
	stream = wtproto.Ping{}.Append(stream)
	r := wtproto.NewReader(bytes.NewReader(stream))
	for {
		typ, p, err := r.Next()
		if err == io.EOF {
			break
		}
		fmt.Println(typ, len(p), err)
	}
	// Output:
	// JOINED 32 <nil>
	// 0x3f 1 <nil>
	// PING 8 <nil>
}

func ExampleTopic() {
	fmt.Println(topic)
	fmt.Printf("%x\n", topic.Digest())
	// Output:
	// ff5d0af858154dce24e27d66068a4ec57e619abeb763de0e7242ab6a4b52b61d
	// 4bbee64570aae19140b0e808fb771977076dd487a0eb54feddf75f28ff3141da
}

func ExampleSecret_Endpoint() {
	fmt.Println(secret.Endpoint())
	// Output: de9571a4fa3ee9d9afee1424fb20a67d
}

func ExampleTopic_Proof() {
	gateway, native := []byte("peer id of the sender"), []byte("peer id of the receiver")
	proof := topic.Proof(wtproto.ProofMeet, gateway, native)
	fmt.Println(topic.VerifyProof(proof, wtproto.ProofMeet, gateway, native))
	fmt.Println(topic.VerifyProof(proof, wtproto.ProofMeet, native, gateway))
	// Output:
	// true
	// false
}

func ExampleError() {
	_, err := wtproto.ParseJoin([]byte{1, 2, 3})
	fmt.Println(err)
	// Output: PROTOCOL: JOIN: topic: too short
}

func ExampleHello() {
	frame := wtproto.Hello{Version: wtproto.Version, Credit: 32 << 10, Secret: secret, Agent: "page/1", Circuits: 190}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseHello(payload(frame))
	fmt.Println(m.Version, m.Credit, m.Secret.Endpoint(), m.Agent, m.Circuits, err)
	// Output:
	// 0120010080008000000102030405060708090a0b0c0d0e0f0006706167652f3140be
	// 1 32768 de9571a4fa3ee9d9afee1424fb20a67d page/1 190 <nil>
}

func ExampleWelcome() {
	frame := wtproto.Welcome{Version: 1, Session: wtproto.SessionID{15: 1}, MaxTopics: 64, MaxCircuits: 256, Agent: "swarmgate/1.0"}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseWelcome(payload(frame))
	fmt.Println(m.Version, m.Session, m.MaxTopics, m.MaxCircuits, len(m.Hashes), m.Agent, err)
	// Output:
	// 0224010000000000000000000000000000000140404100000d737761726d676174652f312e30
	// 1 00000000000000000000000000000001 64 256 0 swarmgate/1.0 <nil>
}

func ExampleJoin() {
	frame := wtproto.Join{Topic: topic, Flags: wtproto.JoinAnnounce | wtproto.JoinLookUp}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseJoin(payload(frame))
	fmt.Println(m.Topic == topic, m.Flags&wtproto.JoinOfferOnly != 0, m.MaxPeers, m.Networks, err)
	// Output:
	// 0323ff5d0af858154dce24e27d66068a4ec57e619abeb763de0e7242ab6a4b52b61d030000
	// true false 0 [] <nil>
}

func ExampleJoined() {
	frame := wtproto.Joined{Topic: topic}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseJoined(payload(frame))
	fmt.Println(m.Topic == topic, err)
	// Output:
	// 0420ff5d0af858154dce24e27d66068a4ec57e619abeb763de0e7242ab6a4b52b61d
	// true <nil>
}

func ExampleLeave() {
	frame := wtproto.Leave{Topic: topic}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseLeave(payload(frame))
	fmt.Println(m.Topic == topic, err)
	// Output:
	// 0520ff5d0af858154dce24e27d66068a4ec57e619abeb763de0e7242ab6a4b52b61d
	// true <nil>
}

func ExampleLeft() {
	frame := wtproto.Left{Topic: topic, Code: wtproto.CodeTopicLimit, Reason: "64 topics at most"}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseLeft(payload(frame))
	fmt.Println(m.Topic == topic, m.Code, m.Reason, err)
	// Output:
	// 0633ff5d0af858154dce24e27d66068a4ec57e619abeb763de0e7242ab6a4b52b61d0711363420746f70696373206174206d6f7374
	// true TOPIC_LIMIT 64 topics at most <nil>
}

func ExampleStatus() {
	frame := wtproto.Status{Topic: topic, More: true, Known: 130, Connected: 2, Networks: []wtproto.NetworkStatus{
		{Name: "dht", State: wtproto.NetworkSearching, Found: 3, Connecting: 1, Refused: 1, LastCode: wtproto.CodePeerUnreachable, Reason: "no answer"},
	}}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseStatus(payload(frame))
	fmt.Println(m.Topic == topic, m.More, m.Known, m.Connected, m.Networks, err)
	// Output:
	// 0738ff5d0af858154dce24e27d66068a4ec57e619abeb763de0e7242ab6a4b52b61d014082020103646874010301010e096e6f20616e73776572
	// true true 130 2 [{dht searching 3 1 1 PEER_UNREACHABLE no answer}] <nil>
}

func ExamplePeer() {
	frame := wtproto.Peer{Circuit: 1, Topic: topic, Flags: wtproto.PeerInitiator | wtproto.PeerClient, Network: wtproto.NetworkClient, ID: make([]byte, 16)}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParsePeer(payload(frame))
	fmt.Println(m.Circuit, m.Flags&wtproto.PeerInitiator != 0, m.Network, len(m.ID), m.Address == "", err)
	// Output:
	// 083b01ff5d0af858154dce24e27d66068a4ec57e619abeb763de0e7242ab6a4b52b61d0306636c69656e74100000000000000000000000000000000000
	// 1 true client 16 true <nil>
}

func ExampleAccept() {
	frame := wtproto.Accept{Circuit: 7}.Append(nil)
	fmt.Printf("%x\n", frame)
	fmt.Println(wtproto.ParseAccept(payload(frame)))
	// Output:
	// 090107
	// {7} <nil>
}

func ExampleDecline() {
	frame := wtproto.Decline{Circuit: 7, Code: wtproto.CodeDeclined}.Append(nil)
	fmt.Printf("%x\n", frame)
	fmt.Println(wtproto.ParseDecline(payload(frame)))
	// Output:
	// 0a020710
	// {7 DECLINED} <nil>
}

func ExampleWithdraw() {
	frame := wtproto.Withdraw{Circuit: 7, Code: wtproto.CodePeerGone}.Append(nil)
	fmt.Printf("%x\n", frame)
	fmt.Println(wtproto.ParseWithdraw(payload(frame)))
	// Output:
	// 0b02070d
	// {7 PEER_GONE} <nil>
}

func ExampleCredit() {
	frame := wtproto.Credit{Circuit: 1, Offset: 96 << 10}.Append(nil)
	fmt.Printf("%x\n", frame)
	fmt.Println(wtproto.ParseCredit(payload(frame)))
	// Output:
	// 0c050180018000
	// {1 98304} <nil>
}

func ExampleGoaway() {
	frame := wtproto.Goaway{Code: wtproto.CodeShutdown, RetryAfter: 1500 * time.Millisecond, Reason: "restart"}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseGoaway(payload(frame))
	fmt.Println(m.Code, m.RetryAfter, m.Reason, err)
	// Output:
	// 0d0b0c45dc0772657374617274
	// SHUTDOWN 1.5s restart <nil>
}

func ExamplePing() {
	frame := wtproto.Ping{Data: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}.Append(nil)
	fmt.Printf("%x\n", frame)
	fmt.Println(wtproto.ParsePing(payload(frame)))
	// Output:
	// 0e080102030405060708
	// {[1 2 3 4 5 6 7 8]} <nil>
}

func ExamplePong() {
	ping := wtproto.Ping{Data: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}
	frame := wtproto.Pong(ping).Append(nil)
	fmt.Printf("%x\n", frame)
	fmt.Println(wtproto.ParsePong(payload(frame)))
	// Output:
	// 0f080102030405060708
	// {[1 2 3 4 5 6 7 8]} <nil>
}

func ExampleConnect() {
	frame := wtproto.Connect{Topic: topic, Network: wtproto.NetworkClient, ID: make([]byte, 16)}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseConnect(payload(frame))
	fmt.Println(m.Topic == topic, m.Flags, m.Network, len(m.ID), err)
	// Output:
	// 1039ff5d0af858154dce24e27d66068a4ec57e619abeb763de0e7242ab6a4b52b61d0006636c69656e741000000000000000000000000000000000
	// true 0 client 16 <nil>
}

func ExampleRefused() {
	frame := wtproto.Refused{Code: wtproto.CodeDeclined, Reason: "one stream only"}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseRefused(payload(frame))
	fmt.Println(m.Code, m.Reason, err)
	// Output:
	// 1111100f6f6e652073747265616d206f6e6c79
	// DECLINED one stream only <nil>
}

func ExampleHost() {
	frame := wtproto.Host{Flags: wtproto.HostGateway, Run: wtproto.Run{0xaa}}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseHost(payload(frame))
	fmt.Println(m.Flags&wtproto.HostGateway != 0, err)
	// Output:
	// 251101aa000000000000000000000000000000
	// true <nil>
}

func ExampleMeet() {
	frame := wtproto.Meet{
		Digest:    topic.Digest(),
		Proof:     topic.Proof(wtproto.ProofMeet, []byte("sender"), []byte("receiver")),
		Endpoints: []wtproto.EndpointID{secret.Endpoint()},
	}.Append(nil)
	m, err := wtproto.ParseMeet(payload(frame))
	fmt.Println(len(frame), m.Digest == topic.Digest(), m.Flags&wtproto.MeetGuessed != 0, m.State, m.Endpoints, err)
	fmt.Println(topic.VerifyProof(m.Proof, wtproto.ProofMeet, []byte("sender"), []byte("receiver")))
	// Output:
	// 86 true false 0 [de9571a4fa3ee9d9afee1424fb20a67d] <nil>
	// true
}

func ExampleMet() {
	frame := wtproto.Met{
		Digest:    topic.Digest(),
		Proof:     topic.Proof(wtproto.ProofMet, []byte("receiver"), []byte("sender")),
		Endpoints: make([]wtproto.EndpointID, 1),
	}.Append(nil)
	m, err := wtproto.ParseMet(payload(frame))
	fmt.Println(len(frame), m.Digest == topic.Digest(), m.Code, m.Endpoints, err)
	// Output:
	// 86 true NONE [00000000000000000000000000000000] <nil>
}

func ExampleEndpoints() {
	frame := wtproto.Endpoints{Digest: topic.Digest(), State: wtproto.EndpointsMore, Endpoints: []wtproto.EndpointID{secret.Endpoint()}}.Append(nil)
	m, err := wtproto.ParseEndpoints(payload(frame))
	fmt.Println(len(frame), m.Digest == topic.Digest(), m.State, m.Endpoints, err)
	// Output:
	// 52 true 1 [de9571a4fa3ee9d9afee1424fb20a67d] <nil>
}

func ExamplePart() {
	frame := wtproto.Part{Digest: topic.Digest(), Code: wtproto.CodeLeft}.Append(nil)
	m, err := wtproto.ParsePart(payload(frame))
	fmt.Println(len(frame), m.Digest == topic.Digest(), m.Code, err)
	// Output:
	// 35 true LEFT <nil>
}

func ExampleGuess() {
	tag := topic.Guess([]byte("sender"), []byte("receiver"), wtproto.Run{0xaa})
	frame := wtproto.Guess{Tags: []wtproto.Tag{tag}}.Append(nil)
	m, err := wtproto.ParseGuess(payload(frame))
	fmt.Println(len(frame), len(m.Tags), m.Tags[0] == tag, err)
	// Output:
	// 11 1 true <nil>
}

func ExampleOpen() {
	frame := wtproto.Open{
		Digest: topic.Digest(),
		Proof:  topic.Proof(wtproto.ProofOpen, []byte("sender"), []byte("receiver")),
		From:   secret.Endpoint(),
	}.Append(nil)
	m, err := wtproto.ParseOpen(payload(frame))
	fmt.Println(len(frame), m.From, m.To, m.Flags&wtproto.OpenFurther != 0, err)
	// Output: 100 de9571a4fa3ee9d9afee1424fb20a67d 00000000000000000000000000000000 false <nil>
}

func ExampleOpened() {
	frame := wtproto.Opened{Code: wtproto.CodeForbidden}.Append(nil)
	fmt.Printf("%x\n", frame)
	m, err := wtproto.ParseOpened(payload(frame))
	fmt.Println(m.Code, err)
	// Output:
	// 2421060000000000000000000000000000000000000000000000000000000000000000
	// FORBIDDEN <nil>
}
