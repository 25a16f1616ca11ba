package imagetest

import (
	"bytes"
	"errors"
	"io"

	"cr/image"
)

// Changed reads an image, has its records changed, and writes it again.
func Changed(b []byte, change func(*image.Image)) ([]byte, error) {
	m, rd, err := image.Read(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	change(m)
	var out bytes.Buffer
	w, err := image.NewWriter(&out, m)
	if err != nil {
		return nil, err
	}
	for {
		p, err := rd.Next()
		if errors.Is(err, io.EOF) {
			err = w.Close()
			return out.Bytes(), err
		}
		if err == nil {
			err = w.Pages(p.Owner, p.Shm, p.Runs, p.Data)
		}
		if err != nil {
			return nil, err
		}
	}
}
