package sys_test

import (
	"fmt"
	"log"
	"os"

	"cr/sys"
)

// A program that saves itself when it has something worth saving. Run it under
// `cr run`, and restart it with `cr restart <state.img`.
func ExampleCheckpoint() {
	f, err := os.Create("state.img")
	if err != nil {
		log.Fatal(err)
	}
	id, err := sys.Checkpoint(0, int(f.Fd()), 0)
	switch {
	case err != nil:
		log.Fatal("checkpoint: ", err)
	case id > 0:
		fmt.Println("saved, as checkpoint", id)
	default:
		fmt.Println("restarted")
	}
}
