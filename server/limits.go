package server

import (
	"slices"

	"github.com/swarmgate/swarmgate/wtproto"
)

// LimitName names one of a gateway's limits, for metrics and operators.
type LimitName string

// The limits. [Limits] says what each of them is.
const (
	LimitHandshakes        LimitName = "handshakes"
	LimitVisits            LimitName = "visits"
	LimitVisitsAddress     LimitName = "visits_address"
	LimitHTTP              LimitName = "http"
	LimitHTTPAddress       LimitName = "http_address"
	LimitAuthorizing       LimitName = "authorizing"
	LimitAnswers           LimitName = "answers"
	LimitAnswersAddress    LimitName = "answers_address"
	LimitSessions          LimitName = "sessions"
	LimitSessionsPrincipal LimitName = "sessions_principal"
	LimitTopics            LimitName = "topics"
	LimitTopicsPrincipal   LimitName = "topics_principal"
	LimitTopicsSession     LimitName = "topics_session"
	LimitNewTopics         LimitName = "new_topics"
	LimitCircuits          LimitName = "circuits"
	LimitCircuitsPrincipal LimitName = "circuits_principal"
	LimitCircuitsSession   LimitName = "circuits_session"
	LimitCircuitsPair      LimitName = "circuits_pair"
	LimitNewCircuits       LimitName = "new_circuits"
	LimitFailedDials       LimitName = "failed_dials"
	LimitFailedDialsTopic  LimitName = "failed_dials_topic"
	LimitDialsTarget       LimitName = "dials_target"
	LimitFrames            LimitName = "frames"
	LimitAllFrames         LimitName = "all_frames"
	LimitFramesPrincipal   LimitName = "frames_principal"
	LimitControlUnread     LimitName = "control_unread"
	LimitMemory            LimitName = "memory"
	LimitUnread            LimitName = "unread"
	LimitByteRate          LimitName = "byte_rate"
	LimitBytes             LimitName = "bytes"
	LimitLogLines          LimitName = "log_lines"
)

// Limit describes one limit of a gateway.
type Limit struct {
	Name LimitName
	// Code is the code for a client that is refused. CodeNone means that no client gets one:
	// something is not done, or waits.
	Code wtproto.Code
	// Field is the field of [Config] that sets it, empty if it is fixed.
	Field string
	// Default is its value with a zero Config, with its unit.
	Default string
	// What it bounds, and Why: for OPERATING.md.
	What, Why string
}

// Limits returns all limits of a gateway, in the order in which a client meets them.
func Limits() []Limit { return slices.Clone(limits) }

var limits = []Limit{
	{LimitHandshakes, wtproto.CodeNone, "HandshakesPerAddress", "100 a second, 200 at once", "new connections of an address; above a fifth of the limit the client has to prove its address first (Retry)", "time for cryptography"},
	{LimitVisits, wtproto.CodeBusy, "MaxSessions", "a quarter of the sessions, 256 at least", "connections without a session; above the limit the oldest one of the busiest address ends", "requests and unfinished sessions leave room for sessions"},
	{LimitVisitsAddress, wtproto.CodeRateLimited, "MaxSessionsPerPrincipal", "256", "connections of an address without a session; above the limit its oldest one ends", "one address cannot take all of them"},
	{LimitHTTP, wtproto.CodeNone, "", "1,024", "TCP connections of each HTTP listener; above the limit the longest idle one of the busiest address ends", "file descriptors and memory"},
	{LimitHTTPAddress, wtproto.CodeNone, "", "256", "the same of an IPv4 address or IPv6 /64", "one address cannot take all of them"},
	{LimitAuthorizing, wtproto.CodeBusy, "", "16", "sessions of an address that wait for the authorizer's answer", "one address cannot keep it busy"},
	{LimitAnswers, wtproto.CodeNone, "", "1,024", "answers to HTTP/3 requests that the client has not read yet, for 15 s at most; above the limit the oldest one of the busiest address ends", "memory and goroutines"},
	{LimitAnswersAddress, wtproto.CodeNone, "", "64", "the same of an IPv4 address or IPv6 /64", "one address cannot take all of them"},
	{LimitSessions, wtproto.CodeBusy, "MaxSessions", "10,000", "sessions; a tenth is kept for principals that have none", "memory and goroutines of the gateway"},
	{LimitSessionsPrincipal, wtproto.CodeRateLimited, "MaxSessionsPerPrincipal", "256", "sessions of a principal", "one principal cannot fill the gateway"},
	{LimitTopicsSession, wtproto.CodeTopicLimit, "MaxTopics", "64", "topics of a session", "one session cannot use up the networks"},
	{LimitTopicsPrincipal, wtproto.CodeTopicLimit, "MaxTopicsPerPrincipal", "512", "topics of a principal, also in their grace time; a tenth of an address's topics is kept for its sessions that have none", "JOIN and LEAVE in turn cannot pile up topics"},
	{LimitTopics, wtproto.CodeBusy, "MaxTopicsTotal", "20,000", "topics of the gateway; a tenth is kept for principals that have none", "goroutines, look-ups and announcements"},
	{LimitNewTopics, wtproto.CodeRateLimited, "NewTopics", "300 a minute, 512 at once", "new topics of a principal", "each new topic asks every network"},
	{LimitCircuitsSession, wtproto.CodeCircuitLimit, "MaxCircuits", "256", "circuits of a session, offers included", "streams and windows of one session"},
	{LimitCircuitsPrincipal, wtproto.CodeCircuitLimit, "MaxCircuitsPerPrincipal", "4,096", "circuits of a principal; a tenth as above", "goroutines and memory of the gateway"},
	{LimitCircuits, wtproto.CodeBusy, "MaxCircuitsTotal", "100,000", "circuits of the gateway; a tenth is kept for principals that have none", "goroutines and memory of the gateway"},
	{LimitCircuitsPair, wtproto.CodeCircuitLimit, "MaxPairCircuits", "seven eighths of a session's circuits, 224", "further circuits of a session with one peer on a topic", "one peer leaves places of a session to others"},
	{LimitNewCircuits, wtproto.CodeBusy, "NewCircuits", "500 a second, 5,000 at once", "circuits that a principal begins; further ones wait", "circuits that begin and end take time of the processor"},
	{LimitFailedDials, wtproto.CodeNone, "FailedDials", "600 a minute, 600 at once", "dials of a principal that fail, or whose circuit the peer ends at once", "nobody can have the gateway attack a third party"},
	{LimitFailedDialsTopic, wtproto.CodeNone, "", "10 a second, 512 at once", "the same of a topic", "one topic full of dead peers leaves turns to others"},
	{LimitDialsTarget, wtproto.CodeRateLimited, "", "12 a minute, 32 at once; 16 times as many on the LAN and in ranges that you allow", "failed dials of an IPv4 address or IPv6 /64 (on the LAN of an IPv6 address); and of all addresses together 400 a second, 16,384 at once, of which a principal has no more than it leaves to others; static peers and seeds do not count", "nobody can have the gateway attack a third party"},
	{LimitFrames, wtproto.CodeRateLimited, "ControlRate", "100 a second, 200 at once", "JOIN, LEAVE, DECLINE and PING of a session", "work for the gateway's loops"},
	{LimitAllFrames, wtproto.CodeRateLimited, "ControlRate", "1,000 a second, 2,200 at once", "all control frames of a session, long ones several times, and streams without a circuit; of CREDIT only what exceeds one for each KiB sent", "time of the processor"},
	{LimitFramesPrincipal, wtproto.CodeNone, "ControlRate", "20,000 a second, 20,000 at once", "the same of a principal, JOIN, LEAVE, DECLINE and PING eleven times; more of them wait", "many sessions together cannot exceed it either"},
	{LimitByteRate, wtproto.CodeNone, "", "none", "bytes a second of a principal, both ways, if its grant says so; more of them wait", "a token may limit it"},
	{LimitBytes, wtproto.CodeForbidden, "", "none", "bytes of a principal, both ways, while the gateway runs, if its grant says so", "a token may limit it"},
	{LimitControlUnread, wtproto.CodeBusy, "MaxControlBytes", "64 KiB", "control frames that a client does not read, besides STATUS", "memory of the gateway"},
	{LimitMemory, wtproto.CodeBusy, "Memory", "three fifths of the memory", "memory in use; above the limit no more sessions and circuits begin, except those of principals without any, up to seven tenths", "existing circuits keep the memory that they need"},
	{LimitUnread, wtproto.CodeStalled, "Memory", "seven tenths of the memory", "memory in use; above the limit circuits end that wait for a reader; above three fifths, after 2 s, those of principals that hold much", "the principal that holds most loses circuits first, beginning with those that have waited longest"},
	{LimitLogLines, wtproto.CodeNone, "", "1 a second, 256 at once", "sessions of a principal in the log at level info; more of them are logged at debug", "nobody can fill a disk"},
}
