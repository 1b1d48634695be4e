package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// An exchange is what one end asks of the other one on a stream: 9 bytes, a kind and a number of
// bytes, big endian. Exchanges follow each other until the stream ends. All servers of the
// benchmark, ours or not, have this behind them, so that all contenders do the same.
const (
	askDown = 'D' // the other end sends so many bytes
	askUp   = 'U' // it reads so many, and sends one byte
	askEcho = 'E' // it reads so many, and sends them back
	askSize = 9
)

// chunk is how much is written and read at once, unless a row says otherwise.
const chunk = 256 << 10

// serve answers exchanges until s ends.
func serve(s io.ReadWriter) error {
	head := make([]byte, askSize)
	var buf []byte
	for {
		if _, err := io.ReadFull(s, head); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		n := int64(binary.BigEndian.Uint64(head[1:]))
		if want := int(min(n, chunk)); len(buf) < want {
			buf = make([]byte, want) // a stream that is quiet costs the server little
		}
		var err error
		switch head[0] {
		case askDown:
			err = send(s, n, buf)
		case askUp:
			if err = receive(s, n, buf); err == nil {
				_, err = s.Write(head[:1])
			}
		case askEcho:
			if n > int64(len(buf)) {
				return fmt.Errorf("an echo of %d bytes", n)
			}
			if _, err = io.ReadFull(s, buf[:n]); err == nil {
				_, err = s.Write(buf[:n])
			}
		default:
			err = fmt.Errorf("the exchange %q", head[0])
		}
		if err != nil {
			return err
		}
	}
}

// ask begins an exchange.
func ask(s io.Writer, kind byte, n int64) error {
	b := binary.BigEndian.AppendUint64([]byte{kind}, uint64(n))
	_, err := s.Write(b)
	return err
}

// down has the other end send n bytes.
func down(s io.ReadWriter, n int64, buf []byte) error {
	if err := ask(s, askDown, n); err != nil {
		return err
	}
	return receive(s, n, buf)
}

// up sends n bytes, with writes as long as buf, and waits until they have been read.
func up(s io.ReadWriter, n int64, buf []byte) error {
	if err := ask(s, askUp, n); err != nil {
		return err
	}
	if err := send(s, n, buf); err != nil {
		return err
	}
	return receive(s, 1, make([]byte, 1))
}

// echo sends buf and reads it back, in one write so that it is one packet.
func echo(s io.ReadWriter, n int) error {
	b := append(binary.BigEndian.AppendUint64([]byte{askEcho}, uint64(n)), make([]byte, n)...)
	if _, err := s.Write(b); err != nil {
		return err
	}
	return receive(s, int64(n), b)
}

func send(w io.Writer, n int64, buf []byte) error {
	for n > 0 {
		m, err := w.Write(buf[:min(int64(len(buf)), n)])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

func receive(r io.Reader, n int64, buf []byte) error {
	for n > 0 {
		m, err := r.Read(buf[:min(int64(len(buf)), n)])
		n -= int64(m)
		if err != nil && n > 0 {
			return errors.Join(fmt.Errorf("%d bytes are missing", n), err)
		}
	}
	return nil
}
