package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

var psCommand = &command{
	name:  "ps",
	short: "list what was restarted under a name",
	long: "Shows the user's own programs: the name, the pid of the first process, the number\n" +
		"of threads of all processes at the restart, the state, when it was restarted and\n" +
		"the image. The state is \"starting\", \"running\", \"stopped\", \"exited N\", \"killed\" and\n" +
		"the signal's name, or \"lost\": the cr that restarted it was killed before it ended.",
	examples: []string{
		"cr ps",
		"cr ps --json",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		asJSON := flags.Bool("json", false, "write JSON, a list of objects")
		return func(args []string) (int, error) {
			if len(args) > 0 {
				return 0, usageError("it takes no arguments")
			}
			all, err := list()
			if err != nil {
				return 0, err
			}
			return 0, ps(all, *asJSON)
		}
	},
}

// psRow is what cr ps tells of one program.
type psRow struct {
	Name  string    `json:"name"`
	PID   int       `json:"pid"`
	Tasks int       `json:"tasks"`
	State string    `json:"state"`
	Time  time.Time `json:"time"`
	Image string    `json:"image,omitempty"`
}

func ps(all []*named, asJSON bool) error {
	rows := []psRow{}
	for _, n := range all {
		state, err := n.state()
		if err != nil {
			return err
		}
		rows = append(rows, psRow{n.Name, n.Root.PID, n.Tasks, state, n.Time, n.Image})
	}
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(rows)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tPID\tTASKS\tSTATE\tRESTARTED\tIMAGE")
	for _, r := range rows {
		when := ""
		if !r.Time.IsZero() {
			when = r.Time.Local().Format("2006-01-02 15:04:05")
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\n", r.Name, r.PID, r.Tasks, r.State, when, r.Image)
	}
	return w.Flush()
}

// state says in a word or two how the program fares.
func (n *named) state() (string, error) {
	// In this order: the status is written while the lock is held.
	watched, err := n.watched()
	if err != nil {
		return "", err
	}
	ws, ended, err := n.ended()
	switch {
	case err != nil:
		return "", err
	case ended && ws.Signaled():
		if name := unix.SignalName(ws.Signal()); name != "" {
			return "killed " + name, nil
		}
		return fmt.Sprintf("killed %d", ws.Signal()), nil
	case ended:
		return fmt.Sprintf("exited %d", ws.ExitStatus()), nil
	case !n.started() && watched:
		return "starting", nil
	}
	pidfd, err := n.open(n.Root)
	if errors.Is(err, unix.ESRCH) {
		if watched {
			return "running", nil // it is ending
		}
		return "lost", nil
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(pidfd)
	_, state, err := startOf(n.Root.PID)
	if err == nil && state == 'T' {
		return "stopped", nil
	}
	return "running", nil
}
