// Package agent is the protocol by which a host runs commands in a guest.
//
// Both sides write JSON values, one a line, to a virtio-serial port called
// Port: the host requests, the guest replies. Commands may run side by side;
// the ID tells whose reply a reply is. The first thing that the guest sends is
// a Reply with the ID 0, which says that it is there.
package agent

// Port is the name of the virtio-serial port.
const Port = "cr"

// Param is the parameter of the kernel's command line by which a host says that
// it waits at the port.
const Param = "cr.port"

// NoPort is what the guest says on its console, with the reason behind it, when
// the host waits and there is no port. Then the guest leaves.
const NoPort = "uinit: no port to the host: "

// Exited is the last line that the guest prints of a command that the command
// line asked for: its exit status.
const Exited = "uinit: exit status %d\n"

// Tag is the mount tag of the 9p file system that a guest mounts on Dir: a
// directory of the host.
const Tag = "host"

// Dir is where the guest sees the host's directory.
const Dir = "/host"

// Request asks for a command to be run.
type Request struct {
	ID    int      `json:"id"` // from 1 on
	Argv  []string `json:"argv"`
	Env   []string `json:"env,omitempty"` // in addition to the guest's own
	Dir   string   `json:"dir,omitempty"`
	Stdin []byte   `json:"stdin,omitempty"`
}

// Reply is a piece of a command's output, or its end.
type Reply struct {
	ID     int    `json:"id"`
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`

	// Ended is set in the last reply to a request. Exit is then the exit
	// status, 128 and the signal's number for a command that a signal ended;
	// Error says why a command did not start.
	Ended bool   `json:"ended,omitempty"`
	Exit  int    `json:"exit,omitempty"`
	Error string `json:"error,omitempty"`
}
