package wtproto

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"
)

// message is any of the messages.
type message interface{ Append(b []byte) []byte }

// parser makes the Parse function of a message one of any message.
func parser[M message](parse func([]byte) (M, error)) func([]byte) (message, error) {
	return func(b []byte) (message, error) { return parse(b) }
}

// parsers reads the payload of every type.
var parsers = map[Type]func([]byte) (message, error){
	TypeHello:     parser(ParseHello),
	TypeWelcome:   parser(ParseWelcome),
	TypeJoin:      parser(ParseJoin),
	TypeJoined:    parser(ParseJoined),
	TypeLeave:     parser(ParseLeave),
	TypeLeft:      parser(ParseLeft),
	TypeStatus:    parser(ParseStatus),
	TypePeer:      parser(ParsePeer),
	TypeAccept:    parser(ParseAccept),
	TypeDecline:   parser(ParseDecline),
	TypeWithdraw:  parser(ParseWithdraw),
	TypeCredit:    parser(ParseCredit),
	TypeGoaway:    parser(ParseGoaway),
	TypePing:      parser(ParsePing),
	TypePong:      parser(ParsePong),
	TypeConnect:   parser(ParseConnect),
	TypeRefused:   parser(ParseRefused),
	TypeMeet:      parser(ParseMeet),
	TypeMet:       parser(ParseMet),
	TypeEndpoints: parser(ParseEndpoints),
	TypeOpen:      parser(ParseOpen),
	TypeOpened:    parser(ParseOpened),
	TypeHost:      parser(ParseHost),
	TypePart:      parser(ParsePart),
	TypeGuess:     parser(ParseGuess),
}

// samples returns messages of every type: the emptiest and one with something in every field.
func samples() map[Type][]message {
	topic, digest := TopicFromName("wowcool"), TopicFromName("wowcool").Digest()
	ids := []EndpointID{{}, Secret{1}.Endpoint(), Secret{2}.Endpoint()}
	return map[Type][]message{
		TypeHello: {
			Hello{Version: 1, Credit: MinCredit, Token: []byte{}},
			Hello{Version: 2, Flags: 1, Credit: 1 << 20, Secret: Secret{1}, Token: []byte("token"), Agent: "agent", Circuits: 190},
		},
		TypeWelcome: {
			Welcome{},
			Welcome{Version: 1, Session: SessionID{1}, MaxTopics: 64, MaxCircuits: 256, Hashes: [][32]byte{{1}, {2}}, Agent: "agent"},
		},
		TypeJoin: {
			Join{},
			Join{Topic: topic, Flags: JoinAnnounce | JoinLookUp | JoinOfferOnly | JoinStreams, MaxPeers: 1 << 14, Networks: []string{"dht", "client"}},
		},
		TypeJoined: {Joined{}, Joined{Topic: topic}},
		TypeLeave:  {Leave{}, Leave{Topic: topic}},
		TypeLeft:   {Left{}, Left{Topic: topic, Code: CodeTopicLimit, Reason: "reason"}},
		TypeStatus: {Status{}, Status{Topic: topic, More: true, Known: 100, Connected: 3, Networks: []NetworkStatus{
			{}, {Name: "dht", State: NetworkFailing, Found: 1, Connecting: 2, Refused: 3, LastCode: CodePeerUnreachable, Reason: "no seed"},
		}}},
		TypePeer: {
			Peer{Circuit: 1, ID: []byte{}},
			Peer{Circuit: 64, Topic: topic, Flags: PeerInitiator | PeerFurther, Network: "dht", ID: []byte("peer id"), Address: "tcp://192.0.2.1:9"},
		},
		TypeAccept:    {Accept{Circuit: 1}, Accept{Circuit: 1 << 61}},
		TypeDecline:   {Decline{Circuit: 1}, Decline{Circuit: 1 << 61, Code: CodeDeclined}},
		TypeWithdraw:  {Withdraw{Circuit: 1}, Withdraw{Circuit: 1 << 61, Code: CodePeerGone}},
		TypeCredit:    {Credit{Circuit: 1}, Credit{Circuit: 1 << 61, Offset: 1 << 40}},
		TypeGoaway:    {Goaway{}, Goaway{Code: CodeShutdown, RetryAfter: 1500 * time.Millisecond, Reason: "reason"}},
		TypePing:      {Ping{}, Ping{Data: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}},
		TypePong:      {Pong{}, Pong{Data: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}},
		TypeConnect:   {Connect{ID: []byte{}}, Connect{Topic: topic, Flags: 1, Network: "dht", ID: []byte("peer id")}},
		TypeRefused:   {Refused{}, Refused{Code: CodePeerUnreachable, Reason: "reason"}},
		TypeMeet:      {Meet{}, Meet{Digest: digest, Proof: [32]byte{1}, Flags: MeetGuessed, State: EndpointsMore, Endpoints: ids}},
		TypeMet:       {Met{}, Met{Digest: digest, Code: CodeForbidden, Proof: [32]byte{1}, State: EndpointsMore | EndpointsNeed, Endpoints: ids}},
		TypeEndpoints: {Endpoints{}, Endpoints{Digest: digest, State: EndpointsNeed, Endpoints: ids}},
		TypeOpen:      {Open{}, Open{Digest: digest, Proof: [32]byte{1}, From: ids[1], To: ids[2], Flags: OpenFurther}},
		TypeOpened:    {Opened{}, Opened{Code: CodeForbidden, Proof: [32]byte{1}}},
		TypeHost:      {Host{}, Host{Flags: HostGateway, Run: Run{1}}},
		TypePart:      {Part{}, Part{Digest: digest, Code: CodeLeft}},
		TypeGuess:     {Guess{}, Guess{Tags: []Tag{{1}, {2}}}},
	}
}

// typesInOrder returns every type, lowest first.
func typesInOrder() []Type { return slices.Sorted(maps.Keys(typeNames)) }

func TestEveryTypeIsTested(t *testing.T) {
	if len(typeNames) != 25 {
		t.Errorf("%d types have names, want 25", len(typeNames))
	}
	for typ := range typeNames {
		if parsers[typ] == nil || len(samples()[typ]) < 2 {
			t.Errorf("%v: no parser or too few samples", typ)
		}
	}
}

func TestAppendThenParse(t *testing.T) {
	for _, typ := range typesInOrder() {
		for _, want := range samples()[typ] {
			prefix := []byte("before")
			b := want.Append(prefix)
			if string(b[:len(prefix)]) != "before" {
				t.Errorf("%v: Append changed what was in the buffer: %x", typ, b)
			}
			gotType, payload := oneFrame(t, b[len(prefix):])
			got, err := parsers[typ](payload)
			if err != nil || gotType != typ || !reflect.DeepEqual(got, want) {
				t.Errorf("%v: parsed %v %+v, %v, want %+v", typ, gotType, got, err, want)
			}
		}
	}
}

// Whatever is cut off the end of a payload, what is left is PROTOCOL: no field has a default.
func TestParseCutPayload(t *testing.T) {
	for _, typ := range typesInOrder() {
		for _, m := range samples()[typ] {
			_, payload := oneFrame(t, m.Append(nil))
			for n := range len(payload) {
				got, err := parsers[typ](payload[:n])
				if code := codeOf(err); code != CodeProtocol {
					t.Errorf("%v: %d bytes of %x parsed to %+v, %v, want PROTOCOL", typ, n, payload, got, err)
				}
			}
		}
	}
}

func TestTypeString(t *testing.T) {
	for typ, want := range map[Type]string{TypeHello: "HELLO", TypeOpened: "OPENED", 0: "0x0", 0x12: "0x12", 1<<62 - 1: "0x3fffffffffffffff"} {
		if got := typ.String(); got != want {
			t.Errorf("Type(%d).String() = %q, want %q", uint64(typ), got, want)
		}
	}
}
