package wtproto

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/swarmgate/swarmgate/internal/hostname"
)

// URLScheme is what a [GatewayURL] begins with.
const URLScheme = "swarmgate://"

// defaultPort is the port of a gateway whose address has no port.
const defaultPort = 443

// secretPrefix is what a fragment begins with that is not a topic, before it is unescaped. No topic
// is written so: the "=" in it would be escaped.
const secretPrefix = "secret="

// GatewayURL says in one string where a gateway is, how to trust it and, if wanted, a topic or the
// secret of a secret room, so that people can paste it (docs/PROTOCOL.md, Gateway URLs):
//
//	swarmgate://gateway.example:4433/?h=<64 hexadecimal digits>#wowcool
//	swarmgate://gateway.example:4433/?h=<64 hexadecimal digits>#secret=<64 hexadecimal digits>
type GatewayURL struct {
	// Host is a name in ASCII or an IP address, without brackets.
	Host string
	// Port is that of the gateway's UDP socket. Zero means 443.
	Port uint16
	// Hashes are SHA-256 hashes of certificates in DER, at most [MaxHashes]. If there are any, the
	// gateway has one of them. Otherwise an authority has signed its certificate.
	Hashes [][32]byte
	// Topic is the name of a topic or its key in 64 hexadecimal digits. Empty means none.
	Topic string
	// Secret is that of a secret room: a text, or 64 hexadecimal digits (docs/SECRET.md). Empty
	// means none. If there is one, Topic does not count.
	Secret string
}

// ParseGatewayURL reads what [GatewayURL.String] writes, and what people make of it: white space
// around it, no port, "/" left out, an international host, and any characters in the topic. It
// ignores parameters other than h. Port is never zero.
func ParseGatewayURL(s string) (GatewayURL, error) {
	u, err := parseGatewayURL(s)
	if err != nil {
		return GatewayURL{}, fmt.Errorf("wtproto: gateway URL: %w", err)
	}
	return u, nil
}

func parseGatewayURL(s string) (u GatewayURL, err error) {
	s = strings.Trim(s, " \t\r\n")
	if len(s) < len(URLScheme) || !strings.EqualFold(s[:len(URLScheme)], URLScheme) {
		return u, errors.New("it does not begin with " + URLScheme)
	}
	rest, fragment, _ := strings.Cut(s[len(URLScheme):], "#")
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if path != "" {
		return u, fmt.Errorf("it has the path %q", "/"+path)
	}
	if err := u.setAuthority(authority); err != nil {
		return u, err
	}
	for parameter := range strings.SplitSeq(query, "&") {
		if value, ok := strings.CutPrefix(parameter, "h="); ok {
			hash, err := ParseTopic(value) // of the same form
			if err != nil {
				return u, fmt.Errorf("the hash %q is not 64 hexadecimal digits", value)
			}
			u.Hashes = append(u.Hashes, hash)
		}
	}
	if len(u.Hashes) > MaxHashes {
		return u, fmt.Errorf("%d hashes, at most %d", len(u.Hashes), MaxHashes)
	}
	text, isSecret := strings.CutPrefix(fragment, secretPrefix)
	if text, err = unescape(text); err != nil {
		return u, err
	}
	switch {
	case isSecret && text == "":
		return u, errors.New("the secret is empty")
	case isSecret:
		u.Secret = text
	default:
		u.Topic = text
	}
	return u, nil
}

// setAuthority reads host[:port].
func (u *GatewayURL) setAuthority(s string) error {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || len(port) > 5 {
			return fmt.Errorf("invalid port %q", port)
		}
		u.Port = uint16(n)
	} else {
		u.Port = defaultPort
	}
	chars := isNameByte
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(inner, "]"); !ok {
			return fmt.Errorf("invalid host %q", inner)
		}
		chars = isIPv6Byte
	} else if strings.ContainsFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) {
		var err error
		if host, err = hostname.Parse(host); err != nil {
			return err
		}
	}
	if host == "" {
		return errors.New("no host")
	}
	for i := range len(host) {
		if !chars(host[i]) {
			return fmt.Errorf("invalid host %q", host)
		}
	}
	u.Host = host
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_'
}

func isIPv6Byte(c byte) bool {
	return 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' || '0' <= c && c <= '9' || c == ':' || c == '.'
}

// unescape reads a text in which bytes may be written as "%" and two hexadecimal digits.
func unescape(s string) (string, error) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+3 > len(s) {
				return "", errors.New("what stands behind # ends within an escape")
			}
			var one [1]byte
			if _, err := hex.Decode(one[:], []byte(s[i+1:i+3])); err != nil {
				return "", fmt.Errorf("what stands behind # has the invalid escape %q", s[i:i+3])
			}
			c, i = one[0], i+2
		}
		b = append(b, c)
	}
	if !utf8.Valid(b) {
		return "", errors.New("what stands behind # is not UTF-8")
	}
	return string(b), nil
}

// String returns the URL. Every byte of the topic or the secret is escaped but letters, digits and
// "-._~", so that programs that make links of what looks like one take all of it.
func (u GatewayURL) String() string {
	var b strings.Builder
	b.WriteString(URLScheme)
	b.WriteString(u.Address())
	for i, h := range u.Hashes {
		if i == 0 {
			b.WriteString("/?h=")
		} else {
			b.WriteString("&h=")
		}
		b.WriteString(hex.EncodeToString(h[:]))
	}
	if len(u.Hashes) == 0 {
		b.WriteString("/")
	}
	text := u.Topic
	switch {
	case u.Secret != "":
		text = u.Secret
		b.WriteString("#" + secretPrefix)
	case text != "":
		b.WriteString("#")
	}
	for i := range len(text) {
		if c := text[i]; isNameByte(c) || c == '~' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// Address returns host:port, with brackets around an IPv6 address.
func (u GatewayURL) Address() string {
	port := u.Port
	if port == 0 {
		port = defaultPort
	}
	return net.JoinHostPort(u.Host, strconv.Itoa(int(port)))
}

// WithTopic returns a copy of u with another topic, a name or a key's text, and without a secret.
func (u GatewayURL) WithTopic(topic string) GatewayURL {
	u.Topic, u.Secret = topic, ""
	return u
}

// WithSecret returns a copy of u with a secret, a text or 64 hexadecimal digits, and without a
// topic.
func (u GatewayURL) WithSecret(secret string) GatewayURL {
	u.Topic, u.Secret = "", secret
	return u
}

// Key returns the topic's key, and reports whether u has a topic. The topic of a secret room is
// for package client/secret to tell.
func (u GatewayURL) Key() (Topic, bool) {
	if u.Topic == "" || u.Secret != "" {
		return Topic{}, false
	}
	return TopicFromText(u.Topic), true
}

// MarshalText returns u as [GatewayURL.String] does.
func (u GatewayURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads what [ParseGatewayURL] reads.
func (u *GatewayURL) UnmarshalText(b []byte) error {
	p, err := ParseGatewayURL(string(b))
	if err == nil {
		*u = p
	}
	return err
}
