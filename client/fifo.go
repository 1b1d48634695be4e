package client

import "sync"

const chunkSize = 32 << 10

// chunk is a piece of memory that is used again.
type chunk [chunkSize]byte

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// fifo holds bytes in the order in which they came, in chunks that it takes from a pool when it
// needs them. An empty one holds none.
type fifo struct {
	chunks  []*chunk
	head    int // where the bytes begin, in the first chunk
	tail    int // where they end, in the last one
	size    int
	filling bool // somebody writes behind tail
}

// space returns where to write the bytes that come next. They count after fill.
func (q *fifo) space() []byte {
	if len(q.chunks) == 0 || q.tail == chunkSize {
		q.chunks = append(q.chunks, chunks.Get().(*chunk))
		q.tail = 0
	}
	q.filling = true
	return q.chunks[len(q.chunks)-1][q.tail:]
}

// fill counts n bytes that were written into what space returned, unless clear came meanwhile.
func (q *fifo) fill(n int) {
	if q.filling {
		q.filling = false
		q.tail += n
		q.size += n
		q.release()
	}
}

// write appends p.
func (q *fifo) write(p []byte) {
	for len(p) > 0 {
		n := copy(q.space(), p)
		q.fill(n)
		p = p[n:]
	}
}

// read moves bytes to p, and returns how many.
func (q *fifo) read(p []byte) int {
	n := 0
	for n < len(p) && q.size > 0 {
		end := chunkSize
		if len(q.chunks) == 1 {
			end = q.tail
		}
		k := copy(p[n:], q.chunks[0][q.head:end])
		n += k
		q.head += k
		q.size -= k
		if q.head == chunkSize {
			chunks.Put(q.chunks[0])
			q.chunks, q.head = q.chunks[1:], 0
		}
	}
	q.release()
	return n
}

// release gives the chunk of an empty fifo back.
func (q *fifo) release() {
	if q.size > 0 || q.filling {
		return
	}
	for _, c := range q.chunks {
		chunks.Put(c)
	}
	q.chunks, q.head, q.tail = nil, 0, 0
}

// clear forgets all bytes, and returns how many there were. Somebody may still write into the
// last chunk, so that is not used again.
func (q *fifo) clear() int {
	n := q.size
	*q = fifo{}
	return n
}
