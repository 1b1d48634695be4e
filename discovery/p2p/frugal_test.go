package p2p

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Four bytes on a stream once made a host of a private DHT take 4 MiB for a minute, on 64 streams
// of each id: 256 MiB. A reply to a look-up could do the same.
func TestLongMessagesOfTheDHT(t *testing.T) {
	_, k := keys(t)
	h := listen(t, nil)
	s := newStranger(t, k)
	if err := s.Connect(t.Context(), peer.AddrInfo{ID: h.id, Addrs: h.libp2p.Addrs()}); err != nil {
		t.Fatal(err)
	}
	const streams = 32
	before := inUse()
	for range streams {
		st, err := s.NewStream(t.Context(), h.id, protocol.ID(dhtPrefix+"/kad/1.0.0"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, st, binary.AppendUvarint(nil, network.MessageSizeMax))
		st.SetReadDeadline(time.Now().Add(patience / 2)) // a silent stream has a minute
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, network.ErrReset) {
			t.Fatalf("after a length of 4 MiB: %v, want a reset", err)
		}
	}
	if after := inUse(); after > before+streams<<20 {
		t.Errorf("%d streams have taken %d bytes", streams, after-before)
	}
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// reads is a stream that can be read only.
type reads struct {
	network.Stream
	io.Reader
}

func (r reads) Read(p []byte) (int, error) { return r.Reader.Read(p) }

// Messages pass as they are, however they are cut, until one is too long.
func TestFrugalStream(t *testing.T) {
	message := func(n uint64) []byte { return append(binary.AppendUvarint(nil, n), make([]byte, n)...) }
	good := bytes.Join([][]byte{message(0), message(1), message(300), message(127), message(128)}, nil)
	for _, test := range []struct {
		name string
		then []byte
		want error
	}{
		{"the end", nil, nil},
		{"one byte too long", message(301), errLong},
		{"a length that overflows", bytes.Repeat([]byte{0xff}, 20), errLong},
		{"a length without an end", bytes.Repeat([]byte{0x80}, 20), errLong},
		{"the end within a length", []byte{0x80}, nil},
		{"the end within a message", []byte{20, 1}, nil},
	} {
		for _, cut := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
			in := append(bytes.Clone(good), test.then...)
			s := &frugalStream{Stream: reads{Reader: cut(bytes.NewReader(in))}, most: 300}
			got, err := io.ReadAll(s)
			if err != test.want || !bytes.HasPrefix(in, got) || len(got) < len(good) || err == nil && len(got) != len(in) {
				t.Errorf("%s: %d bytes of %d and %v, want %v", test.name, len(got), len(in), err, test.want)
			}
		}
	}
}
