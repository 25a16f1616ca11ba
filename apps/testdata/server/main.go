// Command server answers HTTP requests until SIGTERM.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	var count, ticks atomic.Int64
	go func() {
		for range time.Tick(time.Millisecond) {
			ticks.Add(1)
		}
	}()
	http.HandleFunc("/count", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, count.Add(1)) })
	http.HandleFunc("/work", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "%x", work()) })
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	server := &http.Server{}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		if err := server.Shutdown(context.Background()); err != nil {
			panic(err)
		}
	}()
	fmt.Println("serving")
	if err := server.Serve(l); err != http.ErrServerClosed {
		panic(err)
	}
	fmt.Println("bye")
}

// work hashes in parallel and makes garbage.
func work() [32]byte {
	sums := make([][32]byte, 10)
	var all sync.WaitGroup
	for i := range sums {
		all.Go(func() {
			for range 1000 {
				b := append(make([]byte, 0, 4096), sums[i][:]...)
				sums[i] = sha256.Sum256(append(b, byte(i)))
			}
		})
	}
	all.Wait()
	runtime.GC()
	h := sha256.New()
	for _, s := range sums {
		h.Write(s[:])
	}
	return [32]byte(h.Sum(nil))
}
