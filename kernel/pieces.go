package kernel

import (
	"runtime"

	"cr/image"
)

// pieceDepth is how many pieces of memory may be on their way to the image.
const pieceDepth = 3

// piece is a piece of private memory on its way to the image.
type piece struct {
	owner uint32
	runs  []image.Run
	data  []byte
}

// pieceWriter writes pieces of memory to an image while the next is read: the
// processor that does it is free, for the task stands still.
type pieceWriter struct {
	w    *image.Writer
	free chan []byte // buffers
	full chan piece  // nil if pieces are written at once
	err  chan error  // the first error
	done chan struct{}
}

// newPieceWriter makes a pieceWriter for memory of a size, in bytes. It must be
// closed.
func newPieceWriter(w *image.Writer, size uint64) *pieceWriter {
	p := &pieceWriter{w: w, free: make(chan []byte, pieceDepth)}
	if size < 16*chunkSize {
		p.free <- make([]byte, smallChunk)
		return p
	}
	p.free <- make([]byte, chunkSize)
	if runtime.NumCPU() == 1 {
		return p
	}
	for i := 1; i < pieceDepth; i++ {
		p.free <- make([]byte, chunkSize)
	}
	p.full, p.err, p.done = make(chan piece, pieceDepth), make(chan error, 1), make(chan struct{})
	go p.run()
	return p
}

func (p *pieceWriter) run() {
	defer close(p.done)
	failed := false
	for c := range p.full {
		if !failed {
			if err := p.w.Pages(c.owner, false, c.runs, c.data); err != nil {
				failed = true
				p.err <- err
			}
		}
		p.free <- c.data[:cap(c.data)]
	}
}

// buffer gives a buffer for the next piece.
func (p *pieceWriter) buffer() []byte { return <-p.free }

// write takes a piece whose data is in a buffer of buffer. The error may be that
// of an earlier piece; it is returned once, by write or by close.
func (p *pieceWriter) write(c piece) error {
	if p.full == nil {
		err := p.w.Pages(c.owner, false, c.runs, c.data)
		p.free <- c.data[:cap(c.data)]
		return err
	}
	select {
	case err := <-p.err:
		return err
	default:
		p.full <- c // which has room for all buffers
		return nil
	}
}

// close waits until all pieces have been written.
func (p *pieceWriter) close() error {
	if p.full == nil {
		return nil
	}
	close(p.full)
	<-p.done
	select {
	case err := <-p.err:
		return err
	default:
		return nil
	}
}
