package secret

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/flynn/noise"
)

const (
	tagSize = 16
	// maxData is how many bytes of a program a record holds at most.
	maxData = maxMessage - tagSize
	// rekeyInterval is after how many records a direction has another key.
	rekeyInterval = 65536
	// waitBuffer is what a reader holds while it waits for a record.
	waitBuffer = 512
)

// frames are buffers for one message with its length.
var frames = sync.Pool{New: func() any { return new([2 + maxMessage]byte) }}

type frame = [2 + maxMessage]byte

// direction is the key of one direction and how far it has been used.
type direction struct {
	state    *noise.CipherState
	interval uint64 // records between two keys
}

// next takes another key if that is due.
func (d *direction) next() {
	if d.state.Nonce()%d.interval == 0 {
		d.state.Rekey()
	}
}

// seal appends a record of data with its length to dst, which has room for it. data may be behind
// dst already, after two bytes.
func (d *direction) seal(dst, data []byte) ([]byte, error) {
	at := len(dst)
	out, err := d.state.Encrypt(dst[:at+2], nil, data)
	if err != nil {
		return nil, err
	}
	d.next()
	binary.BigEndian.PutUint16(out[at:], uint16(len(out)-at-2))
	return out, nil
}

// open appends the data of a record to dst, which may be record[:0].
func (d *direction) open(dst, record []byte) ([]byte, error) {
	out, err := d.state.Decrypt(dst, nil, record)
	if err != nil {
		return nil, fmt.Errorf("record %d does not open: %w", d.state.Nonce(), err)
	}
	d.next()
	return out, nil
}

// errShortRecord is that of a length that no record has.
var errShortRecord = errors.New("a record is shorter than its tag")

// recordReader cuts what src reads into records. After an error of src it can go on.
type recordReader struct {
	src   io.Reader
	small [waitBuffer]byte
	big   *frame // from frames; nil while small will do
	r, w  int    // what is between them was read and not returned
}

func (r *recordReader) buf() []byte {
	if r.big != nil {
		return r.big[:]
	}
	return r.small[:]
}

// next returns the next record without its length; it holds until the next call. The error is
// io.EOF between two records, and io.ErrUnexpectedEOF within one.
func (r *recordReader) next() ([]byte, error) {
	for {
		need := 2
		if held := r.buf()[r.r:r.w]; len(held) >= 2 {
			n := int(binary.BigEndian.Uint16(held))
			if n < tagSize {
				return nil, errShortRecord
			}
			if need += n; len(held) >= need {
				r.r += need
				return held[2:need], nil
			}
		}
		if err := r.fill(need); err != nil {
			return nil, err
		}
	}
}

// fill reads something behind what is held, in a buffer that has room for need bytes in all.
func (r *recordReader) fill(need int) error {
	r.makeRoom(need)
	n, err := r.src.Read(r.buf()[r.w:])
	r.w += n
	switch {
	case n > 0 || err == nil:
		return nil // an error comes again
	case err == io.EOF && r.w > r.r:
		return io.ErrUnexpectedEOF
	}
	return err
}

// makeRoom moves what is held to the beginning of a buffer for need bytes.
func (r *recordReader) makeRoom(need int) {
	held := r.buf()[r.r:r.w]
	switch {
	case need > len(r.buf()):
		r.big = frames.Get().(*frame)
		copy(r.big[:], held)
	case r.big != nil && need <= len(r.small) && len(held) <= len(r.small):
		copy(r.small[:], held)
		r.release()
	case r.r > 0:
		copy(r.buf(), held)
	}
	r.r, r.w = 0, len(held)
}

// release gives the big buffer back.
func (r *recordReader) release() {
	if r.big != nil {
		frames.Put(r.big)
		r.big = nil
	}
}

// errAfterEnd says that something comes behind the end.
var errAfterEnd = errors.New("bytes behind the end")

// end waits for the end of src behind the end record, and returns io.EOF for it.
func (r *recordReader) end() error {
	for r.w == r.r {
		if err := r.fill(1); err != nil {
			return err
		}
	}
	return errAfterEnd
}
