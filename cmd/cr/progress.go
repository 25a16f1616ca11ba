package main

import (
	"fmt"
	"os"
	"time"
)

// progress returns a function that shows how far a transfer has come, on a
// terminal and for transfers of over a second; nil where there is no terminal.
func progress(what string) func(done, total uint64) {
	if !isTerminal(os.Stderr) {
		return nil
	}
	start := time.Now()
	shown := start
	return func(done, total uint64) {
		now := time.Now()
		if now.Sub(start) < time.Second || done < total && now.Sub(shown) < 100*time.Millisecond {
			return
		}
		shown = now
		const width = 40
		bar := make([]byte, width)
		for i := range bar {
			bar[i] = ' '
			if total > 0 && uint64(i) < done*width/total {
				bar[i] = '#'
			}
		}
		end := ""
		if done >= total {
			end = "\n"
		}
		fmt.Fprintf(os.Stderr, "\r%s [%s] %d of %d MiB%s", what, bar, done>>20, total>>20, end)
	}
}
