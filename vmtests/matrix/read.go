package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Test, Output string
}

// result is that of a test without subtests.
type result struct {
	outcome string   // pass, fail or skip
	said    []string // by t.Log and its kin
}

// results are those of tests by name, and the names as they came.
type results struct {
	of    map[string]*result
	names []string
}

// logLine is how go test prints what a test says.
var logLine = regexp.MustCompile(`^ +\w+_test\.go:\d+: (.*)`)

// read reads the output of go test -json.
func read(r io.Reader) (*results, error) {
	all := &results{of: make(map[string]*result)}
	parents := make(map[string]bool)
	for d := json.NewDecoder(r); ; {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("not the output of go test -json: %w", err)
		}
		if e.Test == "" {
			continue
		}
		t := all.of[e.Test]
		if t == nil {
			t = &result{}
			all.of[e.Test] = t
			all.names = append(all.names, e.Test)
		}
		switch e.Action {
		case "run":
			*t = result{}
		case "output":
			if m := logLine.FindStringSubmatch(strings.TrimRight(e.Output, "\n")); m != nil {
				t.said = append(t.said, m[1])
			}
		case "pass", "fail", "skip":
			t.outcome = e.Action
		}
		for name := e.Test; strings.Contains(name, "/"); {
			name = name[:strings.LastIndex(name, "/")]
			parents[name] = true
		}
	}
	leaves := all.names[:0]
	for _, name := range all.names {
		if all.of[name].outcome != "" && !parents[name] {
			leaves = append(leaves, name)
		}
	}
	all.names = leaves
	return all, nil
}
