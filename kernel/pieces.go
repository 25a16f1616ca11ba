package kernel

import (
	"runtime"

	"cr/image"
)

// pieceDepth is how many pieces of memory may be under way between who reads
// them and who writes them.
const pieceDepth = 4

// worthwhile is how much memory, in bytes, makes up for large buffers and the
// start of a second thread.
const worthwhile = 4 * chunkSize

// concurrent reports whether reading and writing memory should go on at the
// same time.
func concurrent(size uint64) bool { return size >= worthwhile && runtime.NumCPU() > 1 }

// piece is a piece of private memory on its way to the image.
type piece struct {
	owner uint32
	runs  []image.Run
	data  []byte
	sum   uint32
}

// pieceWriter writes pieces of memory to an image, while the next one is read.
type pieceWriter struct {
	w     *image.Writer
	chunk uint64 // size of the buffers
	made  int
	free  chan []byte
	full  chan piece    // nil if pieces are written at once
	done  chan struct{} // closed when the last has been written
	err   chan error    // the first error
}

// newPieceWriter makes a pieceWriter for memory of a size, in bytes. It must be
// closed.
func newPieceWriter(w *image.Writer, size uint64) *pieceWriter {
	p := &pieceWriter{w: w, chunk: smallChunk, free: make(chan []byte, pieceDepth)}
	if size >= worthwhile {
		p.chunk = chunkSize
	}
	if concurrent(size) {
		p.full, p.done, p.err = make(chan piece, pieceDepth), make(chan struct{}), make(chan error, 1)
		go p.run()
	}
	return p
}

func (p *pieceWriter) run() {
	defer close(p.done)
	failed := false
	for c := range p.full {
		if !failed {
			if err := p.put(c); err != nil {
				failed = true
				p.err <- err
			}
		}
		p.free <- c.data[:p.chunk]
	}
}

func (p *pieceWriter) put(c piece) error {
	return p.w.SummedPages(c.owner, false, c.runs, c.data, c.sum)
}

// buffer gives a buffer of p.chunk bytes for the next piece.
func (p *pieceWriter) buffer() []byte {
	select {
	case b := <-p.free:
		return b
	default:
	}
	if p.made < pieceDepth {
		p.made++
		return make([]byte, p.chunk)
	}
	return <-p.free
}

// write takes a piece whose data is in a buffer of buffer. The error may be that
// of an earlier piece.
func (p *pieceWriter) write(c piece) error {
	if p.full == nil {
		err := p.put(c)
		p.free <- c.data[:p.chunk]
		return err
	}
	select {
	case err := <-p.err:
		return err
	case p.full <- c:
		return nil
	}
}

// close waits until all pieces have been written. The buffers stay usable.
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

// pieceReader reads the pieces of memory of an image, while the last one is
// being used.
type pieceReader struct {
	rd   *image.Reader
	last []byte // buffer of the piece that was returned last
	free chan []byte
	full chan readPiece // nil if pieces are read at once
	stop chan struct{}
}

type readPiece struct {
	*image.Pages
	buf []byte
	err error
}

// newPieceReader makes a pieceReader for memory of a size, in bytes. It must be
// closed.
func newPieceReader(rd *image.Reader, size uint64) *pieceReader {
	p := &pieceReader{rd: rd}
	if concurrent(size) {
		p.free, p.full, p.stop = make(chan []byte, pieceDepth), make(chan readPiece, pieceDepth), make(chan struct{})
		for i := 0; i < pieceDepth; i++ {
			p.free <- nil
		}
		go p.run()
	}
	return p
}

func (p *pieceReader) run() {
	defer close(p.full)
	for {
		var c readPiece
		select {
		case <-p.stop:
			return
		case buf := <-p.free:
			p.rd.Exchange(buf)
		}
		c.Pages, c.err = p.rd.Next()
		c.buf = p.rd.Exchange(nil)
		select {
		case <-p.stop:
			return
		case p.full <- c:
		}
		if c.err != nil {
			return
		}
	}
}

// next returns the next piece, which is valid until the next call; io.EOF after
// the end of a whole image.
func (p *pieceReader) next() (*image.Pages, error) {
	if p.full == nil {
		return p.rd.Next()
	}
	if p.last != nil {
		p.free <- p.last
	}
	c := <-p.full
	p.last = c.buf
	return c.Pages, c.err
}

// close waits until nothing is read any more.
func (p *pieceReader) close() {
	if p.full == nil {
		return
	}
	close(p.stop)
	for range p.full {
	}
}
