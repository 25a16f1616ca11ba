// Command mk makes the initramfs of a guest and prints its path.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"cr/initramfs"
)

func main() {
	flavour := flag.String("arch", "x86_64", "whose: "+strings.Join(initramfs.Names(), ", "))
	output := flag.String("o", "", "copy it to this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *flavour, *output); err != nil {
		fmt.Fprintln(os.Stderr, "mk:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, flavour, output string) error {
	path, err := initramfs.Build(ctx, flavour)
	if err != nil {
		return err
	}
	if output != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(output, data, 0o644); err != nil {
			return err
		}
		path = output
	}
	fmt.Println(path)
	return nil
}
